// Package footprint measures what the installed program costs: the memory of a minion that is connected and waits, which
// is what most minions do most of the time.
package footprint

import (
	"bufio"
	"crypto/sha1"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

const (
	// minions is how many are connected. The usual hard limit of 20,000 descriptors leaves room for them in one process.
	minions = 15000
	// What an idle connection may cost, of the resident memory of the whole process. With zmq_filtering each minion has a
	// place of its own in the tree of subscriptions, and its topic is kept.
	limitBytes          = 614 // 0.6 KB
	limitFilteringBytes = 819 // 0.8 KB
	patience            = 60 * time.Second
)

// TestIdleMinionConnection connects minions to the publish port of the real program, shakes hands and subscribes, and
// divides what its resident memory has grown by: minions that subscribe to everything, as is Salt's default, and minions
// with zmq_filtering, which have a topic of their own and one of all.
func TestIdleMinionConnection(t *testing.T) {
	t.Run("everything", func(t *testing.T) {
		idle(t, limitBytes, func(int) []string { return []string{""} })
	})
	t.Run("filtering", func(t *testing.T) {
		idle(t, limitFilteringBytes, func(i int) []string {
			return []string{fmt.Sprintf("%x", sha1.Sum(fmt.Append(nil, i))), "broadcast"}
		})
	})
}

func idle(t *testing.T, limit float64, topics func(i int) []string) {
	t.Helper()
	if files := openFiles(t); files < minions+500 {
		if os.Getenv("SALT_BROKER_REQUIRE_TOOLS") == "1" {
			t.Fatalf("%d descriptors are too few for %d minions", files, minions)
		}
		t.Skipf("%d descriptors are too few for %d minions", files, minions)
	}
	b := startBroker(t, freePort(t), freePort(t))
	// A first few, so that what is made once is not counted as theirs.
	const first = 20
	for i := range first {
		connect(t, b.publish, topics(i))
	}
	before := b.resident(t)

	var wait sync.WaitGroup
	const dialers = 8
	for d := range dialers {
		wait.Go(func() {
			for i := d; i < minions; i += dialers {
				connect(t, b.publish, topics(first+i))
			}
		})
	}
	wait.Wait()
	after := b.resident(t)
	each := float64(after-before) / minions
	t.Logf("%d idle minions: %.0f bytes each (%.1f MiB before, %.1f MiB after)", minions, each,
		float64(before)/(1<<20), float64(after)/(1<<20))
	if each > limit {
		t.Errorf("an idle minion connection costs %.0f bytes, the limit is %.0f", each, limit)
	}
}

type broker struct {
	pid     int
	publish string
	request string
}

// startBroker runs the program with a configuration of its own and further lines, for a master at these ports.
func startBroker(t *testing.T, masterPublish, masterRequest int, further ...string) *broker {
	t.Helper()
	dir := t.TempDir()
	publish, request := freePort(t), freePort(t)
	text := fmt.Sprintf("master: 127.0.0.1\nmaster_port: %d\nmaster_publish_port: %d\ninterface: 127.0.0.1\n"+
		"publish_port: %d\nret_port: %d\nstatus_port: 0\nlog_file: ''\nlog_level: info\nmax_open_files: %d\n%s\n",
		masterRequest, masterPublish, publish, request, max(minions+1000, openFiles(t)), strings.Join(further, "\n"))
	if err := os.WriteFile(filepath.Join(dir, "broker"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.Command(executable, "-c", dir)
	stderr, err := run.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	listens := make(chan struct{})
	said := make(chan string, 1)
	go func() {
		var all strings.Builder
		waiting := true
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
			if waiting && strings.Contains(lines.Text(), strconv.Itoa(request)) { // "requests on ..." is the last of them
				waiting = false
				close(listens)
			}
		}
		said <- all.String()
	}()
	t.Cleanup(func() {
		_ = run.Process.Signal(syscall.SIGTERM)
		text := <-said
		if err := run.Wait(); err != nil {
			t.Errorf("the broker ended with %v:\n%s", err, text)
		}
	})
	select {
	case <-listens:
	case text := <-said:
		said <- text
		t.Fatal("the broker ended at once")
	case <-time.After(patience):
		t.Fatal("the broker does not say that it listens")
	}
	at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	return &broker{pid: run.Process.Pid, publish: at(publish), request: at(request)}
}

// connect makes one minion that stays until the test ends, and waits until its subscription has been handled.
func connect(t *testing.T, address string, topics []string) {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	hello := zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.SUB)
	for _, topic := range topics {
		hello = zmtp.AppendSubscribe(hello, []byte(topic))
	}
	hello = zmtp.AppendPing(hello, 0, []byte("done"))
	if _, err := nc.Write(hello); err != nil {
		t.Error(err)
		return
	}
	answer := len(zmtp.AppendPong(zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.PUB), []byte("done")))
	if _, err := io.ReadFull(nc, make([]byte, answer)); err != nil {
		t.Error(err)
	}
}

// resident returns the process's resident memory in bytes.
func (b *broker) resident(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kB << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// openFiles raises the limit of open files as far as it goes and returns it.
func openFiles(t *testing.T) int {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Max, 1<<30))
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
