package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

var errEnded = errors.New("ended by itself")

// Proxy is what a channel runs. It runs once.
type Proxy[S any] interface {
	// Run works until ctx ends, and returns nil then, when all that it has is closed: the port included.
	Run(ctx context.Context) error
	// Stats is a snapshot of what the proxy has done. It is safe from any goroutine, also when Run has returned.
	Stats() S
	// Turned returns nil when every event loop of the proxy has turned since the call, an error when ctx ends before. It
	// is safe from any goroutine, also when Run has returned.
	Turned(ctx context.Context) error
}

// Counted are the numbers of a proxy, which survive it.
type Counted[S any] interface {
	// After adds what former proxies have counted to the numbers of the present one. What is so now, a number of
	// connections or the state of a link, is the present one's.
	After(former S) S
	// Ended are the numbers of a proxy that has ended: it has nothing now.
	Ended() S
}

// Channel is a proxy that can be started again, as another one.
type Channel[S Counted[S], P Proxy[S]] struct {
	name  string
	again func() (P, error)

	mu      sync.Mutex
	present P
	there   bool    // present is one
	change  func(P) // what was applied last; nil: nothing
	former  S       // of those before it, all together

	restarts uint64
}

// NewChannel makes a channel of a proxy that has its port already, so that a port that is taken is known before anything
// is served. again makes a proxy like it, with the same port, when the one before has ended. name is for the log.
func NewChannel[S Counted[S], P Proxy[S]](name string, first P, again func() (P, error)) *Channel[S, P] {
	return &Channel[S, P]{name: name, again: again, present: first, there: true}
}

// Name implements [Service].
func (c *Channel[S, P]) Name() string { return c.name + " channel" }

// Loss implements [Service].
func (c *Channel[S, P]) Loss() string { return "its minions were cut off and will connect again" }

// Restarts is how often the channel has got another proxy. It is safe from any goroutine.
func (c *Channel[S, P]) Restarts() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.restarts
}

// Stats are the counters of all proxies that the channel has had, and what is so now of the present one; between two of
// them there is nobody. It is safe from any goroutine.
func (c *Channel[S, P]) Stats() S {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.there {
		return c.former
	}
	return c.present.Stats().After(c.former)
}

// Turned returns nil when every event loop of the channel has turned since the call, and an error that says which has not
// when ctx ends before. Between two proxies there is none that could be stuck. It is safe from any goroutine.
func (c *Channel[S, P]) Turned(ctx context.Context) error {
	c.mu.Lock()
	present, there := c.present, c.there
	c.mu.Unlock()
	if !there {
		return nil
	}
	if err := present.Turned(ctx); err != nil {
		return fmt.Errorf("%s channel: %w", c.name, err)
	}
	return nil
}

// Apply changes the present proxy, and each one after it before it runs. change must not wait and must say all that is to
// hold: only the last one is kept. It is safe from any goroutine.
func (c *Channel[S, P]) Apply(change func(P)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change = change
	if c.there {
		change(c.present)
	}
}

// Live is one life of the channel: it runs the proxy that it has, or a new one. It is called again when it has returned.
func (c *Channel[S, P]) Live(ctx context.Context) error {
	proxy, err := c.proxy()
	if err != nil {
		return err
	}
	defer c.retire()
	return proxy.Run(ctx)
}

func (c *Channel[S, P]) proxy() (P, error) {
	if c.there { // only the lives change it, and they follow each other
		return c.present, nil
	}
	p, err := c.again()
	if err != nil {
		return p, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.change != nil { // again may have begun before
		c.change(p)
	}
	c.present, c.there = p, true
	c.restarts++
	return p, nil
}

// retire keeps what a proxy has counted and lets it go.
func (c *Channel[S, P]) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.former = c.present.Stats().After(c.former).Ended()
	var none P
	c.present, c.there = none, false
}
