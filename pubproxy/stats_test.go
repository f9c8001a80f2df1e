package pubproxy

import "testing"

// What passes is counted once on each side, and so is the time that it took.
func TestNumbers(t *testing.T) {
	const published, size = 50, 400
	master := newPublisher(t)
	p := start(t, master.address(), nil)
	master.expect("link")
	if s := p.Stats(); !s.Open || s.Accepted != 0 || len(s.Loops) != p.options.Loops {
		t.Errorf("at first: %+v", s)
	}
	all, one := connect(t, p, 1, ""), connect(t, p, 1, "m1")
	all.settle()
	one.settle()
	eventually(t, p, "subscribed", func(s Stats) bool { return s.Subscriptions == 2 })
	loops := map[int]bool{}
	for i, f := range p.fanouts {
		done := make(chan bool)
		f.loop.Post(func() { done <- len(f.current)+f.tree.count > 0 })
		if <-done {
			loops[i] = true
		}
	}
	var mine, sent []byte
	for i := range published {
		msg := message("m1", i, size)
		mine = append(mine, msg...)
		sent = append(append(sent, msg...), message("m2", i, size)...)
	}
	master.send(sent)
	one.expect(mine)
	all.expect(sent)
	eventually(t, p, "all is counted", func(s Stats) bool {
		return s.FanOut.Count() == uint64(len(loops)*2*published) && s.Deliveries == 3*published
	})
	s := p.Stats()
	if s.Publishes != 2*published || s.PublishBytes != uint64(len(sent)) || s.DeliveryBytes != uint64(len(sent)+len(mine)) {
		t.Errorf("%+v", s)
	}
	if s.FanOut.Nanos == 0 || s.Accepted != 2 {
		t.Errorf("%+v", s)
	}
	busy, turns := int64(0), uint64(0)
	for _, l := range s.Loops {
		busy += int64(l.Busy)
		turns += l.Turns
	}
	if busy == 0 || turns == 0 {
		t.Errorf("%+v", s.Loops)
	}
}
