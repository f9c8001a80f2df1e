package masters

import (
	"slices"
	"time"
)

const (
	// settled is how long a master must not have gone down for its going down to be an accident.
	settled = time.Hour
	// longestHold ends the doubling of holds.
	longestHold = time.Hour
)

// Reason is why another master serves.
type Reason string

// Why a master serves instead of another one.
const (
	Failed     Reason = "failed"     // the one before is down
	FailedBack Reason = "failback"   // an earlier one of the list has been up for long enough (master_failback)
	Configured Reason = "configured" // a reload of the configuration has taken the one before out of the list, or changed it
)

// candidate is a master of the list.
type candidate struct {
	is    Health
	doubt bool          // its last answer speaks against that; the next one comes soon
	since time.Time     // when it became that
	fell  time.Time     // when it went down the last time; zero: never
	hold  time.Duration // how long it must be up until it gets minions back, if that is more than for all
	held  bool          // it went down, and has not been up for its hold since; of account in a cluster
}

// trusted says whether a peer of a cluster is to have its minions.
func (m *candidate) trusted() bool { return m.is != Down && !m.held }

// choice is which master serves: the first of the list that is up, at first, and then the one that serves as long as it
// is not down. It has no clock and does nothing by itself.
//
// When the one that serves goes down, the first that is up beyond doubt follows it. When none is it stays: leaving it
// would help nobody, its links go on dialing, and minions that are still answered by it go on being answered.
//
// With failback an earlier one gets its place back when it has been up for its hold. A master that goes down again
// within an hour has its hold doubled, up to an hour, so one that comes and goes does not drag the minions along.
//
// The peers of a cluster all serve, each its own minions. One that went down gets them back after its hold, by the same
// rule.
type choice struct {
	candidates []candidate // in order
	serving    int
	failback   bool
	hold       time.Duration // how long any must be up for that
}

// holdOf is how long a master must be up until it gets minions back.
func (c *choice) holdOf(m *candidate) time.Duration { return max(m.hold, c.hold) }

// proven says whether a master has been up for its hold.
func (c *choice) proven(m *candidate, now time.Time) bool {
	return m.is == Up && !m.doubt && now.Sub(m.since) >= c.holdOf(m)
}

// judged is told what a candidate is.
func (c *choice) judged(i int, is Health, now time.Time) {
	m := &c.candidates[i]
	if m.is == is {
		return
	}
	if is == Down {
		switch {
		case m.fell.IsZero() || now.Sub(m.fell) >= settled:
			m.hold = c.hold
		default:
			m.hold = max(c.hold, min(2*m.hold, longestHold))
		}
		m.fell, m.held = now, true
	}
	m.is, m.since = is, now
}

// decide returns which candidate is to serve instead of the one that does.
func (c *choice) decide(now time.Time) (to int, why Reason, move bool) {
	if c.candidates[c.serving].is == Down {
		for i := range c.candidates {
			if m := &c.candidates[i]; m.is == Up && !m.doubt {
				return i, Failed, true
			}
		}
		return 0, "", false
	}
	if c.failback {
		for i := range c.serving {
			if c.proven(&c.candidates[i], now) {
				return i, FailedBack, true
			}
		}
	}
	return 0, "", false
}

// release gives peers of a cluster their minions back, and returns which: those that have been up for their hold. Where
// none has minions all are released, those that are still down too: nobody has taken theirs over, so they have nothing
// to wait for.
func (c *choice) release(now time.Time) (back []int) {
	none := !slices.ContainsFunc(c.candidates, func(m candidate) bool { return m.trusted() })
	for i := range c.candidates {
		m := &c.candidates[i]
		if !m.held || !none && !c.proven(m, now) {
			continue
		}
		m.held = false
		if m.trusted() {
			back = append(back, i)
		}
	}
	return back
}
