package hostile

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"salt-broker/internal/sim"
)

// What the broker under test is told. Times are short so that the test is.
const (
	handshakeTimeout  = time.Second
	heartbeatInterval = 500 * time.Millisecond
	heartbeatTimeout  = time.Second
	maxSubscriptions  = 100000 // the default
)

// broker is the real program.
type broker struct {
	t                *testing.T
	run              *exec.Cmd
	publish, request netip.AddrPort
	over             chan error

	mu    sync.Mutex
	lines []string // of its log
}

// startBroker runs the program in front of a master.
func startBroker(t *testing.T, master *sim.Master, settings ...string) *broker {
	t.Helper()
	dir := t.TempDir()
	publish, request := freePort(t), freePort(t)
	text := fmt.Sprintf("master: 127.0.0.1\nmaster_port: %d\nmaster_publish_port: %d\ninterface: 127.0.0.1\n"+
		"publish_port: %d\nret_port: %d\nstatus_port: 0\nlog_file: ''\nlog_level: info\nmax_open_files: 10000\n"+
		"handshake_timeout: %d\nzmq_heartbeat_ivl: %d\nzmq_heartbeat_timeout: %d\nmax_subscriptions: %d\ndrain_timeout: 1\n"+
		"recon_default: 20\nrecon_max: 20\n",
		master.RequestAddr().Port(), master.PublishAddr().Port(), publish, request, handshakeTimeout/time.Second,
		heartbeatInterval/time.Millisecond, heartbeatTimeout/time.Millisecond, maxSubscriptions)
	for _, setting := range settings {
		text += setting + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "broker"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &broker{
		t: t, run: exec.Command(executable, "-c", dir), over: make(chan error, 1),
		publish: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(publish)),
		request: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(request)),
	}
	stderr, err := b.run.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.run.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			b.mu.Lock()
			b.lines = append(b.lines, lines.Text())
			b.mu.Unlock()
		}
		b.over <- b.run.Wait()
	}()
	t.Cleanup(b.stop)
	until(t, "the broker to listen", func() bool { return len(b.said(strconv.Itoa(request))) > 0 })
	return b
}

// said returns the lines of the log that have all these words.
func (b *broker) said(words ...string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
next:
	for _, line := range b.lines {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// stop ends the program in order, once or again.
func (b *broker) stop() {
	b.t.Helper()
	if b.run.ProcessState == nil {
		_ = b.run.Process.Signal(syscall.SIGTERM)
	}
	select {
	case err := <-b.over:
		if err != nil {
			b.t.Errorf("the broker ended with %v:\n%s", err, strings.Join(b.said(), "\n"))
		}
		b.over <- nil
	case <-time.After(patience):
		_ = b.run.Process.Kill()
		err := <-b.over
		b.over <- nil
		b.t.Errorf("the broker does not end (%v):\n%s", err, strings.Join(b.said(), "\n"))
	}
}

// processor returns for how long the process has run until now, and for how long it would have and others did: all its
// threads together, proc(5).
func (b *broker) processor() (ran, waited time.Duration) {
	b.t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", b.run.Process.Pid))
	if err != nil || len(threads) == 0 {
		b.t.Fatalf("the threads of the broker: %d, %v", len(threads), err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended meanwhile
		}
		var r, w time.Duration
		if _, err := fmt.Sscan(string(text), &r, &w); err != nil {
			b.t.Fatalf("%s: %q: %v", thread, text, err)
		}
		ran += r
		waited += w
	}
	return ran, waited
}

// memory returns the process's resident memory, now and at most, in bytes.
func (b *broker) memory() (now, most int64) {
	b.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.run.Process.Pid))
	if err != nil {
		b.t.Fatal(err)
	}
	return inStatus(b.t, string(status), "VmRSS"), inStatus(b.t, string(status), "VmHWM")
}

func inStatus(t *testing.T, status, field string) int64 {
	t.Helper()
	found := regexp.MustCompile(field + `:\s*(\d+) kB`).FindStringSubmatch(status)
	if found == nil {
		t.Fatalf("no %s in %s", field, status)
	}
	kB, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}

// freePort is a port that only who knows it gets until the test ends.
func freePort(t *testing.T) int {
	t.Helper()
	p, err := sim.KeepPort(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return int(p.Addr().Port())
}

// until polls for what has no event to wait for.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
