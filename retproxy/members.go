package retproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"salt-broker/internal/master"
)

// PeerStats is a snapshot of what a proxy has to do with one master.
type PeerStats struct {
	Name     string // Peer.Name
	Serves   bool   // it is healthy, and not without a link for too long, on a loop at least
	Leaving  bool   // it is no longer among Options.Masters, and answers what it has
	Waiting  int    // requests here now, for a place there
	InFlight int    // requests there now
	Replies  uint64 // from there, since it is among Options.Masters
	Links    []master.State
}

// former is what members that were left have counted: no counter goes back with them.
type former struct{ attempts, connections, replies uint64 }

// tendMembers keeps the links of all members connected, of those too that come later, until ctx ends.
func (p *Proxy) tendMembers(ctx context.Context, tasks *errgroup.Group) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tend = func(m *member) {
		tasks.Go(func() error { return p.tendMember(ctx, m) })
	}
	for _, m := range p.members {
		p.tend(m)
	}
	tasks.Go(func() error { // as long as this runs tasks can be added
		<-ctx.Done()
		p.mu.Lock()
		p.tend = nil
		p.mu.Unlock()
		return nil
	})
}

// tendMember keeps the links of a member connected until ctx ends, or no lane uses it any more.
func (p *Proxy) tendMember(ctx context.Context, m *member) error {
	life, end := context.WithCancel(ctx)
	defer end()
	links, life := errgroup.WithContext(life)
	for _, w := range m.ways {
		name := fmt.Sprint(w.lane.index)
		if m.name != "" {
			name += " to " + m.name
		}
		links.Go(func() error { return p.options.keep(life, "request link "+name, w.ordinary.run) })
		links.Go(func() error { return p.options.keep(life, "link for large requests "+name, w.bulk.run) })
	}
	links.Go(func() error {
		select {
		case <-m.over:
			end()
		case <-life.Done():
		}
		return nil
	})
	err := links.Wait()
	if ctx.Err() != nil || err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members = slices.DeleteFunc(p.members, func(other *member) bool { return other == m })
	for _, s := range m.states() {
		p.former.attempts += s.Attempts
		p.former.connections += s.Connections
	}
	for _, w := range m.ways {
		p.former.replies += w.replies.Load()
	}
	return nil
}

// states are those of the links.
func (m *member) states() (states []master.State) {
	for _, w := range m.ways {
		states = append(states, w.ordinary.road.State(), w.bulk.road.State())
	}
	return states
}

// addMembers adds to s what each master has its own of.
func (p *Proxy) addMembers(s *Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		peer := PeerStats{Name: m.name, Leaving: m.leaving, Links: m.states()}
		for _, w := range m.ways {
			peer.Serves = peer.Serves || w.serves.Load()
			peer.Waiting += int(w.waiting.Load())
			peer.InFlight += int(w.inFlight.Load())
			peer.Replies += w.replies.Load()
		}
		s.Waiting += peer.Waiting
		s.InFlight += peer.InFlight
		s.Replies += peer.Replies
		s.Peers = append(s.Peers, peer)
		s.Links = append(s.Links, peer.Links...)
	}
	s.Replies += p.former.replies
	if len(s.Links) > 0 {
		s.Links[0].Attempts += p.former.attempts
		s.Links[0].Connections += p.former.connections
	}
}
