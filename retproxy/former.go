package retproxy

import (
	"maps"
	"slices"
)

// After adds what a former proxy of the same channel has counted to s. A link's attempts and connections are counters as
// well; everything else is what s says.
func (s Stats) After(former Stats) Stats {
	s.Requests += former.Requests
	s.RequestBytes += former.RequestBytes
	s.SentBytes += former.SentBytes
	s.Answers += former.Answers
	s.AnswerBytes += former.AnswerBytes
	s.Replies += former.Replies
	s.ReplyBytes += former.ReplyBytes
	s.TooLarge += former.TooLarge
	s.Forgotten += former.Forgotten
	s.Unwanted += former.Unwanted
	s.Unroutable += former.Unroutable
	s.Late += former.Late
	s.Overdue += former.Overdue
	s.LostWithLink += former.LostWithLink
	s.Moved += former.Moved
	s.TracesIgnored += former.TracesIgnored
	s.Accepted += former.Accepted
	s.MinionBeats = s.MinionBeats.Plus(former.MinionBeats)
	s.MasterBeats = s.MasterBeats.Plus(former.MasterBeats)
	s.QueueTime = s.QueueTime.Plus(former.QueueTime)
	s.MasterTime = s.MasterTime.Plus(former.MasterTime)
	s.Loops = slices.Clone(s.Loops)
	for i := range min(len(s.Loops), len(former.Loops)) {
		s.Loops[i] = s.Loops[i].After(former.Loops[i])
	}
	s.Links = slices.Clone(s.Links)
	for i := range min(len(s.Links), len(former.Links)) {
		s.Links[i].Attempts += former.Links[i].Attempts
		s.Links[i].Connections += former.Links[i].Connections
	}
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

// Ended is s when the proxy has ended: what waited when a loop panicked waits no more. Requests that were at the master
// then are lost with their link, which a loop that panics does not say.
func (s Stats) Ended() Stats {
	s.LostWithLink += uint64(max(0, s.InFlight))
	s.Forgotten += uint64(max(0, s.Waiting))
	s.Open = false
	s.Minions, s.Waiting, s.InFlight = 0, 0, 0
	s.Peers = nil
	return s
}
