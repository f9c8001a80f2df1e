package pubproxy

import (
	"slices"
	"time"

	"salt-broker/internal/master"
)

// Each peer of a master cluster publishes the jobs that it was asked for, and all others publish them too; but each
// encrypts for itself, so nothing that a relay can read says that two publishes are one job. One peer serves therefore:
// what it publishes goes to minions. What a second one publishes, the warm one, is kept for a while, and follows when
// the first fails. Minions drop a job that they have had already. docs/decisions/0023-a-warm-second.rst has why.

// Defaults of the Options of a cluster.
const (
	DefaultMoveAfter   = 2 * time.Second
	DefaultWarmOverlap = 5 * time.Second
	DefaultWarmKeep    = time.Minute
	DefaultWarmBytes   = 16 << 20
)

// againAfter is for how many times MoveAfter a peer that could not be reached is not dialed, where another one can be.
const againAfter = 10

// Peer is a master of a cluster.
type Peer struct {
	// Name tells it from the others, in the log and for SetHealthy. No two have the same.
	Name string
	// Master is where and how to reach it. SocketType is set here.
	Master master.Options
	// Paths are the addresses of its publish port where it has several; empty: the one in Master. See Options.Paths.
	Paths []string
}

// peers are the masters that publish.
func (o Options) peers() []Peer {
	if len(o.Masters) == 0 {
		return []Peer{{Master: o.Master, Paths: o.Paths}}
	}
	return o.Masters
}

// addresses are those of the peer's publish port.
func (p Peer) addresses() []string {
	if len(p.Paths) == 0 {
		return []string{p.Master.Address}
	}
	return p.Paths
}

// SetHealthy says whether the peer of this name answers. One that serves and does not is left for the warm one. A peer
// is healthy until this says otherwise. It is safe from any goroutine, and of no account for a name that there is not.
func (p *Proxy) SetHealthy(name string, healthy bool) {
	u := p.upstream
	u.loop.Post(func() {
		for _, f := range u.feeds {
			if f.name == name {
				f.standing.healthy = healthy
				if healthy && !f.dialed.Load() {
					f.standing.absent = false
				}
			}
		}
		u.judge()
	})
}

// follow takes over which masters there are, in order. One that is not among them any more serves until another one
// can.
func (u *upstream) follow(listed []*feed, o Options) {
	u.moveAfter, u.overlap = orDefault(o.MoveAfter, DefaultMoveAfter), orDefault(o.WarmOverlap, DefaultWarmOverlap)
	u.keepFor, u.keepBytes = orDefault(o.WarmKeep, DefaultWarmKeep), orDefault(o.WarmBytes, DefaultWarmBytes)
	for _, f := range u.feeds {
		f.standing.listed = false
	}
	for _, f := range listed {
		f.standing.listed = true
	}
	all := slices.Clone(listed)
	for _, f := range u.feeds {
		if !f.standing.listed {
			all = append(all, f)
		}
	}
	u.feeds = all
	u.judge()
	for _, f := range u.feeds {
		f.expect()
	}
	if u.aging != nil {
		u.age()
	}
}

func orDefault[T int64 | time.Duration](value, usual T) T {
	if value <= 0 {
		return usual
	}
	return value
}

// judge says anew which peer serves and which is warm.
func (u *upstream) judge() {
	select {
	case <-u.ending: // the links end since they are to
		return
	default:
	}
	all := make([]standing, len(u.feeds))
	for i, f := range u.feeds {
		all[i] = f.standing
	}
	first, second := choose(all, slices.Index(u.feeds, u.first), slices.Index(u.feeds, u.second))
	before := u.first
	if before != nil && before != u.feeds[first] {
		before.flush()
	}
	u.first = u.feeds[first]
	was := u.second
	u.second = nil
	if second >= 0 {
		u.second = u.feeds[second]
	}
	if u.first != before && before != nil {
		u.succeed(before)
	}
	if was != nil && was != u.second {
		was.kept.drop(&u.warmCounts.left)
	}
	for _, f := range u.feeds {
		f.dial(f == u.first || f == u.second)
	}
	u.feeds = slices.DeleteFunc(slices.Clone(u.feeds), func(f *feed) bool {
		return !f.standing.listed && !f.dialed.Load() && f.conns == 0
	})
	u.show()
}

// succeed has the first go on where the one before it may have stopped.
func (u *upstream) succeed(before *feed) {
	n := 0
	for ; u.first.kept.len() > 0; n++ {
		u.publish(u.first.kept.take())
	}
	u.warmCounts.replayed.Add(uint64(n))
	u.switches.Add(1)
	u.tell()
	if log := u.proxy.options.Log; log != nil {
		log = log.WithField("master", u.first.name).WithField("before", before.name).WithField("replayed", n)
		reason := "no_link"
		if !before.standing.healthy {
			reason = "unhealthy"
		}
		if !before.standing.listed {
			log.Info("publishes come from another master now: the one before is not configured any more")
			return
		}
		log.WithField("reason", reason).Warn("publishes come from another master of the cluster now")
	}
}

// keep keeps a publish of the warm peer.
func (u *upstream) keep(msg []byte) {
	k := &u.second.kept
	k.add(msg, u.loop.Now(), u.keepBytes)
	switch {
	case k.len() != 1:
	case u.aging == nil:
		u.aging = u.loop.After(u.keepFor, u.age)
	default:
		u.aging.Reset(u.keepFor)
	}
}

// lives drops what the warm peer has published WarmOverlap ago: the one that serves has just brought what comes later.
// What of that one's goes out only since it has waited for long enough is no such sign.
func (u *upstream) lives() {
	if u.second != nil {
		u.second.kept.dropUntil(u.loop.Now()-u.overlap, &u.warmCounts.passed)
	}
}

// age drops what has been kept for too long.
func (u *upstream) age() {
	u.aging.Stop()
	if u.second == nil {
		return
	}
	now, k := u.loop.Now(), &u.second.kept
	k.dropUntil(now-u.keepFor, &u.warmCounts.old)
	if k.len() > 0 {
		u.aging.Reset(k.since() + u.keepFor - now)
	}
}

// dial says whether there are to be links to the peer.
func (f *feed) dial(wanted bool) {
	if wanted == f.dialed.Load() {
		return
	}
	f.dialed.Store(wanted)
	f.upstream.proxy.feeds.poke()
	switch {
	case wanted:
		f.standing.absent = false
		f.expect()
	case f.standing.absent:
		f.wait(againAfter * f.upstream.moveAfter)
	}
}

// expect gives the peer as long to be there as one that has lost its links. Where there is one master nobody waits for
// it.
func (f *feed) expect() {
	if f.conns == 0 && f.dialed.Load() && !f.standing.absent && len(f.upstream.feeds) > 1 {
		f.wait(f.upstream.moveAfter)
	}
}

func (f *feed) wait(d time.Duration) {
	if f.patience == nil {
		f.patience = f.upstream.loop.After(d, f.waited)
		return
	}
	f.patience.Reset(d)
}

// waited is called when the peer has not come, or when it may be tried again.
func (f *feed) waited() {
	f.standing.absent = f.dialed.Load()
	f.upstream.judge()
}

// linked is called when there is one link more, or one less.
func (f *feed) linked(more int) {
	f.conns += more
	f.standing.linked, f.standing.lost = f.conns > 0, f.conns == 0
	if f.standing.linked {
		f.standing.absent = false
		if f.patience != nil {
			f.patience.Stop()
		}
	} else {
		f.expect()
	}
	f.upstream.judge()
}

// PeerStats is a snapshot of what a proxy has to do with one master.
type PeerStats struct {
	Name      string // Peer.Name
	Serves    bool   // its publishes go to minions
	Warm      bool   // its publishes are kept
	Healthy   bool   // as SetHealthy said
	Linked    bool   // there is a link to it
	Kept      int    // publishes of it that are kept now
	KeptBytes int64  // in them
}

// shown is a peer as others may look at it.
type shown struct {
	feed  *feed
	stats PeerStats
}

// show has others see how things stand.
func (u *upstream) show() {
	var all []shown
	for _, f := range u.feeds {
		if f.standing.listed || f == u.first {
			all = append(all, shown{f, PeerStats{
				Name: f.name, Serves: f == u.first, Warm: f == u.second, Healthy: f.standing.healthy, Linked: f.standing.linked,
			}})
		}
	}
	u.shown.Store(&all)
}

// peers is what others may know of the masters.
func (u *upstream) peers() (all []PeerStats) {
	shown := u.shown.Load()
	if shown == nil {
		return nil
	}
	for _, p := range *shown {
		p.stats.Kept, p.stats.KeptBytes = int(p.feed.kept.held.Load()), p.feed.kept.heldBytes.Load()
		all = append(all, p.stats)
	}
	return all
}
