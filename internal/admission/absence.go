package admission

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"time"

	"salt-broker/internal/reactor"
)

const (
	// absenceCheck is how often a door looks whether the master is there.
	absenceCheck = 250 * time.Millisecond
	// farewellTime is what sending all minions away takes, at least; with many of them it is farewellEach for each.
	farewellTime = 10 * time.Second
	farewellEach = time.Millisecond
)

var errMasterLost = &Refusal{EndMasterLost, "the master has been unreachable for on_master_loss_after"}

// Absence is what a door does when the master is away (on_master_loss: close): it shuts the port and sends the minions
// away, so that those with another broker in their list go there, and opens the port when the master is back.
type Absence struct {
	// After is how long the master must have been away.
	After time.Duration
	// Over is how long sending the minions away takes, if 1 ms for each is not more. 0: 10 s.
	Over time.Duration
	// Master says whether the master is there, and since when that is so. It is called from any goroutine.
	Master func() (there bool, since time.Time)
	// Minion says whether a handler is that of a minion: loops have links as well.
	Minion func(h reactor.Handler) bool
}

// Attend watches the master until ctx ends, and returns nil then. A panic below it is a [*reactor.PanicError], as one of a
// loop is: it ends the channel and not the process.
func (d *Door) Attend(ctx context.Context, a Absence) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &reactor.PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	if a.Over <= 0 {
		a.Over = farewellTime
	}
	loops := d.group.Loops()
	farewells := make([]*farewell, len(loops))
	for i, l := range loops {
		farewells[i] = &farewell{loop: l, minion: a.Minion}
	}
	var away atomic.Bool // minions are to leave
	beginAll := func() {
		for _, f := range farewells {
			f.loop.Post(func() {
				if away.Load() { // the master is not back meanwhile
					f.begin(a.Over, len(loops))
				}
			})
		}
	}
	check := time.NewTicker(absenceCheck)
	defer check.Stop()
	for open, complained := true, false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-check.C:
		}
		switch there, since := a.Master(); {
		case open && !there && time.Since(since) >= a.After:
			open = false
			d.shut()
			away.Store(true)
			// The first leaves when every loop has closed its listening socket, or another loop would let it in again.
			var shut atomic.Int32
			for _, f := range farewells {
				f.loop.Post(func() { // behind the closing
					if int(shut.Add(1)) == len(loops) {
						beginAll()
					}
				})
			}
			d.options.Log.Warnf("the master has been unreachable for %v: port %d is closed and minions are sent away (on_master_loss: close)",
				a.After, d.addr.Port())
		case !open && there:
			away.Store(false)
			for _, f := range farewells {
				f.loop.Post(f.stop)
			}
			if err := d.reopen(ctx); err != nil { // the old sockets may not be closed yet
				if !complained && time.Since(since) > 4*absenceCheck {
					complained = true
					d.options.Log.WithError(err).Errorf("the master is back, but port %d cannot be opened: trying until it can", d.addr.Port())
				}
				continue
			}
			open, complained = true, false
			d.options.Log.Warnf("the master is back: port %d is open again", d.addr.Port())
		}
	}
}

// shut closes the port until reopen.
func (d *Door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != nil {
		d.listener.Close()
		d.listener = nil
	}
}

// reopen opens the port that was shut; one that was closed for good meanwhile stays so.
func (d *Door) reopen(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	listener, err := d.group.Listen(ctx, d.listen)
	if err != nil {
		return err
	}
	d.listener = listener
	return nil
}

// farewell sends the minions of one loop away, one after the other: if all of them came to the other broker, or back,
// at the same moment, that would be the next outage. It belongs to its loop.
type farewell struct {
	loop   *reactor.Loop
	minion func(h reactor.Handler) bool
	refs   []reactor.Ref // who goes; next is the first that has not
	next   int
	began  time.Duration
	pace   time.Duration // between two of them
	timer  *reactor.Timer
}

// begin has all that are here now leave, in a time that is the same for all loops but for those with very many.
func (f *farewell) begin(over time.Duration, loops int) {
	f.stop()
	f.loop.Each(func(c *reactor.Conn) {
		if f.minion(c.Handler()) {
			f.refs = append(f.refs, c.Ref())
		}
	})
	if len(f.refs) == 0 {
		return
	}
	f.pace = max(over/time.Duration(len(f.refs)), farewellEach*time.Duration(loops))
	// Loops take turns.
	f.began = f.loop.Now() + f.pace*time.Duration(f.loop.Index())/time.Duration(loops)
	f.timer = f.loop.After(f.began-f.loop.Now(), f.turn)
}

// turn closes those whose time has come.
func (f *farewell) turn() {
	for now := f.loop.Now(); f.next < len(f.refs); f.next++ {
		if due := f.began + f.pace*time.Duration(f.next); due > now {
			f.timer.Reset(due - now)
			return
		}
		if c := f.loop.Lookup(f.refs[f.next]); c != nil { // it may have left
			c.Close(errMasterLost)
		}
	}
	f.refs = nil
}

// stop lets the others stay.
func (f *farewell) stop() {
	if f.timer != nil {
		f.timer.Stop()
	}
	f.refs, f.next, f.timer = nil, 0, nil
}
