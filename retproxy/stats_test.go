package retproxy

import (
	"testing"
	"time"
)

// What passes is counted once on each side, and so is the time that it took.
func TestNumbers(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, func(o *Options) { o.MaxInFlight, o.Loops = 1, 1 })
	one, other := dial(t, r, as{minor: 1}), dial(t, r, as{minor: 1})
	one.asks("first")
	first := m.next()
	other.asks("second, which waits")
	until(t, "the second to wait", func() bool { return r.Stats().Waiting == 1 })
	if s := r.Stats(); s.QueueTime.Count() != 1 || s.MasterTime.Count() != 0 || s.SentBytes == s.RequestBytes {
		t.Errorf("one is at the master: %+v", s)
	}
	const waits = 20 * time.Millisecond
	time.Sleep(waits) // not for anything to happen: the time is what is measured
	first.answer([]byte("yes"))
	one.hears("yes")
	second := m.next()
	other.close() // its reply is unwanted
	until(t, "it to leave", func() bool { return r.Stats().Minions == 1 })
	second.answer([]byte("no"))
	until(t, "the reply", func() bool { return r.Stats().Unwanted == 1 })

	s := r.Stats()
	if s.QueueTime.Count() != 2 || s.MasterTime.Count() != 2 || s.SentBytes != s.RequestBytes {
		t.Errorf("both were at the master: %+v", s)
	}
	if s.QueueTime.Nanos < uint64(waits/2) || s.MasterTime.Nanos < uint64(waits/2) {
		t.Errorf("%d ns here and %d ns at the master", s.QueueTime.Nanos, s.MasterTime.Nanos)
	}
	if want := uint64(len(envelope(0, []byte("yes")))); s.Answers != 1 || s.AnswerBytes != want || s.ReplyBytes != 2*want-1 {
		t.Errorf("one was answered, with %d bytes: %+v", want, s)
	}
	if !s.Open || s.Accepted != 2 || len(s.Loops) != 1 || s.Loops[0].Busy == 0 {
		t.Errorf("%+v", s)
	}
}
