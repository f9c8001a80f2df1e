package retproxy

// Apply has the proxy follow other options while it runs; its minions stay. What is followed: who may connect and how
// many, heartbeats, Master, MaxInFlight (which is at least Loops), RequestDeadline, MaxMessage and DrainTimeout. Where Master
// has another address, the replies that are due from the old one may come for as long as Spare; requests that are not
// answered by then never are, and who sent them asks again. It is safe from any goroutine, and does nothing
// when Run has returned.
func (p *Proxy) Apply(o Options) {
	p.drains.Store(int64(o.DrainTimeout))
	p.door.Apply(o.door(), isMinion)
	o.MaxInFlight = max(o.MaxInFlight, len(p.lanes))
	for _, l := range p.lanes {
		w := l.way
		l.loop.Post(func() {
			w.ordinary.move(o.Master, o.Spare)
			w.bulk.move(o.Master, o.Spare)
			l.keep(o)
			l.masterWatch.Set(o.HeartbeatInterval, o.HeartbeatTimeout)
			w.credit.resize(l.index, o.MaxInFlight)
			w.credit.wakeNext(l.index)
			for _, k := range []*link{w.ordinary, w.bulk} {
				if k.order.length > 0 {
					w.expire(k) // sets the timer anew
				}
			}
			w.dispatch() // there may be more places
		})
	}
}

// keep takes over what the lane itself looks at.
func (l *lane) keep(o Options) {
	l.way.keep(o)
	l.deadline = o.RequestDeadline
	l.size = size(o.MaxMessage)
	l.limits.MaxMessage = o.MaxMessage + envelopeRoom
}
