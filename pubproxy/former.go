package pubproxy

import "maps"

// After adds what a former proxy of the same channel has counted to s. A link's attempts and connections are counters as
// well; everything else is what s says.
func (s Stats) After(former Stats) Stats {
	s.Publishes += former.Publishes
	s.PublishBytes += former.PublishBytes
	s.Deliveries += former.Deliveries
	s.Lost += former.Lost
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
	s.Minions, s.Behind, s.Subscriptions = 0, 0, 0
	return s
}
