package master

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"salt-broker/internal/zmtp"
)

func TestMain(m *testing.M) {
	// The PUB and XPUB of the library, peers in some tests, each leave a goroutine behind when they are closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/go-zeromq/zmq4.(*pubMWriter).run"))
}

// patience is how long a test waits for what must happen before it says that it did not.
const patience = 10 * time.Second

// quick is a back-off that does not make tests wait.
var quick = Backoff{Default: time.Millisecond, Max: 2 * time.Millisecond}

// peer is a listening TCP socket with a script for each connection that it accepts.
type peer struct {
	addr     netip.AddrPort
	accepted chan netip.AddrPort // who connected; what nobody takes is dropped
}

// newPeer listens on address, which may have port 0. The script has the connection to itself; it is closed when the
// script returns or the test ends.
func newPeer(t *testing.T, address string, script func(nc net.Conn)) *peer {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{addr: addrPort(ln.Addr()), accepted: make(chan netip.AddrPort, 64)}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			select {
			case p.accepted <- addrPort(nc.RemoteAddr()):
			default:
			}
			all.Go(func() {
				stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
				defer stop()
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
	return p
}

// silent reads what comes until the connection ends.
func silent(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) }

// says sends the bytes of each part in a write of its own and is then silent.
func says(parts ...[]byte) func(net.Conn) {
	return func(nc net.Conn) {
		for _, part := range parts {
			if _, err := nc.Write(part); err != nil {
				return
			}
		}
		silent(nc)
	}
}

// hangsUp sends the bytes, takes our greeting, so that closing does not reset the connection, and closes.
func hangsUp(part []byte) func(net.Conn) {
	return func(nc net.Conn) {
		_, _ = nc.Write(part)
		_, _ = io.ReadFull(nc, make([]byte, zmtp.GreetingSize))
	}
}

// greeting is what a libzmq of the given version opens with, READY not included.
func greeting(major, minor byte) []byte {
	g := make([]byte, 64)
	g[0], g[9], g[10], g[11] = 0xff, 0x7f, major, minor
	copy(g[12:], "NULL")
	return g
}

func concat(parts ...[]byte) []byte {
	var all []byte
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

// ready is a READY frame of a good peer.
func ready(typ zmtp.SocketType) []byte { return zmtp.AppendReady(nil, typ) }

// served is a connection that a link has handed over.
type served struct {
	nc      net.Conn
	version zmtp.Version
	end     func(error) // makes serve return; once
}

// runner is a link that runs, and what it hands over.
type runner struct {
	*Link
	served chan served
	hook   *logtest.Hook
	stop   func() error // ends Run and returns what it returned
}

// run starts a link to address with options that suit tests. Each connection waits in runner.served and lives until its
// end is called or the test ends.
func run(t *testing.T, address string, change func(*Options)) *runner {
	t.Helper()
	log, hook := logtest.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	o := Options{
		Address: address, SocketType: zmtp.SUB,
		DialTimeout: patience, HandshakeTimeout: patience, Backoff: quick, Log: log,
	}
	if change != nil {
		change(&o)
	}
	r := &runner{Link: NewLink(o), served: make(chan served), hook: hook}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- r.Run(ctx, func(ctx context.Context, nc net.Conn, v zmtp.Version) error {
			over := make(chan error, 1)
			select {
			case r.served <- served{nc, v, func(err error) { over <- err }}:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case err := <-over:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("Run did not end with its context")
		}
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// connection waits for the link to hand over a connection.
func (r *runner) connection(t *testing.T) served {
	t.Helper()
	return receive(t, r.served)
}

// receive waits for a value.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// lines are the log entries of a level.
func (r *runner) lines(level logrus.Level) []*logrus.Entry {
	var found []*logrus.Entry
	for _, entry := range r.hook.AllEntries() {
		if entry.Level == level {
			found = append(found, entry)
		}
	}
	return found
}

// addresses is a resolver that gives the next answer to each question, and the last one for ever.
type addresses struct {
	mu      sync.Mutex
	answers [][]netip.Addr
	asked   []string
}

func (a *addresses) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, host)
	answer := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	if len(answer) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return answer, nil
}

func ips(texts ...string) []netip.Addr {
	found := make([]netip.Addr, len(texts))
	for i, text := range texts {
		found[i] = netip.MustParseAddr(text)
	}
	return found
}
