package pubproxy

import (
	"errors"
	"sync/atomic"
	"time"

	"salt-broker/internal/merge"
	"salt-broker/internal/reactor"
)

// warnEvery is the least time between two warnings that publishes came too late.
const warnEvery = time.Minute

// errAstray is the reason for which a road's connection ends that is too far behind the others.
var errAstray = errors.New("its publishes are further behind those of other paths than can be told apart; dialing anew")

// feed is what one master publishes: the roads to it, and the one sequence that is made of what they bring. It lives on
// the loop of the upstream.
type feed struct {
	upstream *upstream
	name     string // Peer.Name

	// Guarded by feeds.mu.
	wanted []string // addresses, by the index of their road; "": it is not used

	// Owned by the loop.
	roads  []*road        // by their index; those that are not used any more have no connection
	merge  *merge.Merge   // nil: there is one road, and there never were more
	due    *reactor.Timer // for what merge holds
	warned uint64         // publishes of which it has been said that they came too late
	warnAt time.Duration  // when that may be said again

	// Of a cluster's peer; owned by the loop.
	standing standing
	conns    int            // links that there are
	patience *reactor.Timer // until it is absent, or as long as that is remembered of one that is not dialed
	kept     kept

	// Shared.
	all    atomic.Pointer[[]*road]     // grows only, in step with roads
	merged atomic.Pointer[merge.Merge] // merge, for its counts
	dialed atomic.Bool                 // its roads are to run
}

func newFeed(u *upstream, name string) *feed {
	f := &feed{upstream: u, name: name, standing: standing{healthy: true}}
	f.kept.counts = &u.warmCounts
	f.all.Store(new([]*road))
	return f
}

// list is the roads, used or not.
func (f *feed) list() []*road { return *f.all.Load() }

// publish takes the next publish of the master. The bytes stay the caller's.
func (f *feed) publish(msg []byte) {
	u := f.upstream
	switch f {
	case u.first:
		u.publish(msg)
	case u.second:
		u.keep(msg)
	default: // it is being left
		u.warmCounts.kept.Add(1)
		u.warmCounts.left.Add(1)
	}
}

// lead takes over which roads there are. From the second one on their publishes are merged.
func (f *feed) lead(all []*road, hold time.Duration) {
	u := f.upstream
	f.roads = all
	switch {
	case f.merge != nil:
		f.merge.Grow(len(all))
		f.merge.SetHold(hold, u.loop.Now())
		f.settled()
		u.tell()
	case len(all) > 1:
		m := merge.New(len(all), hold, merged{f})
		f.due = u.loop.After(0, f.overdue)
		f.due.Stop()
		for _, r := range all {
			if r.conn != nil {
				m.Begin(r.index, u.loop.Now())
			}
		}
		f.merge = m
		f.merged.Store(m)
	}
}

// merged is what the merge tells the feed.
type merged struct{ *feed }

// Publish implements merge.Sink.
func (f merged) Publish(_ int, msg []byte) { f.publish(msg) }

// Astray implements merge.Sink.
func (f merged) Astray(i int) {
	if c := f.roads[i].conn; c != nil {
		c.Close(errAstray)
	}
}

// overdue is called when something has been held for as long as it may be.
func (f *feed) overdue() {
	f.merge.Advance(f.upstream.loop.Now())
	f.settled()
	f.upstream.tell()
}

// flush gives out what is held. Nobody needs to wait for what the roads of a master that is left still carry.
func (f *feed) flush() {
	if f.merge != nil {
		f.merge.Flush(f.upstream.loop.Now())
		f.settled()
	}
}

// settled follows each call of the merge.
func (f *feed) settled() {
	now := f.upstream.loop.Now()
	if at, ok := f.merge.Next(now); ok {
		f.due.Reset(at - now)
	} else {
		f.due.Stop()
	}
	for _, r := range f.roads {
		if full := f.merge.Full(r.index); full != r.full && r.conn != nil && !r.conn.Closed() {
			r.pause(full)
		}
	}
	if now >= f.warnAt {
		f.warn(now)
	}
}

// warn says that publishes came too late to go out in their turn, once in a while.
func (f *feed) warn(now time.Duration) {
	var late, unknown uint64
	for _, r := range f.roads {
		c := f.merge.Counts(r.index)
		late, unknown = late+c.Late, unknown+c.Unknown
	}
	log := f.upstream.proxy.options.Log
	if late+unknown == f.warned || log == nil {
		return
	}
	log.WithField("late", late).WithField("unknown_place", unknown).
		Warn("publishes came too late over one path to the master, and are dropped")
	f.warned, f.warnAt = late+unknown, now+warnEvery
}
