package pubproxy

import (
	"net/netip"
	"testing"
	"time"
)

// TestApply: a minion stays and hears the publishes of another master; what it may do is held to the new limits.
func TestApply(t *testing.T) {
	before, after := newPublisher(t), newPublisher(t)
	p := start(t, before.address(), func(o *Options) { o.Loops, o.MaxSubscriptions = 2, 100 })
	before.expect("link")
	one := connect(t, p, 1, "one")
	before.expect("+one")
	one.settle()

	o := p.options
	o.Master.Address = after.address()
	o.MaxSubscriptions, o.MaxMessage = 1, 200
	o.Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	o.HeartbeatInterval, o.HeartbeatTimeout = time.Hour, time.Hour
	p.Apply(o)
	after.expect("link", "+one")
	after.send(message("one", 1, 10))
	one.expect(message("one", 1, 10))
	if s := p.Stats(); s.Minions != 1 || !s.Master.Connected || s.Master.Master != after.address() {
		t.Errorf("%+v", s)
	}

	after.send(message("one", 2, 1000))
	after.expect("link", "+one")
	one.subscribe(true, "two")
	one.closed()
	eventually(t, p, "too many subscriptions", func(s Stats) bool { return s.Ends["too_many_subscriptions"] == 1 })
}

// TestApplyHoldsMinionsThatLag: a lower high-water mark is for those who lag already, too.
func TestApplyHoldsMinionsThatLag(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), nil)
	master.expect("link")
	stall(t, p, "")
	const size, count = 1 << 20, 24
	for i := range count {
		master.send(message("", i, size))
	}
	eventually(t, p, "behind", func(s Stats) bool { return s.Behind == 1 && s.Publishes == count })
	if s := p.Stats(); s.Lost != 0 {
		t.Fatalf("%+v", s)
	}
	o := p.options
	o.HWM, o.MaxLost = 1, 2
	p.Apply(o)
	eventually(t, p, "cut off", func(s Stats) bool { return s.Ends["too_slow"] == 1 && s.Lost > 2 })
}
