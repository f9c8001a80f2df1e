//go:build linux

package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Watch is what minions notice of an event: how long each of them goes without publishes and without replies, what is lost
// on the way, and what comes twice. It is told by the hooks of a master and its minions: [Watch.Minions], [Watch.Asked] and
// [Watch.Published]. Its methods are safe from any goroutine.
//
// Masters that take each other's place publish the same numbers, by PublishJob at all of them in turn, and have the same ID.
type Watch struct {
	minions *Minions // once Begin has said so

	mu        sync.Mutex // for the rest
	witnesses []witness
	published []bool // by Order
	first     int    // Order that is the first of the event
	asked     map[[2]uint64]bool
	twice     int // requests that came to a master again, since Begin
	before    MinionsStats
}

// witness is what one minion has noticed.
type witness struct {
	publishes, replies pauses
	askedAt            time.Time // of the request with the last reply
	heard              []bool    // by Order
	last               int       // Order
	twice, late        int       // since Begin
}

// pauses is how long there was nothing.
type pauses struct {
	last    time.Time
	longest time.Duration // since Begin, from the last time before that
}

func (p *pauses) over(now time.Time) {
	if !p.last.IsZero() {
		p.longest = max(p.longest, now.Sub(p.last))
	}
	p.last = now
}

// NewWatch watches that many minions, numbered from 0.
func NewWatch(minions int) *Watch {
	return &Watch{witnesses: make([]witness, minions), asked: map[[2]uint64]bool{}}
}

// Minions has minions that are made with these options tell of what they get.
func (w *Watch) Minions(o *MinionsOptions) {
	o.OnJob, o.OnReply, o.OnFault = w.heard, w.replied, w.fault
}

// Asked is MasterOptions.OnRequest of each master.
func (w *Watch) Asked(minion int, request uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := [2]uint64{uint64(minion), request}
	if w.asked[key] {
		w.twice++
	}
	w.asked[key] = true
}

// Published says that a master that was there has published this job. Jobs that nobody could publish are not missed.
func (w *Watch) Published(j Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.published = set(w.published, j.Order)
}

func set(all []bool, order uint64) []bool {
	if more := int(order) + 1 - len(all); more > 0 {
		all = append(all, make([]bool, more)...)
	}
	all[order] = true
	return all
}

func (w *Watch) heard(minion int, j Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := &w.witnesses[minion]
	one.publishes.over(time.Now())
	one.heard, one.last = set(one.heard, j.Order), int(j.Order)
}

func (w *Watch) replied(minion int, latency time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one, now := &w.witnesses[minion], time.Now()
	one.replies.over(now)
	one.askedAt = now.Add(-latency)
}

func (w *Watch) fault(minion int, err error) {
	var stale *Stale
	if !errors.As(err, &stale) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	one, order := &w.witnesses[minion], stale.Job.Order
	if order < uint64(len(one.heard)) && one.heard[order] {
		one.twice++
		return
	}
	one.late++
	one.heard = set(one.heard, order)
}

// Begin forgets what has been noticed: something is going to happen to these minions.
func (w *Watch) Begin(m *Minions) {
	before := m.Stats()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.minions, w.before, w.twice, w.first = m, before, 0, len(w.published)
	for i := range w.witnesses {
		one := &w.witnesses[i]
		one.publishes.longest, one.replies.longest, one.twice, one.late = 0, 0, 0, 0
	}
}

// Notices is what came of an event: of how many minions, what the median of them and the last one went without, and what
// the one that lost most has lost.
type Notices struct {
	Minions int `json:"minions"`
	// The longest time without a publish and without a reply, in seconds. What lies between two in quiet times is part of it.
	PublishGap     float64 `json:"publish_gap_s"`
	PublishGapLast float64 `json:"publish_gap_last_s"`
	ReplyGap       float64 `json:"reply_gap_s"`
	ReplyGapLast   float64 `json:"reply_gap_last_s"`
	// Published is how many publishes there were from Begin on; Lost how many of them a minion has missed, at most; Twice and
	// Late how often all minions together got one again, or out of turn.
	Published      int `json:"published"`
	PublishesLost  int `json:"publishes_lost"`
	PublishesTwice int `json:"publishes_twice"`
	PublishesLate  int `json:"publishes_out_of_turn"`
	// RequestsLost is how many all minions together have sent and got no reply to; RequestsTwice how many came to a master
	// again.
	RequestsLost  int `json:"requests_lost"`
	RequestsTwice int `json:"requests_twice"`
	// Cut is how many subscriptions ended.
	Cut int `json:"cut"`
}

// End waits until every minion has had a publish, and the reply to a request, that were made after this call, and says what
// it has noticed since Begin. It is an error when a minion got anything that is damaged or somebody else's.
func (w *Watch) End(ctx context.Context) (Notices, error) {
	w.mu.Lock()
	since, last := time.Now(), len(w.published)
	w.mu.Unlock()
	served := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		n := 0
		for i := range w.witnesses {
			if one := &w.witnesses[i]; one.last >= last && one.askedAt.After(since) {
				n++
			}
		}
		return n
	}
	err := await(ctx, func() bool { return served() == len(w.witnesses) }, func() string {
		return fmt.Sprintf("sim: %d of %d minions are served again: %+v", served(), len(w.witnesses), w.minions.Stats())
	})
	if err != nil {
		return Notices{}, err
	}
	return w.notices(w.minions.Stats())
}

func (w *Watch) notices(now MinionsStats) (Notices, error) {
	if n := now.Damaged + now.Strayed + now.WrongReplies + now.PeerFaults; n > 0 {
		return Notices{}, fmt.Errorf("sim: %d messages that are damaged, or somebody else's: %w", n, now.FirstFault)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := func(s MinionsStats) int { return int(s.TimedOut + s.Broken - s.Unsent) }
	// What is younger than the last publish of any of them may yet come.
	end := len(w.published)
	for i := range w.witnesses {
		end = min(end, w.witnesses[i].last+1)
	}
	n := Notices{
		Minions: len(w.witnesses), RequestsTwice: w.twice,
		RequestsLost: lost(now) - lost(w.before), Cut: int(now.Cut - w.before.Cut),
	}
	for order := w.first; order < end; order++ {
		if w.published[order] {
			n.Published++
		}
	}
	var publishes, replies []time.Duration
	for i := range w.witnesses {
		one := &w.witnesses[i]
		publishes, replies = append(publishes, one.publishes.longest), append(replies, one.replies.longest)
		n.PublishesTwice += one.twice
		n.PublishesLate += one.late
		missed := 0
		for order := w.first; order < end; order++ {
			if w.published[order] && !one.heard[order] {
				missed++
			}
		}
		n.PublishesLost = max(n.PublishesLost, missed)
	}
	n.PublishGap, n.PublishGapLast = medianAndLast(publishes)
	n.ReplyGap, n.ReplyGapLast = medianAndLast(replies)
	return n, nil
}

func medianAndLast(all []time.Duration) (median, last float64) {
	slices.Sort(all)
	return all[len(all)/2].Seconds(), all[len(all)-1].Seconds()
}
