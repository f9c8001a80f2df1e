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
		l.ordinary.road.Apply(o.Master)
		l.bulk.road.Apply(o.Master)
		l.loop.Post(func() {
			l.keep(o)
			l.masterWatch.Set(o.HeartbeatInterval, o.HeartbeatTimeout)
			p.credit.resize(l.index, o.MaxInFlight)
			p.credit.wakeNext(l.index)
			for _, k := range []*link{l.ordinary, l.bulk} {
				if k.order.length > 0 {
					l.expire(k) // sets the timer anew
				}
			}
			l.dispatch() // there may be more places
		})
	}
}

// keep takes over what the lane itself looks at.
func (l *lane) keep(o Options) {
	l.near = near(o.MaxInFlight)
	l.share = int32(max(1, l.near/2)) // until the next reply says how many more there are
	l.deadline = o.RequestDeadline
	l.size = size(o.MaxMessage)
	l.limits.MaxMessage = o.MaxMessage + envelopeRoom
}
