package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty is a terminal of so many columns and lines, with a program on it that can be told to stop by Ctrl-C: pty(7).
type pty struct {
	*watched // what is on it and was
	keys     *os.File
	ended    chan struct{}
	err      error // with which the program has ended
}

// onTerminal starts a program.
func onTerminal(t *testing.T, columns, lines uint16, cmd *exec.Cmd) *pty {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(keys.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: lines, Col: columns}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(os.Environ(), "TERM=xterm")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close() // the program has it
	s := &pty{watched: newWatched(), keys: keys, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		for buf := make([]byte, 4096); ; { // until the program has closed it: EIO
			n, err := keys.Read(buf)
			_, _ = s.Write(buf[:n])
			if err != nil {
				break
			}
		}
		s.err = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.ended
		_ = keys.Close()
	})
	return s
}

// press types.
func (s *pty) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := s.keys.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// On a terminal, status --watch refreshes the screen every second, in as many lines and columns as there are, and Ctrl-C
// ends it without an error.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	l, _ := launchReady(t, nil)
	const columns, lines = 60, 12
	s := onTerminal(t, columns, lines, exec.Command(program, "status", "--watch", "-c", l.dir))
	s.expectTimes(t, clearScreen, 3, s.ended)
	s.press(t, "\x03")
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	if s.err != nil {
		t.Errorf("it ends with %v", s.err)
	}
	screens := strings.Split(s.String(), clearScreen)
	if screens[0] != "" {
		t.Errorf("it begins with %q", screens[0])
	}
	for i, text := range screens[1:3] {
		rows := strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n")
		if len(rows) != lines-1 || !strings.HasPrefix(rows[0], "salt-broker "+testVersion+", up ") {
			t.Errorf("screen %d has %d lines: %q", i, len(rows), rows)
		}
		for _, row := range rows {
			if n := len([]rune(row)); n > columns {
				t.Errorf("screen %d has a line of %d: %q", i, n, row)
			}
		}
		if rates := strings.Contains(text, "/s ("); rates != (i > 0) {
			t.Errorf("screen %d with rates: %v: %q", i, rates, text)
		}
	}
}
