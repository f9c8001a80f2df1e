package pubproxy

import (
	"bytes"
	"slices"
	"testing"

	"salt-broker/internal/zmtp"
)

// stall makes a minion that does not read: what the two kernels take in between is some 4 MB. (Its receive buffer is left
// alone: a small one makes TCP wait for its persist timer long after the minion reads again.)
func stall(t *testing.T, p *Proxy, topics ...string) *subscriber {
	t.Helper()
	s := connect(t, p, 1, topics...)
	s.settle()
	return s
}

// readMessages reads until the message with this number has come, and returns the numbers of all.
func (s *subscriber) readMessages(topic string, size, last int) []int {
	s.t.Helper()
	one := len(message(topic, 0, size))
	var all []int
	for {
		got := numbers(s.t, topic, size, s.read(one))
		all = append(all, got...)
		if got[0] == last {
			return all
		}
	}
}

// checkLoss checks that all got a beginning, lost some in the middle, and got the last hwm at least.
func checkLoss(t *testing.T, got []int, published, hwm int, lost uint64) {
	t.Helper()
	if len(got)+int(lost) != published {
		t.Errorf("%d got + %d lost are not the %d published", len(got), lost, published)
	}
	if lost == 0 {
		t.Error("nothing was lost: the test does not test")
	}
	if !slices.IsSorted(got) {
		t.Error("out of order")
	}
	if tail := got[max(0, len(got)-hwm):]; tail[0] != published-len(tail) {
		t.Errorf("the last %d are not the newest: they begin with %d of %d", len(tail), tail[0], published)
	}
	gaps := 0
	for i := 1; i < len(got); i++ {
		if got[i] != got[i-1]+1 {
			gaps++
		}
	}
	if gaps == 0 || gaps > int(lost) {
		t.Errorf("%d gaps for %d lost", gaps, lost)
	}
}

func TestHighWaterMark(t *testing.T) {
	const hwm, size, published = 100, 40000, 600 // 24 MB: more than socket buffers take
	for _, c := range []struct {
		name   string
		topics []string
		topic  string
		change func(o *Options)
	}{
		{"everything", []string{""}, "", nil},
		{"topic", []string{"m1", "broadcast"}, "m1", nil},
		{"log shorter than the mark", []string{""}, "", func(o *Options) { o.HWM, o.LogBytes = 1<<20, hwm*size+segmentBytes }},
		{"log shorter than the mark, topic", []string{"m1"}, "m1", func(o *Options) { o.HWM, o.LogBytes = 1<<20, hwm*size+segmentBytes }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			master := newPublisher(t)
			p := start(t, master.address(), func(o *Options) {
				o.HWM = hwm
				if c.change != nil {
					c.change(o)
				}
			})
			master.expect("link")
			slow := stall(t, p, c.topics...)
			healthy := connect(t, p, 1, c.topics...)
			healthy.settle()
			eventually(t, p, "subscribed", func(s Stats) bool { return s.Subscriptions == len(c.topics) })
			for i := range published {
				want := message(c.topic, i, size)
				msg := want
				if c.topic != "" { // of which minions with topics hear nothing, and which do not count for them
					msg = append(slices.Clip(want), message("other", i, 50)...)
				}
				master.send(msg)
				healthy.expect(want)
			}
			eventually(t, p, "held to the mark", func(s Stats) bool {
				return s.Lost > 0 && s.Behind == 1 && s.Lag >= hwm/2 && s.LagBytes >= hwm/2*size
			})
			got := slow.readMessages(c.topic, size, published-1)
			eventually(t, p, "caught up", func(s Stats) bool { return s.Behind == 0 })
			checkLoss(t, got, published, hwm-1, p.Stats().Lost)
			more := message(c.topic, published, size)
			master.send(more)
			slow.expect(more)
			healthy.expect(more)
			eventually(t, p, "deliveries and losses add up", func(s Stats) bool {
				return s.Deliveries == uint64(2*(published+1))-s.Lost
			})
			s := p.Stats()
			if want := s.Deliveries * uint64(len(more)); s.DeliveryBytes != want {
				t.Errorf("%d bytes delivered, want %d", s.DeliveryBytes, want)
			}
			if toLog := s.LostToLog > 0; toLog != (c.change != nil) || toLog && s.LostToLog != s.Lost {
				t.Errorf("%d of %d lost to the end of the log", s.LostToLog, s.Lost)
			}
			if s.Lag != 0 || s.LagBytes != 0 {
				t.Errorf("nobody lags, and the lag is %d publishes with %d bytes", s.Lag, s.LagBytes)
			}
		})
	}
}

func TestTopicsOfOthersDoNotCountForTheMark(t *testing.T) {
	// As a broker sees it whose master sends one message for each targeted minion.
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) { o.HWM = 50 })
	master.expect("link")
	slow := stall(t, p, "m1")
	all := connect(t, p, 1, "")
	all.settle()
	eventually(t, p, "subscribed", func(s Stats) bool { return s.Subscriptions == 2 })
	const size = 400 << 10
	var want []byte
	for i := range 49 { // 20 MB for the slow one
		mine := message("m1", i, size)
		var batch []byte
		batch = append(batch, mine...)
		want = append(want, mine...)
		for range 100 {
			batch = append(batch, message("m2", i, 40)...)
		}
		master.send(batch)
		all.expect(batch)
	}
	eventually(t, p, "behind", func(s Stats) bool { return s.Behind == 1 })
	slow.expect(want)
	if s := p.Stats(); s.Lost != 0 {
		t.Errorf("lost %d", s.Lost)
	}
}

func TestMinionThatNeverReadsIsCutOff(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) { o.HWM, o.MaxLost = 10, 500 })
	master.expect("link")
	for i := range 4 {
		stall(t, p, []string{"", "topic"}[i%2])
	}
	healthy := connect(t, p, 1, "")
	healthy.settle()
	eventually(t, p, "subscribed", func(s Stats) bool { return s.Subscriptions == 2 })
	for i := 0; p.Stats().Ends["too_slow"] < 4; i++ {
		if i > 20000 {
			t.Fatalf("not cut off: %+v", p.Stats())
		}
		msg := message("topic", i, 20000)
		master.send(msg)
		healthy.expect(msg)
	}
	eventually(t, p, "gone", func(s Stats) bool { return s.Minions == 1 && s.Behind == 0 })
	if s := p.Stats(); s.Lost < 4*500 {
		t.Errorf("lost %d before they were cut off", s.Lost)
	}
}

func TestPongStandsBetweenMessages(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), nil)
	master.expect("link")
	slow := stall(t, p, "")
	const size, count = 1 << 20, 24
	var all []byte
	for i := range count {
		msg := message("", i, size)
		all = append(all, msg...)
		master.send(msg)
	}
	eventually(t, p, "behind", func(s Stats) bool { return s.Behind == 1 && s.Publishes == count })
	slow.write(zmtp.AppendPing(nil, 0, []byte("first")))
	slow.write(zmtp.AppendPing(nil, 0, []byte("last")))
	// Whatever the order: messages are whole, and an answer to the last PING comes between two of them.
	pong := zmtp.AppendPong(nil, []byte("last"))
	other := zmtp.AppendPong(nil, []byte("first"))
	one := len(all) / count
	pongs := 0
	for i := 0; i < count || pongs == 0; {
		head := slow.read(2)
		if head[0] == zmtp.FlagCommand {
			body := slow.read(int(head[1]))
			got := append(head, body...)
			switch {
			case bytes.Equal(got, pong):
				pongs++
			case !bytes.Equal(got, other):
				t.Fatalf("command %x between messages", got)
			}
			continue
		}
		got := append(head, slow.read(one-2)...)
		if !bytes.Equal(got, all[i*one:(i+1)*one]) {
			t.Fatalf("message %d is not whole", i)
		}
		i++
	}
	if pongs != 1 {
		t.Errorf("%d answers to the last PING", pongs)
	}
}

func TestChangingSubscriptionsWhileBehind(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), nil)
	master.expect("link")
	slow := stall(t, p, "")
	const size, count = 200 << 10, 100
	var all []byte
	for i := range count {
		all = append(all, message("a", i, size)...)
	}
	master.send(all)
	eventually(t, p, "behind", func(s Stats) bool { return s.Behind == 1 && s.Publishes == count })
	// From everything to a topic that all of it has: nothing is lost or repeated.
	slow.write(zmtp.AppendSubscribe(nil, []byte("a")))
	slow.write(zmtp.AppendCancel(nil, nil))
	eventually(t, p, "one subscription left", func(s Stats) bool { return s.Subscriptions == 1 })
	slow.expect(all)
	slow.settle()
	master.send(append(message("b", 1, 10), message("a", 2, 10)...))
	slow.expect(message("a", 2, 10))
}

func TestSlowMinionsCostTheOthersNothing(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) { o.HWM, o.LogBytes = 1000, 8<<20 })
	master.expect("link")
	for range 50 {
		stall(t, p, "")
	}
	healthy := connect(t, p, 1, "")
	healthy.settle()
	for i := range 400 { // 40 MB
		msg := message("", i, 100_000)
		master.send(msg)
		healthy.expect(msg)
	}
	if s := p.Stats(); s.Behind > 50 {
		t.Errorf("%+v", s)
	}
}
