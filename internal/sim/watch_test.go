//go:build linux

package sim

import (
	"testing"
	"time"
)

// TestWatch: what hooks tell is counted as what it is.
func TestWatch(t *testing.T) {
	const early, late = 3, 10
	w := NewWatch(2)
	var o MinionsOptions
	w.Minions(&o)
	job := func(order uint64) Job { return Job{Order: order} }
	publish := func(from, to uint64) {
		for order := from; order <= to; order++ {
			if order != 5 { // no master was there
				w.Published(job(order))
			}
		}
	}
	hear := func(minion int, orders ...uint64) {
		for _, order := range orders {
			o.OnJob(minion, job(order))
		}
	}
	w.Asked(0, 1)
	w.Asked(1, 1)
	publish(1, early)
	hear(0, 1) // and not 2 and 3: that was before
	hear(1, 1, 2, 3)
	w.first, w.before = early+1, MinionsStats{TimedOut: 4, Broken: 7, Unsent: 6, Cut: 2}

	publish(early+1, late)
	hear(0, 4, 7, 8, 9, 10)
	o.OnFault(0, &Stale{Job: job(6), After: 10}) // late
	o.OnFault(0, &Stale{Job: job(6), After: 10}) // and twice
	hear(1, 4, 9, 10)
	o.OnFault(1, &Stale{Job: job(3), After: 10}) // twice, though it was there before
	o.OnFault(1, &Gap{})
	publish(late+1, late+1)
	hear(0, late+1) // and the other one may yet
	w.Asked(0, 1)
	w.Asked(0, 2)
	w.Asked(1, 2)

	got, err := w.notices(MinionsStats{TimedOut: 6, Broken: 10, Unsent: 7, Cut: 3})
	if err != nil {
		t.Fatal(err)
	}
	got.PublishGap, got.PublishGapLast, got.ReplyGap, got.ReplyGapLast = 0, 0, 0, 0
	want := Notices{
		Minions: 2, Published: 6, PublishesLost: 3, PublishesTwice: 2, PublishesLate: 1, RequestsLost: 4, RequestsTwice: 1, Cut: 1,
	}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if _, err := w.notices(MinionsStats{WrongReplies: 1}); err == nil {
		t.Error("a reply of somebody else is no error")
	}
}

// TestWatchGaps: a master that is away for a while is missed for as long, and what it publishes then is not.
func TestWatchGaps(t *testing.T) {
	t.Parallel()
	const minions, away = 5, 300 * time.Millisecond
	w := NewWatch(minions)
	m := startMaster(t, MasterOptions{OnRequest: w.Asked})
	o := MinionsOptions{Count: minions, Interval: 10 * time.Millisecond, Insist: true, Reconnect: 10 * time.Millisecond}
	w.Minions(&o)
	all := startMinions(t, m, o)
	must(t, all.AwaitSubscribed(within(t), minions))
	end := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-end:
				tick.Stop()
				return
			case <-tick.C:
				w.Published(m.PublishJob(nil)) // and so are those that it cannot publish
			}
		}
	}()
	defer func() { close(end); <-ended }()
	notices := func() Notices {
		n, err := w.End(within(t))
		must(t, err)
		return n
	}

	w.Begin(all)
	notices() // the first publish and reply of each
	w.Begin(all)
	if n := notices(); n.PublishGapLast >= away.Seconds() || n.ReplyGapLast >= away.Seconds() || n.PublishesLost+n.RequestsLost+n.Cut > 0 {
		t.Errorf("nothing has happened: %+v", n)
	}
	w.Begin(all)
	began := time.Now()
	must(t, m.Leave())
	<-time.After(away) // what is measured
	must(t, m.Start())
	n := notices()
	took := time.Since(began).Seconds()
	for name, gap := range map[string]float64{
		"publishes": n.PublishGap, "publishes, last": n.PublishGapLast, "replies": n.ReplyGap, "replies, last": n.ReplyGapLast,
	} {
		if gap < away.Seconds() || gap > took+away.Seconds() {
			t.Errorf("%s: %v s without, and the master was away for %v of %v s", name, gap, away, took)
		}
	}
	if n.PublishesLost < 10 || n.PublishesLost > n.Published || n.Cut != minions || n.RequestsTwice+n.PublishesTwice+n.PublishesLate > 0 {
		t.Errorf("a restart: %+v", n)
	}
}
