package retproxy

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// TestApplyMaxInFlight: more places are used at once by those who wait; fewer hold as soon as replies have come.
func TestApplyMaxInFlight(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, loops(2), func(o *Options) { o.MaxInFlight = 2 })
	minions := map[string]*peer{}
	for i := range 8 {
		body := fmt.Sprint("request ", i)
		minions[body] = dial(t, r, as{})
		minions[body].asks(body)
	}
	answer := func(a *ask) {
		a.answer(a.body())
		minions[string(a.body())].hears(string(a.body()))
	}
	first, second := m.next(), m.next()
	r.waiting(6)

	o := r.options
	o.MaxInFlight = 5
	r.Apply(o)
	more := []*ask{m.next(), m.next(), m.next()}
	r.waiting(3)

	o.MaxInFlight = 1 // a place for each loop at least
	r.Apply(o)
	r.onLoop(0, func(*lane) {})
	r.onLoop(1, func(*lane) {})
	for _, a := range append(more, first) {
		answer(a)
	}
	answer(second)
	for range 3 {
		answer(m.next())
		if s := r.Stats(); s.InFlight > 2 {
			t.Errorf("%d are at the master", s.InFlight)
		}
	}
	r.balanced()
	until(t, "all credit", func() bool {
		return r.members[0].credit.accounts[0].free.Load() == 1 && r.members[0].credit.accounts[1].free.Load() == 1
	})
}

// TestApplyDeadline: it holds for what is at the master already.
func TestApplyDeadline(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, func(o *Options) { o.RequestDeadline = time.Hour })
	p := dial(t, r, as{})
	p.asks("anything")
	a := m.next()
	o := r.options
	o.RequestDeadline = time.Millisecond
	r.Apply(o)
	until(t, "the deadline", func() bool { return r.Stats().Overdue == 1 })
	a.answer([]byte("late"))
	p.hears("late")
}

// TestApply: minions stay, their requests go to the other master, and the new limits hold.
func TestApply(t *testing.T) {
	before, after := newMaster(t), newMaster(t)
	r := start(t, before, loops(2))
	p := dial(t, r, as{})
	p.asks("one")
	before.next().answer([]byte("of the first"))
	p.hears("of the first")

	o := r.options
	o.Master.Address, o.MaxMessage, o.MaxConnections = after.addr, 100, 1
	o.HeartbeatInterval, o.HeartbeatTimeout = time.Hour, time.Hour
	r.Apply(o)
	until(t, "all links to go to the other master", func() bool {
		for _, l := range r.Stats().Links {
			if !l.Connected || l.Master != after.addr {
				return false
			}
		}
		return true
	})
	p.asks("two")
	after.next().answer([]byte("of the second"))
	p.hears("of the second")
	if _, _, total := before.counts(); total != 1 {
		t.Errorf("the first master has got %d requests", total)
	}

	nc, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("one who may not come in is greeted")
	}
	p.asks(string(make([]byte, 200)))
	p.gone()
}
