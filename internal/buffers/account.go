package buffers

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"salt-broker/internal/reactor"
)

const (
	// lookInterval is how often a loop looks at the budget while reading has stopped: the time within which a passed
	// bound ends a connection, and freed room is used again.
	lookInterval = 25 * time.Millisecond
	// overInterval is that while the bound is passed and more comes.
	overInterval = 5 * time.Millisecond
	// flowInterval is how often everybody is asked anew: the share grows when others leave.
	flowInterval = 250 * time.Millisecond
	// turnTime is how long a connection with a half-read message is read from before it is another's turn.
	turnTime = time.Second
	// unknown stands for the most that a connection of a loop holds until somebody has looked.
	unknown = -1
)

// Holder is the handler of a connection that can have something buffered, and can be closed for it.
type Holder interface {
	reactor.Handler
	// Buffered returns the bytes that are in memory because of this connection and would not be without it, and how many
	// of them are of a message that is half read.
	Buffered() (all, halfRead int64)
	// Flow has the handler ask [Account.Stops] whether to read from its connection.
	Flow()
}

// Account is what one loop has buffered. All methods but Close belong to the loop; those of a nil Account do nothing.
type Account struct {
	budget *Budget
	loop   *reactor.Loop
	held   *int64 // by the handlers of the loop, beside what the loop keeps for peers to read
	turns  func() bool
	full   error

	// Owned by the loop.
	reported int64         // part of budget.used
	pressed  bool          // reading has stopped for those with more than their share
	flowed   time.Duration // when all were last asked whether they are to be read from
	looking  *reactor.Timer
	reading  reactor.Ref   // whose turn it is to be read on; 0: nobody's
	place    int           // of that in the order of turns
	until    time.Duration // its turn ends
	rotated  time.Duration // when the end of a turn was seen last
	looked   time.Duration // when the bound was passed last

	// Shared.
	most atomic.Int64 // that one connection holds, while the bound is near; or unknown
}

// Open makes the account of a loop that does not run yet. *held is what the handlers of the loop hold: only the loop
// changes it. turns, called on the loop, says whether a half-read message would leave if it were read to its end; it would
// only add to what waits otherwise. full is the reason with which connections are closed that hold too much.
func (b *Budget) Open(l *reactor.Loop, held *int64, turns func() bool, full error) *Account {
	if b == nil {
		return nil
	}
	a := &Account{budget: b, loop: l, held: held, turns: turns, full: full}
	a.most.Store(unknown)
	l.EachTurn(a.turned)
	b.change(func(accounts []*Account) []*Account { return append(accounts, a) })
	return a
}

// Close takes the account out of the budget. The loop must have ended.
func (a *Account) Close() {
	if a == nil {
		return
	}
	b := a.budget
	b.turn.CompareAndSwap(a, nil)
	b.used.Add(-a.reported)
	a.reported = 0
	b.change(func(accounts []*Account) []*Account {
		return slices.DeleteFunc(accounts, func(other *Account) bool { return other == a })
	})
}

// Pressed says whether any connection of the loop may have to wait: only then [Account.Stops] is worth asking.
func (a *Account) Pressed() bool { return a != nil && a.pressed }

// Stops says whether a connection must not be read from now.
func (a *Account) Stops(c *reactor.Conn, h Holder) bool {
	if !a.Pressed() || c.Ref() == a.reading {
		return false
	}
	all, _ := h.Buffered()
	return all > a.budget.share()
}

// turned is called at the end of every turn of the loop.
func (a *Account) turned() {
	now := *a.held + a.loop.Kept()
	if a.reading != 0 && a.loop.Now() != a.rotated && !a.reads() {
		a.rotated = a.loop.Now()
		a.loop.Post(a.look)
	}
	change := now - a.reported
	if change < grain && change > -grain {
		return
	}
	a.reported = now
	used := a.budget.used.Add(change)
	if change < 0 || used < a.budget.near() {
		return
	}
	a.budget.press()
	if used > a.budget.limit.Load() && a.loop.Now() >= a.looked+overInterval {
		a.looked = a.loop.Now()
		a.loop.Post(a.look)
	}
}

// look does what the state of the budget asks for.
func (a *Account) look() {
	b := a.budget
	used := b.used.Load()
	if used < b.easy() {
		b.ease()
	}
	if !b.pressed.Load() {
		a.ease()
		return
	}
	if !a.pressed || a.loop.Now() >= a.flowed+flowInterval {
		a.pressed, a.flowed = true, a.loop.Now()
		a.eachHolder(func(_ *reactor.Conn, h Holder) { h.Flow() })
	}
	if limit := b.limit.Load(); used > limit/100*closePercent {
		a.cut(used - limit)
	}
	a.rotate()
	if a.looking == nil {
		a.looking = a.loop.After(lookInterval, a.look)
	} else {
		a.looking.Reset(lookInterval)
	}
}

// ease lets everybody be read from again.
func (a *Account) ease() {
	if a.looking != nil {
		a.looking.Stop()
	}
	a.most.Store(unknown)
	a.budget.turn.CompareAndSwap(a, nil)
	if !a.pressed {
		return
	}
	a.pressed, a.reading = false, 0
	a.eachHolder(func(_ *reactor.Conn, h Holder) { h.Flow() })
}

// cut closes connections that hold so many bytes too much together, those first that hold most; none that holds less than
// one of another loop does.
func (a *Account) cut(excess int64) {
	type holding struct {
		conn  *reactor.Conn
		bytes int64
	}
	var holdings []holding
	share := a.budget.share()
	a.eachHolder(func(c *reactor.Conn, h Holder) {
		if all, _ := h.Buffered(); all > share {
			holdings = append(holdings, holding{c, all})
		}
	})
	slices.SortFunc(holdings, func(x, y holding) int { return cmp.Compare(y.bytes, x.bytes) })
	least := a.mostElsewhere()
	for len(holdings) > 0 && excess > 0 && holdings[0].bytes >= least {
		holdings[0].conn.Close(a.full)
		excess -= holdings[0].bytes
		holdings = holdings[1:]
	}
	a.most.Store(0)
	if len(holdings) > 0 {
		a.most.Store(holdings[0].bytes)
	}
}

// mostElsewhere returns the most that one connection of the other loops holds. A loop that has not looked yet, and will
// soon, counts as having one that holds more than any.
func (a *Account) mostElsewhere() int64 {
	most := int64(0)
	for _, other := range *a.budget.accounts.Load() {
		if other == a {
			continue
		}
		theirs := other.most.Load()
		if theirs == unknown {
			return math.MaxInt64
		}
		most = max(most, theirs)
	}
	return most
}

// rotate lets one connection that is stopped within a message be read on, one of all loops: the same until its message is
// whole or its time is up, then the next.
func (a *Account) rotate() {
	turn := &a.budget.turn
	if turn.Load() == a {
		if a.reads() {
			return
		}
		c := a.loop.Lookup(a.reading)
		a.reading = 0
		if c != nil {
			c.Handler().(Holder).Flow()
		}
		turn.Store(nil)
		for _, other := range *a.budget.accounts.Load() {
			other.loop.Post(other.look) // whoever is first
		}
		return
	}
	if turn.Load() != nil || !a.turns() {
		return
	}
	next := a.next()
	if next == nil || !turn.CompareAndSwap(nil, a) {
		return
	}
	a.reading, a.until = next.Ref(), a.loop.Now()+turnTime
	next.Handler().(Holder).Flow()
}

// reads says whether the turn that a connection of this loop has goes on.
func (a *Account) reads() bool {
	c := a.loop.Lookup(a.reading)
	return c != nil && a.loop.Now() < a.until && a.turns() && a.waits(c)
}

// next returns the connection whose turn comes after that of the last; nil when none needs one.
func (a *Account) next() *reactor.Conn {
	var first, next *reactor.Conn
	var firstPlace, nextPlace, place int
	a.eachHolder(func(c *reactor.Conn, _ Holder) {
		place++
		switch {
		case next != nil || !a.waits(c):
		case place > a.place:
			next, nextPlace = c, place
		case first == nil:
			first, firstPlace = c, place
		}
	})
	if next == nil {
		next, nextPlace = first, firstPlace
	}
	a.place = nextPlace
	return next
}

// waits says whether a connection needs a turn to be read on.
func (a *Account) waits(c *reactor.Conn) bool {
	all, halfRead := c.Handler().(Holder).Buffered()
	return halfRead > 0 && all > a.budget.share()
}

func (a *Account) eachHolder(fn func(c *reactor.Conn, h Holder)) {
	a.loop.Each(func(c *reactor.Conn) {
		if h, ok := c.Handler().(Holder); ok {
			fn(c, h)
		}
	})
}
