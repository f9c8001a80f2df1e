package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/sirupsen/logrus"

	"salt-broker/internal/zmtp"
)

// good is a master that shakes hands and is then silent.
func good(nc net.Conn) { says(greeting(3, 1), ready(zmtp.XPUB))(nc) }

func TestLibraryPeers(t *testing.T) {
	tests := []struct {
		name string
		own  zmtp.SocketType
		peer func(context.Context, ...zmq4.Option) zmq4.Socket
	}{
		{"SUB to PUB", zmtp.SUB, zmq4.NewPub},
		{"SUB to XPUB", zmtp.SUB, zmq4.NewXPub},
		{"DEALER to ROUTER", zmtp.DEALER, zmq4.NewRouter},
		{"DEALER to REP", zmtp.DEALER, zmq4.NewRep},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			sock := tt.peer(ctx)
			t.Cleanup(func() { _ = sock.Close() })
			if err := sock.Listen("tcp://127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
			r := run(t, sock.Addr().String(), func(o *Options) { o.SocketType = tt.own })
			s := r.connection(t)
			if want := (zmtp.Version{Major: 3, Minor: 0}); s.version != want {
				t.Errorf("version %v, want %v: what the library greets", s.version, want)
			}
			// The library's sockets leave a connection alone until it is closed.
			if err := s.nc.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStateAndLog(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", good)
	r := run(t, p.addr.String(), nil)
	first := r.connection(t)
	state := r.State()
	if !state.Connected || state.Address != p.addr || state.Master != p.addr.String() || state.Connections != 1 ||
		state.Attempts != 1 || state.LastError != nil || state.Version != (zmtp.Version{Major: 3, Minor: 1}) || state.Since.IsZero() {
		t.Errorf("connected: %+v", state)
	}
	if lines := r.lines(logrus.WarnLevel); len(lines) != 0 {
		t.Errorf("warned %v", lines)
	}

	why := errors.New("cable pulled")
	first.end(why)
	second := r.connection(t)
	if _, err := first.nc.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the old connection is not closed: %v", err)
	}
	state = r.State()
	if !state.Connected || state.Connections != 2 || !errors.Is(state.LastError, why) {
		t.Errorf("connected again: %+v", state)
	}
	warned := r.lines(logrus.WarnLevel)
	if len(warned) != 1 || !errors.Is(warned[0].Data[logrus.ErrorKey].(error), why) || !strings.Contains(warned[0].Message, "dialing again") {
		t.Errorf("warned %v", warned)
	}
	if told := r.lines(logrus.InfoLevel); len(told) != 2 || told[1].Message != "master is back" || told[1].Data["remote"] != p.addr.String() {
		t.Errorf("told %v", told)
	}

	// The end of Run is no failure of the master.
	second.end(nil)
	third := r.connection(t)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := third.nc.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run left a connection open: %v", err)
	}
	if state = r.State(); state.Connected || state.Connections != 3 || state.LastError == nil || state.Address.IsValid() {
		t.Errorf("stopped: %+v", state)
	}
}

// However many attempts fail, the operator reads one warning, with the reason, the address and what happens next.
func TestOneWarningForManyAttempts(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", says([]byte("HTTP/1.1 400 Bad Request\r\n")))
	r := run(t, p.addr.String(), nil)
	for range 20 {
		receive(t, p.accepted)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	warned := r.lines(logrus.WarnLevel)
	if len(warned) != 1 {
		t.Fatalf("%d warnings", len(warned))
	}
	text, err := warned[0].String()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"HTTP", p.addr.String(), "dialing again"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
	if others := r.lines(logrus.InfoLevel); len(others) != 0 {
		t.Errorf("told %v", others)
	}
	if attempts := r.lines(logrus.DebugLevel); len(attempts) < 18 {
		t.Errorf("%d lines for debugging", len(attempts))
	}
}

// A master that moves is found at its new address by the next attempt.
func TestNameIsResolvedAtEachAttempt(t *testing.T) {
	p := newPeer(t, "127.0.0.3:0", good)
	dns := &addresses{answers: [][]netip.Addr{nil, ips("127.0.0.2"), ips("127.0.0.2"), ips("127.0.0.3")}}
	_, port, err := net.SplitHostPort(p.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, "salt.example:"+port, func(o *Options) { o.Resolver = dns })
	r.connection(t)
	state := r.State()
	if state.Address != p.addr || state.Attempts != 4 || state.Master != "salt.example:"+port {
		t.Errorf("state %+v", state)
	}
	if !errors.Is(state.LastError, syscall.ECONNREFUSED) {
		t.Errorf("last error %v", state.LastError)
	}
	if want := slices.Repeat([]string{"salt.example"}, 4); !slices.Equal(dns.asked, want) {
		t.Errorf("asked for %q", dns.asked)
	}
}

// A master that was connected and goes is found where its name leads then, be it by the other family.
func TestMasterThatMovesIsFollowed(t *testing.T) {
	before := newPeer(t, "127.0.0.2:0", good)
	port := before.addr.Port()
	after := newPeer(t, netip.AddrPortFrom(netip.IPv6Loopback(), port).String(), good)
	dns := &addresses{answers: [][]netip.Addr{ips("127.0.0.2"), ips("::1")}}
	r := run(t, fmt.Sprint("salt.example:", port), func(o *Options) { o.Resolver = dns })
	first := r.connection(t)
	if state := r.State(); state.Address != before.addr {
		t.Errorf("at first: %+v", state)
	}
	first.end(errors.New("it has gone"))
	r.connection(t)
	if state := r.State(); state.Address != after.addr || state.Connections != 2 {
		t.Errorf("afterwards: %+v", state)
	}
}

// A master that takes connections and fails in the handshake is tried less and less often, as one that takes none.
func TestFailedHandshakesBackOff(t *testing.T) {
	const ms = time.Millisecond
	p := newPeer(t, "127.0.0.1:0", hangsUp(greeting(3, 1)))
	r := run(t, p.addr.String(), func(o *Options) { o.Backoff = Backoff{Default: 2 * ms, Max: 16 * ms} })
	for range 7 {
		receive(t, p.accepted)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	var pauses []time.Duration
	for _, entry := range r.hook.AllEntries() {
		text, ok := entry.Data["pause"]
		if !ok {
			continue
		}
		pause, err := time.ParseDuration(fmt.Sprint(text))
		if err != nil {
			t.Fatal(err)
		}
		pauses = append(pauses, pause)
	}
	if want := []time.Duration{2 * ms, 4 * ms, 8 * ms, 16 * ms, 16 * ms, 16 * ms}; len(pauses) < len(want) || !slices.Equal(pauses[:len(want)], want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
	if warned := r.lines(logrus.WarnLevel); len(warned) != 1 {
		t.Errorf("%d warnings", len(warned))
	}
}

// One attempt goes through all addresses, of both families, past those that are no master.
func TestEveryAddressIsTried(t *testing.T) {
	p := newPeer(t, "[::1]:0", good)
	port := p.addr.Port()
	impostor := newPeer(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.4"), port).String(), says([]byte("SSH-2.0-OpenSSH_9.2\r\n")))
	dns := &addresses{answers: [][]netip.Addr{ips("127.0.0.2", "::ffff:127.0.0.2", "127.0.0.4", "::1")}}
	_, text, err := net.SplitHostPort(p.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, "salt.example:"+text, func(o *Options) { o.Resolver = dns })
	r.connection(t)
	receive(t, impostor.accepted)
	if state := r.State(); state.Address != p.addr || state.Attempts != 1 || len(r.lines(logrus.WarnLevel)) != 0 {
		t.Errorf("state %+v", state)
	}
}

// An attempt that fails says why for each address.
func TestErrorsOfAllAddresses(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", says([]byte("SSH-2.0-OpenSSH_9.2\r\n")))
	_, port, err := net.SplitHostPort(p.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	dns := &addresses{answers: [][]netip.Addr{ips("127.0.0.2", "127.0.0.1")}}
	r := run(t, "salt.example:"+port, func(o *Options) { o.Resolver = dns })
	receive(t, p.accepted)
	receive(t, p.accepted)
	got := r.State().LastError
	var fault *zmtp.Fault
	if !errors.Is(got, syscall.ECONNREFUSED) || !errors.As(got, &fault) {
		t.Fatalf("got %v", got)
	}
	if text := got.Error(); strings.Contains(text, "\n") || !strings.Contains(text, "127.0.0.2:"+port) || !strings.Contains(text, "127.0.0.1:"+port) {
		t.Errorf("got %q", text)
	}
}

func TestSourceAddress(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", good)
	_, port, err := net.SplitHostPort(p.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("is used", func(t *testing.T) {
		r := run(t, p.addr.String(), func(o *Options) { o.SourceAddress = "127.0.0.9" })
		r.connection(t)
		if from := receive(t, p.accepted); from.Addr() != netip.MustParseAddr("127.0.0.9") {
			t.Errorf("came from %v", from)
		}
	})
	t.Run("leaves out the other family", func(t *testing.T) {
		dns := &addresses{answers: [][]netip.Addr{ips("::1"), ips("::1", "127.0.0.1")}}
		r := run(t, "salt.example:"+port, func(o *Options) { o.Resolver, o.SourceAddress = dns, "127.0.0.9" })
		r.connection(t)
		if err := r.State().LastError; err == nil || !strings.Contains(err.Error(), "other family") {
			t.Errorf("got %v", err)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", good)
	for _, on := range []bool{false, true} {
		r := run(t, p.addr.String(), func(o *Options) {
			o.KeepAlive = net.KeepAliveConfig{Enable: on, Idle: 123 * time.Second, Interval: -1, Count: -1}
		})
		raw, err := r.connection(t).nc.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var enabled, idle int
		var errs [2]error
		if err := raw.Control(func(fd uintptr) {
			enabled, errs[0] = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
			idle, errs[1] = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
		}); err != nil || errs != [2]error{} {
			t.Fatal(err, errs)
		}
		if (enabled == 1) != on || (idle == 123) != on {
			t.Errorf("enabled %v: SO_KEEPALIVE %d, TCP_KEEPIDLE %d", on, enabled, idle)
		}
	}
}

// Run ends at once, whatever it is waiting for.
func TestRunEndsWithItsContext(t *testing.T) {
	slow := Backoff{Default: time.Hour, Max: time.Hour}
	t.Run("resolving", func(t *testing.T) {
		dns := &stuck{asked: make(chan struct{}, 1)}
		r := run(t, "salt.example:4506", func(o *Options) { o.Resolver, o.DialTimeout = dns, time.Hour })
		receive(t, dns.asked)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("shaking hands", func(t *testing.T) {
		p := newPeer(t, "127.0.0.1:0", silent)
		r := run(t, p.addr.String(), func(o *Options) { o.HandshakeTimeout = time.Hour })
		receive(t, p.accepted)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if len(r.lines(logrus.WarnLevel)) != 0 {
			t.Error("stopping is no failure of the master")
		}
	})
	t.Run("backing off", func(t *testing.T) {
		p := newPeer(t, "127.0.0.1:0", good)
		log := logrus.New()
		log.SetOutput(io.Discard)
		warned := make(warnings, 1)
		log.AddHook(warned)
		r := run(t, p.addr.String(), func(o *Options) { o.Backoff, o.Log = slow, log })
		r.connection(t).end(nil)
		receive(t, warned)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := NewLink(Options{Address: "127.0.0.1:1"}).Run(ctx, nil); err != nil {
			t.Error(err)
		}
	})
}

// warnings receives each warning.
type warnings chan *logrus.Entry

func (warnings) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }

func (w warnings) Fire(entry *logrus.Entry) error {
	w <- entry
	return nil
}

// stuck is a resolver that never answers.
type stuck struct{ asked chan struct{} }

func (s *stuck) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	s.asked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// A panic of serve is for whoever called Run; the connection is closed, the state true, and Run may be called again.
func TestServePanics(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", good)
	l := NewLink(Options{Address: p.addr.String(), SocketType: zmtp.SUB})
	for range 2 {
		var nc net.Conn
		func() {
			defer func() { _ = recover() }()
			err := l.Run(t.Context(), func(_ context.Context, c net.Conn, _ zmtp.Version) error {
				nc = c
				panic("boom")
			})
			t.Errorf("Run returned %v", err)
		}()
		if _, err := nc.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the connection is not closed: %v", err)
		}
		if l.State().Connected {
			t.Error("the state says connected")
		}
	}
}

func TestRunTwice(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", good)
	r := run(t, p.addr.String(), nil)
	r.connection(t)
	if err := r.Run(t.Context(), nil); err == nil {
		t.Error("two at a time")
	}
}

func TestOptionsThatNoAttemptCanMend(t *testing.T) {
	for _, o := range []Options{
		{Address: ""},
		{Address: "salt"},
		{Address: "::1:4506"},
		{Address: ":4506"},
		{Address: "salt:"},
		{Address: "salt:0"},
		{Address: "salt:65536"},
		{Address: "salt:http"},
		{Address: "salt:4506", SourceAddress: "eth0"},
	} {
		t.Run(o.Address+" "+o.SourceAddress, func(t *testing.T) {
			if err := NewLink(o).Run(t.Context(), nil); err == nil {
				t.Error("no error")
			}
		})
	}
}

// TestBrokerAbove: the state says of a master that it is a broker while it is connected.
func TestBrokerAbove(t *testing.T) {
	for name, tt := range map[string]struct {
		ready []byte
		want  int
	}{
		"a broker":    {zmtp.AppendBrokerReady(nil, zmtp.XPUB), zmtp.BrokerLevel},
		"a master":    {ready(zmtp.XPUB), 0},
		"no level":    {readyWith(property("Socket-Type", 4, "XPUB"), property("X-Salt-Broker", 3, "yes")), 0},
		"a later one": {readyWith(property("x-salt-broker", 2, "23"), property("Socket-Type", 4, "XPUB")), 23},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, "127.0.0.1:0", says(greeting(3, 1), tt.ready))
			r := run(t, p.addr.String(), nil)
			s := r.connection(t)
			if got := r.State().Broker; got != tt.want {
				t.Errorf("level %d, want %d", got, tt.want)
			}
			s.end(nil)
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			if got := r.State().Broker; got != 0 {
				t.Errorf("level %d without a connection", got)
			}
		})
	}
}
