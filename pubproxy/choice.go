package pubproxy

// standing is what is known of a peer of the cluster.
type standing struct {
	listed  bool // it is in the list still
	healthy bool // as SetHealthy said
	linked  bool // there is a link to it
	lost    bool // there was one, and is none
	absent  bool // there has been none for MoveAfter, while there was to be one
}

// asFirst is how good the peer is that serves. One that has lost its links may be back at once, but what it has
// published meanwhile is lost. At first nothing is, so it is waited for.
func (s standing) asFirst() int {
	switch {
	case !s.listed, s.absent:
		return 0
	case !s.healthy, s.lost:
		return 1
	}
	return 2
}

// asSuccessor is how good it would be for another one to serve: it must be there.
func (s standing) asSuccessor() int {
	switch {
	case !s.linked:
		return 0
	case !s.healthy:
		return 1
	}
	return 2
}

// asSecond is how good it is to keep a peer warm: it may be dialed first.
func (s standing) asSecond() int {
	switch {
	case !s.healthy:
		return 0
	case s.absent:
		return 1
	}
	return 2
}

// choose returns which peer is to serve and which is to be warm, when these two did so far; -1 is none. all are the
// peers in the order of the list, of which one at least is listed; those that are not listed any more follow.
//
// The one that serves is left for the warm one when that is better and has a link. There is no other way to another
// one, and so no way back either until it fails itself. Where none is better it stays: leaving it would help nobody.
func choose(all []standing, first, second int) (newFirst, newSecond int) {
	if first < 0 {
		first = best(all, -1, -1)
	}
	second = best(all, first, second)
	for second >= 0 && succeeds(all[second], all[first]) { // each time it becomes better
		first, second = second, first
		second = best(all, first, second)
	}
	return first, second
}

// succeeds says whether the warm peer is to take the place of the one that serves.
func succeeds(second, first standing) bool {
	if !first.listed && (!first.linked || second.absent) {
		return true // nothing is won by waiting
	}
	return second.asSuccessor() > first.asFirst()
}

// best returns the peer to be kept warm beside the first: the one that is, as long as no other one is better, or else
// the first in order of those that are best.
func best(all []standing, first, second int) int {
	if second >= 0 && (second == first || !all[second].listed) {
		second = -1
	}
	for i, s := range all {
		if i != first && s.listed && (second < 0 || s.asSecond() > all[second].asSecond()) {
			second = i
		}
	}
	return second
}
