package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"salt-broker/internal/sim"
)

// patience is how long a process may take for anything. Tests that fail take it, others never.
const patience = 20 * time.Second

// process is a salt-broker that a test has started.
type process struct {
	cmd      *exec.Cmd
	stdout   bytes.Buffer
	stderr   *watched
	notified *watched // what it has told systemd
	ended    chan struct{}
	code     int
}

// launch starts salt-broker with args. It is killed at the end of the test if it is still there.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	return launchIn(t, nil, exec.Command(program, args...))
}

// launchIn starts cmd with further variables in its environment, and a socket where systemd's would be.
func launchIn(t *testing.T, env []string, cmd *exec.Cmd) *process {
	t.Helper()
	return launchOn(t, env, cmd, nil)
}

// launchOn does so with another terminal; nil is one that the test reads from.
func launchOn(t *testing.T, env []string, cmd *exec.Cmd, terminal io.Writer) *process {
	t.Helper()
	p := &process{cmd: cmd, stderr: newWatched(), notified: newWatched(), ended: make(chan struct{})}
	socket := p.listenAsSystemd(t)
	cmd.Env = append(cleanEnvironment(), "NOTIFY_SOCKET="+socket)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = &p.stdout, p.stderr
	if terminal != nil {
		cmd.Stderr = terminal
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // the code says it
		p.code = cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("%v: exit code %d\nstdout:\n%s\nstderr:\n%s\nsystemd:\n%s", cmd, p.code, p.stdout.String(), p.stderr, p.notified)
		}
	})
	return p
}

// cleanEnvironment is that of the test without what would change a broker.
func cleanEnvironment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SALT_") && !strings.HasPrefix(v, "GOMAXPROCS=") && !strings.HasPrefix(v, "JOURNAL_STREAM=") {
			env = append(env, v)
		}
	}
	return env
}

func (p *process) listenAsSystemd(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sb") // t.TempDir may be too long for the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	// As systemd's: whoever a broker has become may write to it.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o777)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(p.notified, "%s\n", buf[:n])
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return path
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.code
	case <-time.After(patience):
		t.Fatalf("salt-broker has not ended")
		return -1
	}
}

// expect waits for the end with an exit code and exactly these lines on standard error.
func (p *process) expect(t *testing.T, code int, lines ...string) {
	t.Helper()
	if got := p.wait(t); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	want := strings.Join(lines, "\n")
	if got := strings.TrimSuffix(p.stderr.String(), "\n"); got != want {
		t.Errorf("standard error is\n%s\nwant\n%s", got, want)
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ready waits until systemd is told so.
func (p *process) ready(t *testing.T) {
	t.Helper()
	p.notified.expect(t, "READY=1", p.ended)
}

// watched is what a process writes, with a way to wait for it.
type watched struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{} // closed and made anew with every write
}

func newWatched() *watched { return &watched{wrote: make(chan struct{})} }

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.wrote)
	w.wrote = make(chan struct{})
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// expect waits until text has come, and fails when that takes too long or ended says that nothing more comes.
func (w *watched) expect(t *testing.T, text string, ended <-chan struct{}) {
	t.Helper()
	w.expectTimes(t, text, 1, ended)
}

// expectTimes waits until text has come n times.
func (w *watched) expectTimes(t *testing.T, text string, n int, ended <-chan struct{}) {
	t.Helper()
	timeout := time.After(patience)
	for last := false; ; {
		w.mu.Lock()
		found, wrote := strings.Count(w.text.String(), text) >= n, w.wrote
		w.mu.Unlock()
		switch {
		case found:
			return
		case last:
			t.Fatalf("the process has ended without saying %q", text)
		}
		select {
		case <-wrote:
		case <-ended:
			last = true
		case <-timeout:
			t.Fatalf("nothing said %q", text)
		}
	}
}

// place is a configuration for a broker of its own.
type place struct {
	dir                  string
	publish, request     int // for minions
	status               int
	masterPub, masterReq int // of the master
}

// newPlace writes a configuration with further lines. There is no log file and the terminal gets everything from info on.
func newPlace(t *testing.T, further ...string) *place {
	t.Helper()
	ports := freePorts(t, 5)
	l := &place{
		dir: t.TempDir(), publish: ports[0], request: ports[1], masterPub: ports[2], masterReq: ports[3], status: ports[4],
	}
	l.write(t, further...)
	return l
}

func (l *place) write(t *testing.T, further ...string) {
	t.Helper()
	lines := []string{
		"interface: 127.0.0.1", "master: 127.0.0.1", "log_file: ''", "max_open_files: 64",
		fmt.Sprint("publish_port: ", l.publish), fmt.Sprint("ret_port: ", l.request),
		fmt.Sprint("master_publish_port: ", l.masterPub), fmt.Sprint("master_port: ", l.masterReq),
		fmt.Sprint("status_port: ", l.status),
	}
	given := strings.Join(further, "\n") + "\n"
	text := ""
	for _, line := range lines {
		if key, _, _ := strings.Cut(line, ":"); !strings.Contains("\n"+given, "\n"+key+":") {
			text += line + "\n"
		}
	}
	writeFile(t, filepath.Join(l.dir, "broker"), text+given)
}

// watchStandstill watches until the test ends for how long this process stands still, and, most likely, the broker as well.
func watchStandstill(t *testing.T) *sim.Standstill {
	t.Helper()
	s := sim.WatchStandstill()
	t.Cleanup(s.Stop)
	return s
}

// launchReady starts a broker and waits until it serves.
func launchReady(t *testing.T, args []string, further ...string) (*place, *process) {
	t.Helper()
	return launchReadyIn(t, nil, args, further...)
}

func launchReadyIn(t *testing.T, env, args []string, further ...string) (*place, *process) {
	t.Helper()
	l := newPlace(t, further...)
	p := launchIn(t, env, exec.Command(program, append([]string{"-c", l.dir}, args...)...))
	p.serves(t)
	return l, p
}

// serves waits until the broker serves.
func (p *process) serves(t *testing.T) {
	t.Helper()
	timeout := time.After(patience)
	for {
		p.notified.mu.Lock()
		ready, wrote := strings.Contains(p.notified.text.String(), "READY=1"), p.notified.wrote
		p.notified.mu.Unlock()
		if ready {
			return
		}
		select {
		case <-wrote:
		case <-p.ended:
			t.Fatal("salt-broker has ended")
		case <-timeout:
			t.Fatal("salt-broker does not become ready")
		}
	}
}

// freePorts are ports that nobody else gets before the test ends, whoever of its own listens on them and stops.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		p, err := sim.KeepPort(netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		ports = append(ports, int(p.Addr().Port()))
	}
	return ports
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
