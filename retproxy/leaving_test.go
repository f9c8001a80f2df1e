package retproxy

import (
	"testing"
	"time"
)

// TestApplySpares: with Spare an address is left when the replies that are due from it have come, and not later; what comes
// meanwhile goes to the other one.
func TestApplySpares(t *testing.T) {
	before, after := newMaster(t), newMaster(t)
	r := start(t, before, loops(1))
	first, second, third := dial(t, r, as{}), dial(t, r, as{}), dial(t, r, as{})
	first.asks("first")
	one := before.next()
	second.asks("second")
	two := before.next()

	o := r.options
	o.Master.Address, o.Spare = after.addr, time.Hour
	r.Apply(o)
	r.onLoop(0, func(*lane) {})
	third.asks("third")
	r.waiting(1)
	two.answer([]byte("of the old one"))
	second.hears("of the old one")
	r.waiting(1) // the first is not answered yet
	one.answer([]byte("of it, too"))
	first.hears("of it, too")
	three := after.next()
	before.nothing()
	three.answer([]byte("of the new one"))
	third.hears("of the new one")
	if s := r.Stats(); s.LostWithLink != 0 || s.Links[0].Master != after.addr {
		t.Errorf("%+v", s)
	}

	// Back, and the reply does not come in time.
	first.asks("again")
	after.next()
	o.Master.Address, o.Spare = before.addr, 20*time.Millisecond
	r.Apply(o)
	r.onLoop(0, func(*lane) {})
	second.asks("and again")
	before.next().answer([]byte("the other"))
	second.hears("the other")
	if s := r.Stats(); s.LostWithLink != 1 {
		t.Errorf("%+v", s)
	}

	// And to an address and back to this one before that has been left.
	second.asks("yet again")
	late := before.next()
	o.Master.Address, o.Spare = after.addr, time.Hour
	r.Apply(o)
	r.onLoop(0, func(*lane) {})
	third.asks("while it stays")
	r.waiting(1)
	o.Master.Address = before.addr
	r.Apply(o)
	before.next().answer([]byte("stayed"))
	third.hears("stayed")
	late.answer([]byte("in the end"))
	second.hears("in the end")
	after.nothing()
}
