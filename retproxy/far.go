package retproxy

import (
	"slices"
	"time"
)

const (
	// leastNear is how many requests may be at the master whatever the way there is, if max_in_flight allows for that many.
	// Where one in nearShare is more, it is that. docs/decisions/0013-a-long-way-to-the-master.rst has why.
	leastNear = 64
	nearShare = 8
	// longestTrip is the longest way that is believed. It bounds what a wrong measurement can do: requests wait at the
	// master by no more than twice that longer.
	longestTrip = 500 * time.Millisecond
	// remembered is how many PINGs are, of which the shortest counts, and again is how soon a link that has much to do gets
	// the next one; a quiet one gets it from heartbeats. So a way that has become longer is believed after two minutes, and
	// what holds up less than eight PINGs in a row is not.
	remembered = 8
	again      = 15 * time.Second
)

// near is how many of total places at the master may be taken without a look at the way there. The others are for
// requests and replies on the way.
func near(total int) int { return min(total, max(leastNear, total/nearShare)) }

// far is a lane's places for what is on the way to the master or back. By Little's law that is the rate of replies times
// the time of a round trip: as many as were answered within the last one. So what is with the master is about the near
// ones, which keep its workers busy, and those do not wait while requests travel. It belongs to the lane's loop.
type far struct {
	most     int           // places
	places   int           // that there are now
	taken    int           // of them; may be more for a while when there are fewer than before
	trip     time.Duration // to the master and back; 0: not known, and there are none
	trips    [remembered]time.Duration
	measures int           // how many there were
	asked    time.Duration // when the last PING was due
	rate     int           // replies of the trip before
	since    time.Duration // when this trip's time began
	answered int           // since then
	quickest time.Duration // of their replies, from sending the request on
}

// take takes a place, if there is one.
func (f *far) take() bool {
	if f.taken >= f.places {
		return false
	}
	f.taken++
	return true
}

// measured takes in how long a PING took. The shortest of the last ones counts: others may have waited behind requests, and
// to believe those would be to send more. Of an old one it is not known whether the way is the same still.
func (f *far) measured(trip time.Duration) {
	if trip <= 0 {
		return
	}
	f.trips[f.measures%remembered] = min(trip, longestTrip)
	f.measures++
	f.trip = slices.Min(f.trips[:min(f.measures, remembered)])
}

// due says whether the way is to be measured again.
func (f *far) due(now time.Duration) bool {
	if f.trip == 0 || now-f.asked < again {
		return false
	}
	f.asked = now
	return true
}

// reply counts a reply to a request that was sent so long ago, and says whether there are more places now, or fewer.
// wanted says that requests wait here.
//
// A reply that took hardly longer than the trip, half of it, tells that the master had nothing waiting, so its workers may
// have had nothing to do: if more places are wanted there is one more, which doubles them within a trip. After a trip with
// such replies there are at most twice as many as were answered in it or in the one before. After one without there are as
// many as that: the fewer of the two trips count then, since after a pause of the network many replies come at once.
func (f *far) reply(now, took time.Duration, wanted bool) bool {
	if f.answered++; f.answered == 1 || took < f.quickest {
		f.quickest = took
	}
	if f.trip == 0 {
		return false
	}
	before := f.places
	if wanted && f.soon(took) {
		f.places++
	}
	if past := now - f.since; past >= f.trip {
		rate := int(int64(f.answered) * int64(f.trip) / int64(past))
		if f.soon(f.quickest) {
			f.places = min(f.places, 2*max(rate, f.rate))
		} else {
			f.places = min(rate, f.rate)
		}
		f.rate, f.since, f.answered = rate, now, 0
	}
	f.places = min(f.places, f.most)
	return f.places != before
}

// soon says whether a reply took hardly longer than the trip.
func (f *far) soon(took time.Duration) bool { return took <= f.trip+f.trip/2 }

// forget is for a new connection, which may go another way and gets a PING now. What is taken stays so until it is given
// back.
func (f *far) forget(now time.Duration) { *f = far{most: f.most, taken: f.taken, asked: now} }

// far is this lane's part of the places for what is under way.
func (w *way) far() *far { return &w.credit.accounts[w.lane.index].far }

// answered takes in the reply that has come for a request. One minion may hold half of the places that there are then.
func (w *way) answered(f flight) {
	if now := w.lane.loop.Now(); w.far().reply(now, now-f.sent, w.waiting.Load() > 0) {
		w.share = int32(max(1, (w.near+w.far().places)/2))
	}
}
