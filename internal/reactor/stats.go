//go:build linux

package reactor

import "time"

// LoopStats is what one loop has done.
type LoopStats struct {
	Turns       uint64        // how often it has turned
	Busy        time.Duration // how long it did not wait for something to do; what a turn takes is added at its end
	Connections int           // that it has now, links to the master included
}

// Stats returns what the loops have done, in their order. It is safe from any goroutine.
func (g *Group) Stats() []LoopStats {
	all := make([]LoopStats, len(g.loops))
	for i, l := range g.loops {
		all[i] = LoopStats{Turns: l.turns.Load(), Busy: time.Duration(l.busy.Load()), Connections: l.Connections()}
	}
	return all
}

// After adds what the loop in the same place of a former group has counted.
func (s LoopStats) After(former LoopStats) LoopStats {
	s.Turns += former.Turns
	s.Busy += former.Busy
	return s
}
