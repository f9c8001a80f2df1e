//go:build linux

package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"salt-broker/internal/sim"
)

// stopPatience is how long a broker may take to stop: its drain_timeout is 5 s.
const stopPatience = 10 * time.Second

// broker is a salt-broker that runs as a child process.
type broker struct {
	dir              string // its configuration
	publish, request netip.AddrPort
	status           netip.AddrPort
	kept             []*sim.Port // those, until clear
	pid              int
	process          *os.Process
	said             tail          // what it has written
	done             chan struct{} // it has ended,
	err              error         // thus
}

// startBroker starts a broker between master and minions that are to come, and returns when it has connected to the
// master and opened its ports.
func startBroker(ctx context.Context, program string, master *sim.Master) (*broker, error) {
	b := &broker{done: make(chan struct{})}
	var err error
	if b.dir, err = os.MkdirTemp("", "salt-broker-demo-"); err != nil {
		return nil, err
	}
	if err = b.keepPorts(&b.publish, &b.request, &b.status); err == nil {
		if err = b.writeConfig(master); err == nil {
			err = b.start(program)
		}
	}
	if err != nil {
		b.leave()
		return nil, err
	}
	if err := b.awaitReady(ctx, master); err != nil {
		_ = b.stop()
		b.clear()
		if said := b.said.String(); said != "" {
			return nil, fmt.Errorf("%w; it said:\n%s", err, said)
		}
		return nil, err
	}
	return b, nil
}

// keepPorts takes ports that nobody else gets before the broker does.
func (b *broker) keepPorts(ports ...*netip.AddrPort) error {
	for _, port := range ports {
		kept, err := sim.KeepPort(netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			return err
		}
		b.kept = append(b.kept, kept)
		*port = kept.Addr()
	}
	return nil
}

func (b *broker) writeConfig(master *sim.Master) error {
	text := fmt.Sprintf(`# Made by salt-broker demo.
default_include: ''
master: 127.0.0.1
master_publish_port: %d
master_port: %d
interface: 127.0.0.1
publish_port: %d
ret_port: %d
status_port: %d
log_file: ''
log_level: warning
`, master.PublishAddr().Port(), master.RequestAddr().Port(), b.publish.Port(), b.request.Port(), b.status.Port())
	return os.WriteFile(filepath.Join(b.dir, "broker"), []byte(text), 0o600)
}

// start runs the program. It does not get signals that a terminal sends to the demonstration, and does not outlive it.
func (b *broker) start(program string) error {
	cmd := exec.Command(program, "-c", b.dir) //nolint:gosec // our own program, on files of our own
	cmd.Env = environment(os.Environ())
	cmd.Stdout, cmd.Stderr = &b.said, &b.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		// The kernel takes the end of this thread for the end of the parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			b.err = cmd.Wait()
		}
		close(b.done)
	}()
	if err := <-started; err != nil {
		return err
	}
	b.process, b.pid = cmd.Process, cmd.Process.Pid
	return nil
}

// environment leaves out what would have the broker read another configuration or talk to another parent.
func environment(all []string) []string {
	var kept []string
	for _, v := range all {
		if !strings.HasPrefix(v, "SALT_") && !strings.HasPrefix(v, "NOTIFY_SOCKET=") {
			kept = append(kept, v)
		}
	}
	return kept
}

// awaitReady waits until the broker has connected to the master and accepts minions.
func (b *broker) awaitReady(ctx context.Context, master *sim.Master) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-b.done:
			return errEnded
		case <-ctx.Done():
			s := master.Stats()
			return fmt.Errorf("the broker is not ready: %d and %d connections to the master: %w", s.Subscribers, s.Requesters, ctx.Err())
		}
		if s := master.Stats(); s.Subscribers > 0 && s.Requesters > 0 && accepts(ctx, b.publish) && accepts(ctx, b.request) {
			return nil
		}
	}
}

// accepts says whether somebody listens; minions of Salt ask in the same way.
func accepts(ctx context.Context, addr netip.AddrPort) bool {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// stop asks the broker to stop and waits until it has, with force if need be. Nil means that it ended as it should.
func (b *broker) stop() error {
	select {
	case <-b.done:
		return errors.Join(errEnded, b.err)
	default:
	}
	_ = b.process.Signal(syscall.SIGTERM)
	timeout := time.NewTimer(stopPatience)
	defer timeout.Stop()
	select {
	case <-b.done:
		return b.err
	case <-timeout.C:
		_ = b.process.Kill()
		<-b.done
		return fmt.Errorf("the broker did not stop within %s", stopPatience)
	}
}

// clear makes sure that nothing of the broker is left.
func (b *broker) clear() {
	select {
	case <-b.done:
	default:
		_ = b.stop()
	}
	b.leave()
}

// leave gives back what there is beside the process.
func (b *broker) leave() {
	for _, port := range b.kept {
		port.Close()
	}
	_ = os.RemoveAll(b.dir)
}

// usage is what a process takes.
type usage struct {
	resident int64         // bytes
	cpu      time.Duration // since it began
}

// ticksPerSecond is the unit of CPU time in /proc, on all of Linux's architectures that Go knows.
const ticksPerSecond = 100

// usage is zero when the broker has gone.
func (b *broker) usage() usage {
	var u usage
	proc := "/proc/" + strconv.Itoa(b.pid)
	status, err := os.ReadFile(proc + "/status") //nolint:gosec // the number of our child
	if err != nil {
		return u
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			u.resident = kib << 10
		}
	}
	stat, err := os.ReadFile(proc + "/stat") //nolint:gosec // the number of our child
	if err != nil {
		return u
	}
	// proc(5): utime and stime are the 14th and 15th field; the 2nd is a name in parentheses that may hold spaces.
	if i := bytes.LastIndexByte(stat, ')'); i > 0 {
		if fields := strings.Fields(string(stat[i+1:])); len(fields) > 12 {
			user, _ := strconv.ParseInt(fields[11], 10, 64)
			system, _ := strconv.ParseInt(fields[12], 10, 64)
			u.cpu = time.Duration(user+system) * time.Second / ticksPerSecond
		}
	}
	return u
}

// tail keeps the last bytes that were written to it.
type tail struct {
	mu    sync.Mutex
	bytes []byte
}

const tailBytes = 4 << 10

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - tailBytes; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.bytes))
}
