package pubproxy

import (
	"maps"
	"slices"
)

// After adds what a former proxy of the same channel has counted to s. A link's attempts and connections are counters
// as well; everything else is what s says.
func (s Stats) After(former Stats) Stats {
	s.Publishes += former.Publishes
	s.PublishBytes += former.PublishBytes
	s.Deliveries += former.Deliveries
	s.DeliveryBytes += former.DeliveryBytes
	s.Lost += former.Lost
	s.LostToLog += former.LostToLog
	s.Accepted += former.Accepted
	s.MinionBeats = s.MinionBeats.Plus(former.MinionBeats)
	s.MasterBeats = s.MasterBeats.Plus(former.MasterBeats)
	s.FanOut = s.FanOut.Plus(former.FanOut)
	s.Warm = s.Warm.After(former.Warm)
	s.Switches += former.Switches
	s.Loops = slices.Clone(s.Loops)
	for i := range min(len(s.Loops), len(former.Loops)) {
		s.Loops[i] = s.Loops[i].After(former.Loops[i])
	}
	s.Roads = slices.Clone(s.Roads)
	for i := range s.Roads {
		for _, f := range former.Roads {
			if f.Peer == s.Roads[i].Peer && f.Link.Master == s.Roads[i].Link.Master {
				s.Roads[i].Publishes = s.Roads[i].Publishes.After(f.Publishes)
			}
		}
	}
	s.Master.Attempts += former.Master.Attempts
	s.Master.Connections += former.Master.Connections
	ends := maps.Clone(former.Ends) // it may be somebody else's
	if ends == nil {
		ends = make(map[string]uint64, len(s.Ends))
	}
	for reason, n := range s.Ends {
		ends[reason] += n
	}
	s.Ends = ends
	return s
}

// Ended is s when the proxy has ended: minions that were connected when a loop panicked are not any more.
func (s Stats) Ended() Stats {
	s.Open = false
	s.Minions, s.Behind, s.Lag, s.LagBytes, s.Subscriptions = 0, 0, 0, 0, 0
	s.Roads = slices.Clone(s.Roads)
	for i := range s.Roads {
		s.Roads[i].Publishes.Held, s.Roads[i].Publishes.Behind, s.Roads[i].Publishes.Placed = 0, 0, false
	}
	s.Peers = slices.Clone(s.Peers)
	for i := range s.Peers {
		s.Peers[i].Serves, s.Peers[i].Warm, s.Peers[i].Linked, s.Peers[i].Kept, s.Peers[i].KeptBytes = false, false, false, 0, 0
	}
	return s
}
