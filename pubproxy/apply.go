package pubproxy

// Apply has the proxy follow other options while it runs; its minions stay. What is followed: who may connect and how
// many, heartbeats, Master, Paths, Masters, MoveAfter, what begins with Warm, Hold, HWM, MaxLost, MaxSubscriptions and
// MaxMessage. A peer that serves and is not among Masters any more is left for another one as soon as that has a link. It is
// safe from any goroutine, and does nothing when Run has returned.
func (p *Proxy) Apply(o Options) {
	p.door.Apply(o.door(), isMinion)
	p.feeds.apply(o)
	u := p.upstream
	u.loop.Post(func() {
		u.limits.MaxMessage = o.MaxMessage
		u.watch.Set(o.HeartbeatInterval, o.HeartbeatTimeout)
	})
	for _, f := range p.fanouts {
		f.loop.Post(func() { f.keep(o) })
	}
}

// keep takes over what the fan-out itself looks at.
func (f *fanout) keep(o Options) {
	f.hwm, f.maxLost, f.maxSubscriptions = o.HWM, o.MaxLost, o.MaxSubscriptions
}
