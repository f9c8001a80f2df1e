package retproxy

import "slices"

// Apply has the proxy follow other options while it runs; its minions stay. What is followed: who may connect and how
// many, heartbeats, Master, Masters, MoveAfter, MaxInFlight (which is at least Loops), RequestDeadline, MaxMessage and
// DrainTimeout. Where a master has another address, the replies that are due from the old one may come for as long as Spare;
// requests that are not answered by then never are, and who sent them asks again. A peer that is no longer among Masters
// answers what it has and gets nothing new, and what waits for it goes to others. It is safe from any goroutine, and does
// nothing when Run has returned.
func (p *Proxy) Apply(o Options) {
	p.drains.Store(int64(o.DrainTimeout))
	p.door.Apply(o.door(), isMinion)
	o.MaxInFlight = max(o.MaxInFlight, len(p.lanes))
	p.mu.Lock() // two of them take turns
	defer p.mu.Unlock()
	peers := o.peers()
	members, fresh := p.follow(peers, o)
	for _, l := range p.lanes {
		l.loop.Post(func() {
			l.keep(o)
			l.masterWatch.Set(o.HeartbeatInterval, o.HeartbeatTimeout)
			l.follow(members)
			for i, m := range members {
				for _, k := range m.ways[l.index].links() {
					k.move(peers[i].Master, o.Spare)
				}
			}
			for _, w := range l.ways {
				w.follow(o)
			}
		})
	}
	if p.tend != nil {
		for _, m := range fresh { // the lanes know them before their links
			p.tend(m)
		}
	}
}

// follow has the proxy know these peers. It returns them, and which of them are new.
func (p *Proxy) follow(peers []Peer, o Options) (members, fresh []*member) {
	for _, peer := range peers {
		i := slices.IndexFunc(p.members, func(m *member) bool { return m.name == peer.Name && !m.leaving })
		if i < 0 {
			m := newMember(p, peer, o)
			p.members, members, fresh = append(p.members, m), append(members, m), append(fresh, m)
			continue
		}
		members = append(members, p.members[i])
	}
	for _, m := range p.members {
		m.leaving = m.leaving || !slices.Contains(members, m)
	}
	return members, fresh
}

// keep takes over what the lane itself looks at.
func (l *lane) keep(o Options) {
	l.deadline = o.RequestDeadline
	l.moveAfter = o.MoveAfter
	l.size = size(o.MaxMessage)
	l.limits.MaxMessage = o.MaxMessage + envelopeRoom
}

// follow has the way follow other options, on its loop.
func (w *way) follow(o Options) {
	w.keep(o)
	w.credit.resize(w.lane.index, o.MaxInFlight)
	w.credit.wakeNext(w.lane.index)
	for _, k := range w.links() {
		if k.order.length > 0 {
			w.expire(k) // sets the timer anew
		}
	}
	w.dispatch() // there may be more places
}
