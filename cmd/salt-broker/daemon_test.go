package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// daemonize starts a daemon, which ends with the test, and returns its process ID. The process that was started is over.
func daemonize(t *testing.T) (l *place, pid int, logFile string) {
	t.Helper()
	for range 5 {
		l = newPlace(t)
		pidFile := filepath.Join(l.dir, "pid")
		logFile = filepath.Join(l.dir, "log")
		p := launch(t, "-d", "-c", l.dir, "--pid-file", pidFile, "--log-file", logFile, "--log-file-level", "info")
		code := p.wait(t)
		if code == 1 && strings.Contains(p.stderr.String(), "is taken by another program") {
			continue
		}
		p.expect(t, 0)
		pid, err := strconv.Atoi(strings.TrimSpace(readFile(t, pidFile)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // the test has ended it already if it went well
		})
		p.notified.expect(t, "READY=1", nil)
		return l, pid, logFile
	}
	t.Fatal("every port is taken")
	return nil, 0, ""
}

func TestDaemon(t *testing.T) {
	l, pid, logFile := daemonize(t)

	newScriptedMinion(t, l.request).welcome(t)
	if session := statusField(t, pid, "NSsid"); session != strconv.Itoa(pid) {
		t.Errorf("the daemon is in session %s, not in one of its own", session)
	}
	for fd := range 3 {
		if name, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); err != nil || name != os.DevNull {
			t.Errorf("descriptor %d is %s (%v)", fd, name, err)
		}
	}

	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for !strings.Contains(readFile(t, logFile), "] stopped component=main") {
		if time.Now().After(deadline) {
			t.Fatalf("the daemon does not stop; its log:\n%s", readFile(t, logFile))
		}
		time.Sleep(10 * time.Millisecond) // polling: it is nobody's child
	}
}

func statusField(t *testing.T, pid int, name string) string {
	t.Helper()
	for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/status", pid))) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			fields := strings.Fields(value)
			return fields[0] // as its own name space has it
		}
	}
	t.Fatalf("no %s in the status of %d", name, pid)
	return ""
}

func TestDaemonThatCannotStart(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	launch(t, "-d", "-c", missing).expect(t, 2, "salt-broker: cannot read "+missing+"/broker (from -c): no such file or directory; "+
		"write it, it may be empty, or say with -c in which directory the file broker is")

	l, _, _ := daemonize(t)
	launch(t, "--daemon", "-c", l.dir).expect(t, 1,
		fmt.Sprintf("salt-broker: publish_port %d is taken by another program (another salt-broker?): stop it or set publish_port", l.publish))
}

func TestMarkOfTheDaemonAlone(t *testing.T) {
	l, p := launchReadyIn(t, []string{daemonMark + "=1"}, nil)
	newScriptedMinion(t, l.request).welcome(t)
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
