package admission

import "salt-broker/internal/reactor"

// Apply has the door keep the limits (MaxConnections, MaxPerAddress, Allow, Deny) and heartbeats of o from now on; the
// rest of o is not looked at. Whoever is in stays, and is counted: limits are for those who come. minion says whether a
// handler is that of a minion, since loops have links as well. It is safe from any goroutine.
func (d *Door) Apply(o Options, minion func(h reactor.Handler) bool) {
	rules := newLimits(o)
	for i, l := range d.group.Loops() {
		l.Post(func() {
			// A loop that has not come to this counts by the old ones, so for a moment a few more may come in.
			d.limits[i] = rules
			inherit := func(c *reactor.Conn) {
				if minion(c.Handler()) {
					rules.inherit(c.RemoteAddr().Addr())
				}
			}
			l.Each(inherit)
			l.Untold(inherit) // their end is counted still
			d.watches[i].Set(o.HeartbeatInterval, o.HeartbeatTimeout)
		})
	}
}
