package retproxy

import "time"

const (
	// leastNear is how many requests may be at the master whatever the way there is, if max_in_flight allows for that many.
	// Where one in nearShare is more, it is that. docs/decisions/0013-a-long-way-to-the-master.rst has why.
	leastNear = 64
	nearShare = 8
	// longestTrip is the longest way that is believed. It bounds what a wrong measurement can do: requests wait at the
	// master by no more than twice that longer.
	longestTrip = 500 * time.Millisecond
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
	before   int           // places by the replies of the trip before
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

// measured takes in how long a PING took. The shortest counts: others may have waited behind requests, and to believe
// those would be to send more.
func (f *far) measured(trip time.Duration) {
	trip = min(trip, longestTrip)
	if trip > 0 && (f.trip == 0 || trip < f.trip) {
		f.trip = trip
	}
}

// reply counts a reply to a request that was sent so long ago. With the first after a trip's time it returns true: there
// are as many places now as replies in a trip's time. Twice as many while one of them has taken hardly longer than the
// trip, since then the master had nothing waiting, and its workers may have had nothing to do. The fewer of two trips
// count: after a pause of the network or the machine, many replies come at once.
func (f *far) reply(now, took time.Duration) bool {
	if f.answered++; f.answered == 1 || took < f.quickest {
		f.quickest = took
	}
	past := now - f.since
	if f.trip == 0 || past < f.trip {
		return false
	}
	places := int(int64(f.answered) * int64(f.trip) / int64(past))
	if f.quickest <= f.trip+f.trip/2 {
		places *= 2
	}
	f.places = min(f.most, places, f.before)
	f.before = places
	f.since, f.answered = now, 0
	return true
}

// forget is for a new connection, which may go another way. What is taken stays so until it is given back.
func (f *far) forget() { *f = far{most: f.most, taken: f.taken} }

// far is the lane's part of the places for what is on the way.
func (l *lane) far() *far { return &l.proxy.credit.accounts[l.index].far }

// answered takes in the reply that has come for a request. One minion may hold half of the places that there are then.
func (l *lane) answered(f flight) {
	if now := l.loop.Now(); l.far().reply(now, now-f.sent) {
		l.share = int32(max(1, (l.near+l.far().places)/2))
	}
}
