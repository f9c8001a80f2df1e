// Package buffers bounds what all connections of the broker together have in memory: requests that wait for the master,
// messages that are half read, and what peers have not read yet (max_buffered_bytes).
//
// Every connection has limits of its own, but there are thousands. So near the bound reading stops, fairly: whoever holds
// more than its share is not read from, and TCP has the peer wait; who holds less is served as ever. A message that
// is half read would then wait for room that nobody makes, so such connections take turns in being read on, once what
// waits for the master has gone. Only when the bound is passed all the same, the connection that holds most is closed, and
// then the next, until the rest fits.
package buffers

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"
)

const (
	// Reading stops at nearPercent of the limit and goes on at easyPercent.
	nearPercent, easyPercent = 80, 70
	// From closePercent on loops tell each other what their greediest connections hold.
	closePercent = 90
	// grain is how far the figure of a loop may be off before all loops hear of it. Ordinary traffic stays below: it is
	// read, written and forgotten within a turn.
	grain = 64 << 10
	// tellInterval is how often the log hears that reading has stopped, at most.
	tellInterval = time.Minute
)

// Budget is the bound, shared by all loops of a process. A nil Budget bounds nothing. Its methods are safe from any
// goroutine.
type Budget struct {
	log  logrus.FieldLogger
	tell rate.Sometimes

	limit   atomic.Int64
	used    atomic.Int64
	pressed atomic.Bool // reading has stopped for those with more than their share
	told    atomic.Bool // the log knows

	turn atomic.Pointer[Account] // whose loop reads a half-read message on; nil: nobody's

	mu       sync.Mutex                 // for replacing accounts
	accounts atomic.Pointer[[]*Account] // replaced, never changed
}

// New makes a budget of limit bytes. log hears when it gets tight.
func New(limit int64, log logrus.FieldLogger) *Budget {
	b := &Budget{log: log, tell: rate.Sometimes{First: 1, Interval: tellInterval}}
	b.limit.Store(limit)
	b.accounts.Store(&[]*Account{})
	return b
}

// Limit returns the bound in bytes, 0 for none.
func (b *Budget) Limit() int64 {
	if b == nil {
		return 0
	}
	return b.limit.Load()
}

// SetLimit changes the bound. One that is passed by what is buffered already counts from the next that is.
func (b *Budget) SetLimit(limit int64) { b.limit.Store(limit) }

// Used returns how many bytes are buffered now, to within 64 KiB a loop.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Pressed says whether reading has stopped for those who hold more than their share.
func (b *Budget) Pressed() bool { return b != nil && b.pressed.Load() }

func (b *Budget) near() int64 { return b.limit.Load() / 100 * nearPercent }
func (b *Budget) easy() int64 { return b.limit.Load() / 100 * easyPercent }

// press begins the time of stopped reading.
func (b *Budget) press() {
	if b.pressed.Swap(true) {
		return
	}
	b.tell.Do(func() {
		b.told.Store(true)
		b.log.Warnf("buffers are nearly full (%d of %d MiB, max_buffered_bytes): minions that hold more than their share are "+
			"not read from until there is room. Usual causes: the master is away or slow, or large files go to slow minions",
			b.used.Load()>>20, b.limit.Load()>>20)
	})
	for _, a := range *b.accounts.Load() {
		a.loop.Post(a.look)
	}
}

// ease ends it.
func (b *Budget) ease() {
	if b.pressed.Swap(false) && b.told.Swap(false) {
		b.log.Warn("buffers have room again: all minions are read from")
	}
}

// change replaces the accounts.
func (b *Budget) change(to func(accounts []*Account) []*Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := to(slices.Clone(*b.accounts.Load()))
	b.accounts.Store(&changed)
}

// share is what each connection may hold while reading has stopped for those who hold more: all of them together find room
// in what is left then, also when a buffer that grows is doubled.
func (b *Budget) share() int64 {
	connections := 0
	for _, a := range *b.accounts.Load() {
		connections += a.loop.Connections()
	}
	return b.limit.Load() / int64(8*max(connections, 1))
}
