//go:build linux

package page

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"salt-broker/internal/sim"
	"salt-broker/test/internal/program"
)

// broker is the real program in front of a stand-in for a master.
type broker struct {
	t                        *testing.T
	run                      *exec.Cmd
	said                     bytes.Buffer // read when it has ended
	publish, request, status netip.AddrPort
	over                     bool
}

// startBroker builds and starts it, and returns when its status port answers.
func startBroker(t *testing.T, master *sim.Master) *broker {
	t.Helper()
	dir := t.TempDir()
	binary, err := program.Build(dir, "-ldflags", "-X main.version=0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, run: exec.Command(binary, "-c", dir), publish: freePort(t), request: freePort(t), status: freePort(t)}
	text := fmt.Sprintf("default_include: ''\nmaster: 127.0.0.1\nmaster_port: %d\nmaster_publish_port: %d\ninterface: 127.0.0.1\n"+
		"publish_port: %d\nret_port: %d\nstatus_port: %d\nlog_file: ''\nlog_level: warning\nmax_open_files: 2000\n"+
		"drain_timeout: 1\nrecon_default: 20\nrecon_max: 20\n", master.RequestAddr().Port(), master.PublishAddr().Port(),
		b.publish.Port(), b.request.Port(), b.status.Port())
	if err := os.WriteFile(filepath.Join(dir, "broker"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run.Stderr = &b.said
	if err := b.run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.stop)
	b.await()
	return b
}

// await polls for the status port, which opens after the others.
func (b *broker) await() {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if nc, err := net.Dial("tcp", b.status.String()); err == nil {
			_ = nc.Close()
			return
		}
	}
	b.t.Fatal("the broker does not open its status port")
}

// stop ends it, once.
func (b *broker) stop() {
	if b.over {
		return
	}
	b.over = true
	_ = b.run.Process.Signal(syscall.SIGTERM)
	force := time.AfterFunc(patience, func() { _ = b.run.Process.Kill() })
	defer force.Stop()
	if err := b.run.Wait(); err != nil {
		b.t.Errorf("the broker ended with %v:\n%s", err, b.said.String())
	}
}

// freePort is a port that only who knows it gets until the test ends.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	p, err := sim.KeepPort(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p.Addr()
}

func startMaster(t *testing.T) *sim.Master {
	t.Helper()
	m, err := sim.StartMaster(sim.MasterOptions{ServiceTime: 3 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Stop() })
	return m
}

// minions is how many there are.
const minions = 300

// startLoad connects minions that make requests, and has the master publish, until the test ends.
func startLoad(t *testing.T, b *broker, master *sim.Master) {
	t.Helper()
	m, err := sim.StartMinions(sim.MinionsOptions{
		Count: minions, Publish: b.publish, Request: b.request, Shape: sim.Mixed, Interval: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := m.AwaitSubscribed(ctx, minions); err != nil {
		t.Fatal(err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				master.PublishJob(nil)
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-ended
		_ = m.Stop()
	})
}
