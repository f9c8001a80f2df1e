//go:build linux

package reactor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a group. The zero value is usable.
type Options struct {
	// Loops is the number of event loops; 0 means 1.
	Loops int
	// ReadBytes is the most that one read takes from a connection in a turn, and the size of the buffer that all
	// connections of a loop share for it; 0 means 64 KiB. To a place of the handler's own, see [Placer], it takes four times
	// that.
	ReadBytes int
	// MaxKept is how many bytes may wait for one peer to read before Write refuses more; 0 means 16 MiB.
	MaxKept int
}

// Group is a number of loops that run and end together.
type Group struct {
	options Options
	start   time.Time
	loops   []*Loop
	started atomic.Bool // by Run, or by Close in its stead
}

// PanicError is what Run returns when a handler panicked on a loop. Others who catch a panic may use it too.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// New makes the loops of a group. They turn when Run is called; a group that is never run is freed by Close.
func New(o Options) (*Group, error) {
	if o.Loops <= 0 {
		o.Loops = 1
	}
	if o.ReadBytes <= 0 {
		o.ReadBytes = 64 << 10
	}
	if o.MaxKept <= 0 {
		o.MaxKept = 16 << 20
	}
	g := &Group{options: o, start: time.Now()}
	for i := range o.Loops {
		l, err := newLoop(g, i)
		if err != nil {
			g.Close()
			return nil, err
		}
		g.loops = append(g.loops, l)
	}
	return g, nil
}

// Loops returns the loops. The slice must not be changed.
func (g *Group) Loops() []*Loop { return g.loops }

// Run turns the loops until ctx ends; then it closes all connections and listening sockets, and returns nil when every
// handler has been told. When a handler panics, all loops end and the error is a [*PanicError]; the connections of the
// loop that it happened on are closed without a word, and what was posted there is forgotten. A group runs once.
func (g *Group) Run(ctx context.Context) error {
	if g.started.Swap(true) {
		return errors.New("a group of loops runs once")
	}
	errs := make(chan error, len(g.loops))
	for _, l := range g.loops {
		go func() { errs <- l.run() }()
	}
	var stop sync.Once
	stopAll := func() {
		for _, l := range g.loops {
			l.Post(func() { l.stopping = true })
		}
	}
	release := context.AfterFunc(ctx, func() { stop.Do(stopAll) })
	defer release()
	var all error
	for range g.loops {
		err := <-errs
		if err != nil {
			stop.Do(stopAll)
		}
		all = errors.Join(all, err)
	}
	return all
}

// Close frees a group that was never run, as if it had run and ended. It does nothing to one that has.
func (g *Group) Close() {
	if g.started.Swap(true) {
		return
	}
	for _, l := range g.loops {
		l.end()
		l.release()
	}
}
