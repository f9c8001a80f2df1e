package interop_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"golang.org/x/time/rate"

	"salt-broker/internal/zmtp"
)

// tap is a piece of network between a peer and where it connects to: it looks at what passes, changes nothing, can be
// slow, and can let nothing pass for a time.
type tap struct {
	ln       net.Listener
	target   string
	to, from direction // as seen by who connects
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	shut  bool
}

// direction counts what passes one way, on all connections of a tap.
type direction struct {
	limit *rate.Limiter // bytes; nil: as fast as it goes

	mu     sync.Mutex
	counts tapCounts
	held   chan struct{} // closed when what is held may pass; nil: nothing is held
}

type tapCounts struct {
	frames   int // of messages
	commands map[string]int
	inside   int // commands between the frames of a message
}

func (d *direction) read() tapCounts {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.counts
	c.commands = make(map[string]int)
	for name, n := range d.counts.commands {
		c.commands[name] = n
	}
	return c
}

// hold lets nothing pass until release is called.
func (d *direction) hold() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = make(chan struct{})
	return sync.OnceFunc(func() { close(d.held) })
}

// wait returns when n bytes may pass, and says whether they ever may.
func (d *direction) wait(ctx context.Context, n int) bool {
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return false
		}
	}
	return d.limit == nil || d.limit.WaitN(ctx, n) == nil
}

// newTap listens for peers that mean target. Bytes a second bound each direction; 0 does not.
func newTap(t testing.TB, target string, toPerSecond, fromPerSecond int) *tap {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{ln: ln, target: target}
	for d, perSecond := range map[*direction]int{&p.to: toPerSecond, &p.from: fromPerSecond} {
		d.counts.commands = make(map[string]int)
		if perSecond > 0 {
			d.limit = rate.NewLimiter(rate.Limit(perSecond), tapChunk)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.join(ctx, nc, t.Errorf) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		p.mu.Lock()
		p.shut = true
		for _, nc := range p.conns {
			_ = nc.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// tapChunk is small, like the buffers: what waits is to wait in the sender.
const tapChunk = 16 << 10

func (p *tap) address() string { return p.ln.Addr().String() }

func (p *tap) join(ctx context.Context, near net.Conn, fail func(format string, args ...any)) {
	defer near.Close()
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer far.Close()
	p.mu.Lock()
	p.conns = append(p.conns, near, far)
	if p.shut {
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	var pair sync.WaitGroup
	pass := func(from, to net.Conn, d *direction) {
		defer from.Close()
		defer to.Close()
		if err := d.pass(ctx, from, to); err != nil {
			fail("%s to %s: %v", from.RemoteAddr(), to.RemoteAddr(), err)
		}
	}
	pair.Go(func() { pass(near, far, &p.to) })
	pair.Go(func() { pass(far, near, &p.from) })
	pair.Wait()
}

// pass copies until either end is closed. The error is about what passed.
func (d *direction) pass(ctx context.Context, from, to net.Conn) error {
	_ = from.(*net.TCPConn).SetReadBuffer(tapChunk) // only TCP here
	var seen []byte                                 // what has passed and is no whole frame
	greeted, inside := false, false
	buf := make([]byte, tapChunk)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return nil //nolint:nilerr // its end
		}
		if !d.wait(ctx, n) {
			return nil
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return nil //nolint:nilerr // its end
		}
		seen = append(seen, buf[:n]...)
		if !greeted {
			if len(seen) < zmtp.GreetingSize {
				continue
			}
			seen, greeted = seen[zmtp.GreetingSize:], true
		}
		rest, err := d.walk(seen, &inside)
		if err != nil {
			return err
		}
		seen = append(seen[:0], rest...)
	}
}

// walk counts the whole frames of p and returns the rest.
func (d *direction) walk(p []byte, inside *bool) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		h, ok, err := zmtp.ParseHeader(p)
		if err != nil {
			return nil, errors.Join(errors.New("not ZMTP"), err)
		}
		if !ok || h.Size > uint64(len(p)-h.Len) {
			return p, nil
		}
		body := p[h.Len : h.Len+int(h.Size)]
		p = p[h.Len+len(body):]
		if !h.Command() {
			d.counts.frames++
			*inside = h.More()
			continue
		}
		name, _, err := zmtp.ParseCommand(body)
		if err != nil {
			return nil, err
		}
		d.counts.commands[string(name)]++
		if *inside {
			d.counts.inside++
		}
	}
}
