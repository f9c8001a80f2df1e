package retproxy

import "sync/atomic"

// credit is the right to have requests at the master: max_in_flight in all. The near ones are shared out evenly over the
// lanes. A lane that needs more has its far ones, for what is on the way, and then borrows from one that has nothing
// waiting; what was borrowed goes back to its owner. It is the only thing that lanes share. All methods are safe from any
// loop, for the lane of that loop.
type credit struct {
	accounts []account
}

// account is one lane's part.
type account struct {
	free   atomic.Int32
	hungry atomic.Bool // has requests waiting for credit
	wake   func()      // has the lane look again; set before the loops run
	far    far
	part   int      // of the near ones that are its own; owned by the lane's loop
	_      [64]byte // a cache line each: lanes touch their own all the time
}

// farOwner is who owns a far place: nobody else than the lane that took it.
const farOwner = -1

func newCredit(total, lanes int) *credit {
	c := &credit{accounts: make([]account, lanes)}
	for i := range lanes {
		c.resize(i, total)
	}
	return c
}

// resize gives lane its part of another total. Where that is less than what is taken, it is had back by and by.
func (c *credit) resize(lane, total int) {
	a, lanes := &c.accounts[lane], len(c.accounts)
	near := near(total)
	part := near / lanes
	if lane < near%lanes {
		part++
	}
	a.free.Add(int32(part - a.part))
	a.part = part
	a.far.most = (total - near) / lanes
	a.far.places = min(a.far.places, a.far.most)
}

// take gives lane the right to one request, and says whose it is.
func (c *credit) take(lane int) (owner int, ok bool) {
	if c.accounts[lane].take() {
		return lane, true
	}
	if c.accounts[lane].far.take() {
		return farOwner, true
	}
	for i := range c.accounts {
		if a := &c.accounts[i]; i != lane && !a.hungry.Load() && a.take() {
			return i, true
		}
	}
	return 0, false
}

func (a *account) take() bool {
	for {
		n := a.free.Load()
		if n <= 0 {
			return false
		}
		if a.free.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// give returns a right to its owner. A lane that waits for one is woken: the owner, or else one that may borrow. The
// caller looks at its own queue afterwards in any case.
func (c *credit) give(lane, owner int) {
	if owner == farOwner {
		c.accounts[lane].far.taken--
		return
	}
	c.accounts[owner].free.Add(1)
	switch {
	case owner != lane && c.accounts[owner].hungry.Load():
		c.accounts[owner].wake()
	case c.accounts[lane].hungry.Load(): // takes it itself
	default:
		c.wakeNext(lane)
	}
}

// wait notes that lane has requests waiting and got no credit. The caller tries once more afterwards: credit that was
// given meanwhile woke nobody.
func (c *credit) wait(lane int) { c.accounts[lane].hungry.Store(true) }

// content notes that lane waits no more. What it has left can be borrowed again, and nobody has been told of credit that
// came while it waited: so the next one looks.
func (c *credit) content(lane int) {
	if c.accounts[lane].hungry.Load() {
		c.accounts[lane].hungry.Store(false)
		c.wakeNext(lane)
	}
}

// wakeNext wakes the next lane after this one that waits. If it finds more than it needs it wakes the next in turn.
func (c *credit) wakeNext(lane int) {
	for i := 1; i < len(c.accounts); i++ {
		if a := &c.accounts[(lane+i)%len(c.accounts)]; a.hungry.Load() {
			a.wake()
			return
		}
	}
}
