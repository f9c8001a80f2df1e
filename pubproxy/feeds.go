package pubproxy

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"salt-broker/internal/master"
	"salt-broker/internal/zmtp"
)

// feeds are the masters, one or the peers of a cluster, and the links to those that are dialed. Which of them is, the
// upstream says.
type feeds struct {
	upstream *upstream
	changed  chan struct{} // has room for one: other links may have to run

	mu     sync.Mutex
	all    []*feed      // in the order of the list; then those that have been taken out of it, until the next change
	former master.State // Attempts and Connections of those that are forgotten
}

func newFeeds(u *upstream, o Options) *feeds {
	f := &feeds{upstream: u, changed: make(chan struct{}, 1)}
	f.apply(o)
	for i, feed := range f.all { // as the upstream will have it
		feed.dialed.Store(i < 2)
	}
	return f
}

// apply takes over which masters there are and how they are reached. A road whose address stays keeps its connection.
func (s *feeds) apply(o Options) {
	s.mu.Lock() // two of them take turns
	defer s.mu.Unlock()
	before := s.all
	var (
		listed []*feed
		lists  [][]*road
	)
	for _, peer := range o.peers() {
		i := slices.IndexFunc(before, func(f *feed) bool { return f.name == peer.Name })
		var f *feed
		if i < 0 {
			f = newFeed(s.upstream, peer.Name)
		} else {
			f = before[i]
		}
		f.apply(peer)
		listed, lists = append(listed, f), append(lists, f.list())
	}
	s.all = slices.Clone(listed)
	for _, f := range before {
		switch {
		case slices.Contains(listed, f):
		case f.dialed.Load():
			s.all = append(s.all, f)
		default:
			s.former = plus(s.former, f.list())
		}
	}
	s.upstream.loop.Post(func() {
		for i, f := range listed {
			f.lead(lists[i], o.Hold)
		}
		s.upstream.follow(listed, o)
	})
	s.poke()
}

// poke has run look which links are to run.
func (s *feeds) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// apply takes over how the master is reached.
func (f *feed) apply(peer Peer) {
	addresses := peer.addresses()
	wanted := make([]string, len(f.wanted), max(len(f.wanted), len(addresses)))
	var homeless []string
	for _, address := range addresses {
		if i := slices.Index(f.wanted, address); i >= 0 && wanted[i] == "" {
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
	list := slices.Clone(f.list())
	for i, address := range wanted {
		to := peer.Master
		to.Address, to.SocketType = address, zmtp.SUB
		switch {
		case i >= len(list):
			list = append(list, &road{feed: f, index: i, link: master.NewLink(to), untold: map[string]struct{}{}})
		case address != "":
			list[i].link.Apply(to)
		}
	}
	f.wanted = wanted
	f.all.Store(&list)
}

// run keeps the links connected that are to be, until ctx ends.
func (s *feeds) run(ctx context.Context, keep func(ctx context.Context, name string, link func(ctx context.Context) error) error) error {
	type running struct {
		end  context.CancelFunc
		over chan struct{}
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		now := map[*road]running{}
		for {
			wanted := s.wanted()
			for r, was := range now {
				if _, ok := wanted[r]; !ok {
					was.end()
					<-was.over
					delete(now, r)
				}
			}
			for r, name := range wanted {
				if _, ok := now[r]; ok {
					continue
				}
				life, end := context.WithCancel(ctx)
				over := make(chan struct{})
				now[r] = running{end, over}
				tasks.Go(func() error {
					defer close(over)
					defer end()
					return keep(life, name, func(ctx context.Context) error { return r.link.Run(ctx, r.serve) })
				})
			}
			select {
			case <-s.changed:
			case <-ctx.Done():
				return nil
			}
		}
	})
	return tasks.Wait()
}

// wanted are the roads that are to run, with their names in the log.
func (s *feeds) wanted() map[*road]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[*road]string{}
	for _, f := range s.all {
		for i, r := range f.used() {
			if r == nil {
				continue
			}
			name := "publish link"
			if len(f.wanted) > 1 {
				name = fmt.Sprintf("publish link %d", i+1)
			}
			if f.name != "" {
				name += " to " + f.name
			}
			wanted[r] = name
		}
	}
	return wanted
}

// used are the roads that are to run, by index; the others are nil. It is for whom has feeds.mu.
func (f *feed) used() []*road {
	if !f.dialed.Load() {
		return nil
	}
	used := slices.Clone(f.list())
	for i, address := range f.wanted {
		if address == "" {
			used[i] = nil
		}
	}
	return used
}

// links are the state of all links that are to be, and that of one that is connected, or else of the one that was last:
// one to the peer that serves before others. Its attempts and connections are those of all.
func (s *feeds) links() (best master.State, roads []RoadStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := s.former
	for _, f := range s.all {
		total = plus(total, f.list())
	}
	chosen := func(s master.State) bool {
		return s.Connected && !best.Connected || s.Connected == best.Connected && !s.Connected && s.Since.After(best.Since)
	}
	for _, f := range s.servingFirst() {
		for _, r := range f.used() {
			if r == nil {
				continue
			}
			stats := RoadStats{Peer: f.name, Link: r.link.State()}
			if m := f.merged.Load(); m != nil {
				stats.Publishes = m.Counts(r.index)
			}
			if len(roads) == 0 || chosen(stats.Link) {
				best = stats.Link
			}
			roads = append(roads, stats)
		}
	}
	best.Attempts, best.Connections = total.Attempts, total.Connections
	return best, roads
}

func (s *feeds) servingFirst() []*feed {
	order := slices.Clone(s.all)
	if shown := s.upstream.shown.Load(); shown != nil {
		for _, p := range *shown {
			if i := slices.Index(order, p.feed); i > 0 && p.stats.Serves {
				order = slices.Insert(slices.Delete(order, i, i+1), 0, p.feed)
			}
		}
	}
	return order
}

// plus adds the attempts and connections of roads to those of others.
func plus(s master.State, roads []*road) master.State {
	for _, r := range roads {
		link := r.link.State()
		s.Attempts += link.Attempts
		s.Connections += link.Connections
	}
	return s
}
