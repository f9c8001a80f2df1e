package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A relay works and ends whatever becomes of the terminal that it was started from.
func TestTerminals(t *testing.T) {
	for _, test := range []struct {
		name string
		open func(t *testing.T) *os.File
	}{
		{"that nobody reads from", stoppedTerminal},
		{"that has gone", goneTerminal},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newPlace(t, "hash_type: sha256") // a warning
			start := func() *process {
				return launchOn(t, nil, exec.Command(program, "-c", l.dir, "-l", "all"), test.open(t))
			}
			first := start()
			first.ready(t)
			newScriptedMinion(t, l.request).welcome(t)
			if code := start().wait(t); code != 1 { // the ports are taken
				t.Errorf("exit code %d of a second broker", code)
			}
			first.signal(t, syscall.SIGTERM)
			if code := first.wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// stoppedTerminal takes no byte.
func stoppedTerminal(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	for full := strings.Repeat("x", 4096); err == nil; {
		if err = w.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err == nil {
			_, err = w.WriteString(full)
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return w
}

// goneTerminal fails every write with EPIPE.
func goneTerminal(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() { w.Close() })
	return w
}
