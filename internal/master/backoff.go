package master

import (
	"math/rand/v2"
	"time"
)

// Backoff paces the attempts to reach a master. The longest pause before an attempt starts at Default and doubles with
// each failure up to Max. With Randomize the pause is a random part of it ("full jitter"), so that brokers which lost
// the same master do not come back in step; without, it is all of it. A connection that has lived for Max starts the
// pauses anew; one that ended sooner counts as a failure, or a master that accepts and hangs up would be dialed in a
// tight loop.
//
// The fields are Salt's recon_default, recon_max and recon_randomize. Salt's minions draw one random number between
// recon_default and recon_default + recon_max and leave the rest to libzmq, which doubles from there up to recon_max;
// the meaning here is the same with a new number for each attempt.
type Backoff struct {
	// Default is the longest pause before the second attempt. 0: 1 s.
	Default time.Duration
	// Max is the longest pause ever. Less than Default means Default: the pauses do not grow. 0: 10 s.
	Max time.Duration
	// Randomize draws each pause from zero to what it would be without.
	Randomize bool
}

const (
	defaultBackoff    = time.Second
	defaultBackoffMax = 10 * time.Second
)

func (b Backoff) withDefaults() Backoff {
	if b.Default <= 0 {
		b.Default = defaultBackoff
	}
	if b.Max <= 0 {
		b.Max = defaultBackoffMax
	}
	b.Max = max(b.Max, b.Default)
	return b
}

// start begins a series of pauses.
func (b Backoff) start() pauses {
	return pauses{longest: b.Default, max: b.Max, randomize: b.Randomize, random: rand.Int64N}
}

// pauses is one series: it grows until it is thrown away.
type pauses struct {
	longest, max time.Duration
	randomize    bool
	random       func(n int64) int64 // from [0, n)
}

// next returns the pause before the next attempt, more than zero and at most max.
func (p *pauses) next() time.Duration {
	d := p.longest
	p.longest = p.max
	if d <= p.max/2 {
		p.longest = 2 * d
	}
	if p.randomize {
		d = time.Duration(p.random(int64(d))) + 1
	}
	return d
}
