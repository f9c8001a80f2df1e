//go:build linux

package main

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a process and its children use is read from outside, and it is what they use.
func TestUsageIsOfTheWholeFamily(t *testing.T) {
	before, err := cpu(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 20*time.Millisecond; {
		runtime.Gosched()
	}
	after, err := cpu(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if used := after - before; used <= 0 || used > time.Minute {
		t.Errorf("20 ms of work took %s of processor time", used)
	}

	p, err := start(exec.Command("/bin/sh", "-c", "sleep 60 & echo there >&2; wait"))
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for p.said.err() == nil && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	family := p.family()
	if len(family) != 2 || family[0] != p.pid || slices.Contains(family, os.Getpid()) {
		t.Errorf("the family of %d is %d", p.pid, family)
	}
	bytes, err := memory(family...)
	if err != nil || bytes < 4<<10 || bytes > 1<<30 {
		t.Errorf("a shell and its child have %d bytes, %v", bytes, err)
	}
	if err := p.ended(); err != nil {
		t.Errorf("it runs: %v", err)
	}
	for _, pid := range family[1:] {
		child, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		_ = child.Kill()
	}
	p.stop()
	if err := p.ended(); err == nil || !strings.Contains(err.Error(), "there") {
		t.Errorf("it has ended, and what it said belongs to that: %v", err)
	}
	if _, err := cpu(p.pid); err == nil {
		t.Error("processor time of a process that has gone")
	}
}
