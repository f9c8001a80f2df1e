package retproxy

// Apply has the proxy follow other options while it runs; its minions stay. What is followed: who may connect and how
// many, heartbeats, Master, MaxInFlight (which is at least Loops), RequestDeadline, MaxMessage and DrainTimeout. Requests
// at a master that is left are not answered; who sent them asks again. It is safe from any goroutine, and does nothing
// when Run has returned.
func (p *Proxy) Apply(o Options) {
	p.drains.Store(int64(o.DrainTimeout))
	p.door.Apply(o.door(), isMinion)
	o.MaxInFlight = max(o.MaxInFlight, len(p.lanes))
	for _, l := range p.lanes {
		w := l.way
		w.ordinary.road.Apply(o.Master)
		w.bulk.road.Apply(o.Master)
		l.loop.Post(func() {
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
