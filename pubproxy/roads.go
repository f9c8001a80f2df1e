package pubproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"salt-broker/internal/master"
	"salt-broker/internal/merge"
	"salt-broker/internal/zmtp"
)

// warnEvery is the least time between two warnings that publishes came too late.
const warnEvery = time.Minute

// errAstray is the reason for which a road's connection ends that is too far behind the others.
var errAstray = errors.New("its publishes are further behind those of other paths than can be told apart; dialing anew")

// roads are the links to the master, one for each of its addresses, and which of them run.
type roads struct {
	upstream *upstream
	all      atomic.Pointer[[]*road] // grows only, in step with upstream.roads

	mu      sync.Mutex
	wanted  []string // addresses, by the index of their road; "": it is not used
	changed chan struct{}
}

func newRoads(u *upstream, o Options) *roads {
	r := &roads{upstream: u, changed: make(chan struct{}, 1)}
	r.all.Store(new([]*road))
	r.apply(o)
	u.lead(r.list(), o.Hold) // nothing runs yet
	return r
}

// list is the roads, used or not.
func (r *roads) list() []*road { return *r.all.Load() }

// used are the roads that there are to be, in the order of their making.
func (r *roads) used() (used []*road) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, address := range r.wanted {
		if address != "" {
			used = append(used, r.list()[i])
		}
	}
	return used
}

// apply takes over how the master is reached. A road whose address stays keeps its connection.
func (r *roads) apply(o Options) {
	r.mu.Lock()
	defer r.mu.Unlock()
	addresses := o.addresses()
	wanted := make([]string, len(r.wanted), max(len(r.wanted), len(addresses)))
	var homeless []string
	for _, address := range addresses {
		if i := slices.Index(r.wanted, address); i >= 0 && wanted[i] == "" {
			wanted[i] = address
		} else {
			homeless = append(homeless, address)
		}
	}
	for _, address := range homeless {
		if i := slices.Index(wanted, ""); i >= 0 {
			wanted[i] = address
		} else {
			wanted = append(wanted, address)
		}
	}
	list := slices.Clone(r.list())
	for i, address := range wanted {
		to := o.Master
		to.Address, to.SocketType = address, zmtp.SUB
		switch {
		case i >= len(list):
			list = append(list, &road{upstream: r.upstream, index: i, link: master.NewLink(to), untold: map[string]struct{}{}})
		case address != "":
			list[i].link.Apply(to)
		}
	}
	r.wanted = wanted
	r.all.Store(&list)
	r.upstream.loop.Post(func() { r.upstream.lead(list, o.Hold) })
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// addresses are those of the master.
func (o Options) addresses() []string {
	if len(o.Paths) == 0 {
		return []string{o.Master.Address}
	}
	return o.Paths
}

// run keeps the links connected that are wanted, until ctx ends.
func (r *roads) run(ctx context.Context, keep func(ctx context.Context, name string, link func(ctx context.Context) error) error) error {
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		type running struct {
			end  context.CancelFunc
			over chan struct{}
		}
		var now []running // by index; end is nil: it does not run
		for {
			r.mu.Lock()
			wanted, list := r.wanted, r.list()
			r.mu.Unlock()
			for i, address := range wanted {
				if i == len(now) {
					now = append(now, running{})
				}
				switch {
				case address == "" && now[i].end != nil:
					now[i].end()
					<-now[i].over
					now[i] = running{}
				case address != "" && now[i].end == nil:
					life, end := context.WithCancel(ctx)
					now[i] = running{end, make(chan struct{})}
					over, name := now[i].over, "publish link"
					if len(wanted) > 1 {
						name = fmt.Sprintf("publish link %d", i+1)
					}
					tasks.Go(func() error {
						defer close(over)
						defer end()
						return keep(life, name, func(ctx context.Context) error { return list[i].link.Run(ctx, list[i].serve) })
					})
				}
			}
			select {
			case <-r.changed:
			case <-ctx.Done():
				return nil
			}
		}
	})
	return tasks.Wait()
}

// lead takes over which roads there are. From the second one on their publishes are merged.
func (u *upstream) lead(all []*road, hold time.Duration) {
	u.roads = all
	switch {
	case u.merge != nil:
		u.merge.Grow(len(all))
		u.merge.SetHold(hold, u.loop.Now())
		u.settled()
		u.tell()
	case len(all) > 1:
		m := merge.New(len(all), hold, merged{u})
		u.due = u.loop.After(0, u.overdue)
		u.due.Stop()
		for _, r := range all {
			if r.conn != nil {
				m.Begin(r.index, u.loop.Now())
			}
		}
		u.merge = m
		u.merged.Store(m)
	}
}

// merged is what the merge tells the upstream.
type merged struct{ *upstream }

// Publish implements merge.Sink.
func (u merged) Publish(_ int, msg []byte) { u.publish(msg) }

// Astray implements merge.Sink.
func (u merged) Astray(i int) {
	if c := u.roads[i].conn; c != nil {
		c.Close(errAstray)
	}
}

// overdue is called when something has been held for as long as it may be.
func (u *upstream) overdue() {
	u.merge.Advance(u.loop.Now())
	u.settled()
	u.tell()
}

// settled follows each call of the merge.
func (u *upstream) settled() {
	now := u.loop.Now()
	if at, ok := u.merge.Next(now); ok {
		u.due.Reset(at - now)
	} else {
		u.due.Stop()
	}
	for _, r := range u.roads {
		if full := u.merge.Full(r.index); full != r.full && r.conn != nil && !r.conn.Closed() {
			r.pause(full)
		}
	}
	if now >= u.warnAt {
		u.warn(now)
	}
}

// pause stops reading from a road of which too much is held, or ends that. It is not watched meanwhile.
func (r *road) pause(full bool) {
	r.full = full
	if full {
		r.upstream.watch.Remove(r.conn)
		r.conn.PauseRead()
		return
	}
	r.conn.ResumeRead()
	if r.stream.Version().AtLeast(3, 1) {
		r.upstream.watch.Add(r.conn)
	}
}

// warn says that publishes came too late to go out in their turn, once in a while.
func (u *upstream) warn(now time.Duration) {
	var late, unknown uint64
	for _, r := range u.roads {
		c := u.merge.Counts(r.index)
		late, unknown = late+c.Late, unknown+c.Unknown
	}
	if late+unknown == u.warned || u.proxy.options.Log == nil {
		return
	}
	u.proxy.options.Log.WithField("late", late).WithField("unknown_place", unknown).
		Warn("publishes came too late over one path to the master, and are dropped")
	u.warned, u.warnAt = late+unknown, now+warnEvery
}

// best is the state of a link that is connected, or else of the one that was last. Attempts and connections are those of
// all.
func (r *roads) best() (best master.State) {
	var attempts, connections uint64
	for _, road := range r.list() {
		s := road.link.State()
		attempts, connections = attempts+s.Attempts, connections+s.Connections
	}
	for i, road := range r.used() {
		s := road.link.State()
		if i == 0 || s.Connected && !best.Connected || s.Connected == best.Connected && !s.Connected && s.Since.After(best.Since) {
			best = s
		}
	}
	best.Attempts, best.Connections = attempts, connections
	return best
}

func (r *roads) stats() (stats []RoadStats) {
	m := r.upstream.merged.Load()
	for _, road := range r.used() {
		s := RoadStats{Link: road.link.State()}
		if m != nil {
			s.Publishes = m.Counts(road.index)
		}
		stats = append(stats, s)
	}
	return stats
}
