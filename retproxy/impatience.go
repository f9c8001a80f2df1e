package retproxy

import "time"

// impatience is when minions give up, as far as a way has seen it: how old the request was that was given up last while it
// waited here. Many do at the same age, since it is a setting. docs/decisions/0013-a-long-way-to-the-master.rst has what
// it is for.
type impatience struct {
	age time.Duration // 0: nobody has given up yet
}

// at takes in that a request was given up at an age.
func (p *impatience) at(age time.Duration) { p.age = age }

// left is how long a request of such an age is better kept here before it goes on a way of such a trip: until it has been
// given up, since the reply would be there too late, or is known to be one of a more patient minion. 0: it may go now. It
// is never more than one and a half trips: so much a wrong guess can cost.
func (p impatience) left(age, trip time.Duration) time.Duration {
	slack := trip / 4 // nobody gives up to the millisecond, and a reply takes longer than the trip
	if age < p.age-trip-slack {
		return 0
	}
	return max(0, p.age+slack-age)
}
