package masters

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"

	"salt-broker/internal/master"
	"salt-broker/internal/salt"
	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

func startMaster(t *testing.T, o sim.MasterOptions) (*sim.Master, Path) {
	t.Helper()
	m, err := sim.StartMaster(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m, Path{Publish: m.PublishAddr().String(), Request: m.RequestAddr().String()}
}

// scripted listens and gives each connection to a script.
func scripted(t *testing.T, script func(nc net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
				defer func() { _ = nc.Close() }()
				script(nc)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

// router shakes hands as a master's request port does, waits for a request, and sends the parts.
func router(parts ...[]byte) func(nc net.Conn) {
	return func(nc net.Conn) {
		_, _ = nc.Write(zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.ROUTER))
		want := len(zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.REQ)) + len(salt.AppendPing(nil)) + 4
		if _, err := io.ReadAtLeast(nc, make([]byte, 1024), want/2); err != nil {
			return
		}
		for _, part := range parts {
			_, _ = nc.Write(part)
		}
		_, _ = io.Copy(io.Discard, nc)
	}
}

// demanding is a router that answers when its PING has been answered.
func demanding(nc net.Conn) {
	_, _ = nc.Write(zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.ROUTER))
	_, _ = nc.Write(zmtp.AppendPing(nil, 0, []byte("context")))
	pong := zmtp.AppendPong(nil, []byte("context"))
	var got []byte
	for buf := make([]byte, 1024); !bytes.Contains(got, pong); {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		got = append(got, buf[:n]...)
	}
	_, _ = nc.Write(reply(salt.AppendPingReply(nil)))
	_, _ = io.Copy(io.Discard, nc)
}

// independent is a REP of go-zeromq/zmq4 that answers everything with body.
func independent(t *testing.T, body []byte) string {
	t.Helper()
	rep := zmq4.NewRep(context.Background())
	if err := rep.Listen("tcp://127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			msg, err := rep.Recv()
			if err != nil {
				return
			}
			if w, err := salt.ParseWrapper(msg.Bytes()); err != nil || w.Command() != salt.CommandPing {
				t.Errorf("it is asked %q (%v)", msg.Bytes(), err)
			}
			_ = rep.Send(zmq4.NewMsg(body))
		}
	})
	t.Cleanup(func() {
		_ = rep.Close()
		all.Wait()
	})
	return rep.Addr().String()
}

func reply(body []byte) []byte {
	return zmtp.AppendFrame(zmtp.AppendFrame(nil, true, nil), false, body)
}

// A master whose workers live is good; everything else has a reason that an operator understands. Only silence is
// excused by what it answers others.
func TestAsk(t *testing.T) {
	t.Parallel()
	_, path := startMaster(t, sim.MasterOptions{})
	muted, mutedPath := startMaster(t, sim.MasterOptions{})
	muted.Mute(true)
	gone, err := sim.KeepPort(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gone.Close)
	nobody := gone.Addr().String()
	at := func(request string) Path { return Path{Publish: path.Publish, Request: request} }
	answers := func(body []byte) Path {
		_, p := startMaster(t, sim.MasterOptions{Answer: func(_ []byte, reply func([]byte)) { reply(body) }})
		return p
	}
	silent := func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) }
	ping := zmtp.AppendPing(nil, 0, []byte("context"))
	for _, test := range []struct {
		name string
		path Path
		says string // "": it is good
		mute bool   // silence
	}{
		{"good", path, "", false},
		{"pings before its answer", at(scripted(t, router(ping, reply(salt.AppendPingReply(nil))))), "", false},
		{"wants its PING answered", at(scripted(t, demanding)), "", false},
		{"another's ZMTP", at(independent(t, salt.AppendPingReply(nil))), "", false},
		{"another's ZMTP, not ready", at(independent(t, []byte{0x80})), "a ping is answered with something else (1 bytes)", false},
		{"answers in pieces", at(scripted(t, router(reply(salt.AppendPingReply(nil))[:5], reply(salt.AppendPingReply(nil))[5:]))), "", false},
		{"nobody publishes", Path{Publish: nobody, Request: path.Request}, "publish port: dial tcp " + nobody + ": connect: connection refused", false},
		{"nobody takes requests", at(nobody), "request port: dial tcp " + nobody + ": connect: connection refused", false},
		{"the ports are swapped", Path{Publish: path.Request, Request: path.Publish}, "publish port: handshake with", false},
		{"takes connections and greets nobody, for publishes", Path{Publish: scripted(t, silent), Request: path.Request}, "publish port: handshake with", false},
		{"takes connections and greets nobody", at(scripted(t, silent)), "request port: no answer to a ping within 300ms: handshake with", true},
		{"takes requests and answers none", mutedPath, "request port: no answer to a ping within 300ms", true},
		{"bad load", answers(salt.AppendRawString(nil, "bad load")), `a ping is answered with "bad load": not ready, or no Salt master`, false},
		{"cluster_retry", answers([]byte("\x81\xa3cmd\xadcluster_retry")), "a ping is answered with something else (19 bytes)", false},
		{"an empty map", answers([]byte{0x80}), "a ping is answered with something else (1 bytes)", false},
		{"nothing", answers(nil), "a ping is answered with something else (0 bytes)", false},
		{"a long text", answers(salt.AppendRaw(nil, make([]byte, 1000))), "a ping is answered with something else (1003 bytes)", false},
		{"too much", answers(make([]byte, maxAnswer)), "request port: message too large", false},
		{"three frames", at(scripted(t, router(zmtp.AppendFrame(nil, true, nil), reply(nil)))), "a ping is not an empty frame and one more", false},
		{"one frame", at(scripted(t, router(zmtp.AppendFrame(nil, false, nil)))), "request port: ", false},
		{"hangs up", at(scripted(t, func(nc net.Conn) {
			_, _ = nc.Write(zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.ROUTER))
			_, _ = io.ReadFull(nc, make([]byte, 100))
		})), "request port: ", false},
		{"garbage", at(scripted(t, router([]byte{0xff, 0xff}))), "request port: ", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			timeout := patience
			if test.mute || strings.Contains(test.name, "greets nobody") {
				timeout = 300 * time.Millisecond
			}
			took, err := ask(t.Context(), master.Options{}, test.path, timeout)
			switch {
			case test.says == "":
				if err != nil || took <= 0 || took > patience {
					t.Errorf("%v, %v", took, err)
				}
			case err == nil || !strings.Contains(err.Error(), test.says):
				t.Errorf("%v, want %s", err, test.says)
			}
			if errors.As(err, new(silence)) != test.mute {
				t.Errorf("%v: silence %v", err, !test.mute)
			}
		})
	}
}

// A way on which all of a probe takes longer than the time-out, and no step does, leads to a master that is up. Of that
// time only the answer's counts.
func TestAskFarAway(t *testing.T) {
	t.Parallel()
	const late, timeout = 600 * time.Millisecond, 2 * time.Second // late in each direction; the rest is for a busy machine
	m, _ := startMaster(t, sim.MasterOptions{})
	far := func(to netip.AddrPort) string {
		w, err := sim.StartWay("", to, late)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		return w.Addr().String()
	}
	path, began := Path{Publish: far(m.PublishAddr()), Request: far(m.RequestAddr())}, time.Now()
	took, err := ask(t.Context(), master.Options{}, path, timeout)
	if all := time.Since(began); err != nil || took < 2*late || all <= timeout || took > all-2*late {
		t.Errorf("it took %v, of %v: %v", took, all, err)
	}
}

// A name may have an address at which nobody answers before the one at which the master is.
func TestAskTwoAddresses(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	_, path := startMaster(t, sim.MasterOptions{PublishAddress: "127.0.0.3:0", RequestAddress: "127.0.0.3:0"})
	both := func(at string) string {
		port := netip.MustParseAddrPort(at).Port()
		ln, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port).String()) // greets nobody
		if err != nil {
			t.Skipf("somebody has the port: %v", err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		return net.JoinHostPort("salt", strconv.Itoa(int(port)))
	}
	o := master.Options{Resolver: names{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}}
	if _, err := ask(t.Context(), o, Path{Publish: both(path.Publish), Request: both(path.Request)}, timeout); err != nil {
		t.Error(err)
	}
}

// names is a resolver that knows one name.
type names []netip.Addr

func (n names) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return n, nil }

// A probe ends with its context, and is no silence then.
func TestAskEnds(t *testing.T) {
	t.Parallel()
	m, path := startMaster(t, sim.MasterOptions{})
	m.Mute(true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := ask(ctx, master.Options{}, path, time.Hour)
		ended <- err
	}()
	waiting, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := m.Await(waiting, func(s sim.MasterStats) bool { return s.Lost == 1 }); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if err == nil || errors.As(err, new(silence)) {
			t.Errorf("%v", err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
}
