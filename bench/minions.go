//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"salt-broker/internal/sim"
)

// Minions is all stand-in minions in a process of their own, as net/rpc sees them: a [crowd] that listens to publishes, and
// others that make requests: [callers] those of 16 KiB and less one after the other, package sim's minions the others.
type Minions struct {
	crowd  *crowd
	askers asking
}

// asking is minions that make requests.
type asking interface {
	answered() uint64    // replies so far
	replied() []exchange // the same
	rest()               // makes no more of them
	waits() int          // for replies
	verdict() error      // what has been wrong
}

// exchange is a request and its reply.
type exchange struct {
	done    time.Time
	latency time.Duration
}

// Listeners is a crowd to connect.
type Listeners struct {
	Port     uint16
	Count    int
	AtOnce   int           // handshakes that are under way
	Filtered bool          // each has a topic of its own
	Rest     time.Duration // see crowd; 0: none, and nobody asks how long a publish takes
	Patience time.Duration
}

// Connect connects a crowd and returns how long it took until the last one had shaken hands and sent its subscription. A
// crowd before it must have left.
func (m *Minions) Connect(o Listeners, took *time.Duration) (err error) {
	if err := m.Verdict(nil, nil); err != nil {
		return err
	}
	began := time.Now()
	if m.crowd, err = newCrowd(o, reportsFD); err != nil {
		return err
	}
	select {
	case <-m.crowd.everyone:
		*took = time.Since(began)
		return nil
	case <-time.After(o.Patience):
	}
	m.crowd.do(func() {
		err = fmt.Errorf("%d of %d minions have subscribed after %s: %w", m.crowd.subscribed, o.Count, o.Patience, m.crowd.fault)
	})
	return err
}

// Leave has the crowd close its connections.
func (m *Minions) Leave(_, _ *struct{}) error {
	if m.crowd == nil {
		return errNobody
	}
	m.crowd.leave()
	return nil
}

// Spans returns how long each publish of a run took to reach everyone.
func (m *Minions) Spans(run uint32, reply *[]time.Duration) error {
	if m.crowd == nil {
		return errNobody
	}
	m.crowd.do(func() {
		if m.crowd.run == run {
			for _, s := range m.crowd.spans {
				*reply = append(*reply, s.to.Sub(s.from))
			}
		}
	})
	return nil
}

// Askers is minions that make requests.
type Askers struct {
	Port         uint16
	Count, Bytes int  // of a request, and of the reply to it
	Short        bool // a connection for each request, else one that is kept
	// Interval is the pause between a minion's requests. 0: none, the next follows the reply.
	Interval time.Duration
	Patience time.Duration
}

// Ask starts minions that make requests, and returns when there have been as many replies as minions.
func (m *Minions) Ask(o Askers, _ *struct{}) (err error) {
	start := startSim
	if o.Interval == 0 && o.Bytes <= middleBytes {
		start = startCallers
	}
	if m.askers, err = start(o); err != nil {
		return err
	}
	deadline := time.Now().Add(o.Patience)
	for m.askers.answered() < uint64(o.Count) {
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%d minions got %d replies in %s", o.Count, m.askers.answered(), o.Patience), m.askers.verdict())
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// simulated is package sim's minions.
type simulated struct {
	minions *sim.Minions

	mu        sync.Mutex
	exchanges []exchange
}

func startSim(o Askers) (asking, error) {
	k := &simulated{}
	var err error
	k.minions, err = sim.StartMinions(sim.MinionsOptions{
		Count: o.Count, Request: onLoopback(o.Port), RequestBytes: o.Bytes, ReplyBytes: o.Bytes, Interval: o.Interval,
		Busy: o.Interval == 0, Timeout: o.Patience, Resting: true,
		OnReply: func(_ int, latency time.Duration) {
			k.mu.Lock() // hardly anybody else wants it
			k.exchanges = append(k.exchanges, exchange{time.Now(), latency})
			k.mu.Unlock()
		},
	})
	if err != nil {
		return nil, err
	}
	k.minions.Work()
	if o.Interval == 0 {
		k.minions.AskAll()
	}
	return k, nil
}

func (k *simulated) answered() uint64 { return k.minions.Stats().Replies }
func (k *simulated) rest()            { k.minions.Rest() }
func (k *simulated) waits() int       { return k.minions.Stats().Waiting }

func (k *simulated) replied() []exchange {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.exchanges)
}

func (k *simulated) verdict() error {
	s := k.minions.Stats()
	if s.Faults()+s.Broken+s.TimedOut+uint64(s.Waiting) == 0 {
		return nil
	}
	err := fmt.Errorf("requests: %d wrong replies, %d broken, %d too late, %d without a reply", s.WrongReplies, s.Broken, s.TimedOut,
		s.Waiting)
	return errors.Join(err, s.FirstFault)
}

// Quantiles sums up how long many things of a kind took.
type Quantiles struct {
	Count    int
	P50, P99 time.Duration
}

// Replied is the replies that came in a while: all of them, and those of requests that were under way while a publish was.
type Replied struct{ All, Meanwhile Quantiles }

// Replied sums up the replies that came between two times, by the clock of the machine.
func (m *Minions) Replied(between [2]time.Time, reply *Replied) error {
	if m.askers == nil {
		return errNobody
	}
	all := m.askers.replied()
	all = slices.DeleteFunc(all, func(e exchange) bool { return e.done.Before(between[0]) || e.done.After(between[1]) })
	var spans []span
	if m.crowd != nil {
		m.crowd.do(func() { spans = slices.Clone(m.crowd.spans) })
	}
	reply.All = quantiles(all, func(exchange) bool { return true })
	reply.Meanwhile = quantiles(all, func(e exchange) bool {
		return slices.ContainsFunc(spans, func(s span) bool {
			return e.done.After(s.from) && e.done.Add(-e.latency).Before(s.to)
		})
	})
	return nil
}

func quantiles(all []exchange, of func(exchange) bool) Quantiles {
	var some []time.Duration
	for _, e := range all {
		if of(e) {
			some = append(some, e.latency)
		}
	}
	return Quantiles{len(some), quantile(some, 0.50), quantile(some, 0.99)}
}

// Rest ends requests and waits for the replies that are due.
func (m *Minions) Rest(_, _ *struct{}) error {
	m.askers.rest()
	deadline := time.Now().Add(30 * time.Second)
	for m.askers.waits() > 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	return m.askers.verdict()
}

// Verdict is an error when a minion got something that it should not have got, or lost its connection.
func (m *Minions) Verdict(_, _ *struct{}) (err error) {
	if m.crowd != nil {
		m.crowd.do(func() {
			if m.crowd.fault != nil {
				err = fmt.Errorf("publishes: %d faults, the first: %w", m.crowd.faults, m.crowd.fault)
			}
		})
	}
	if m.askers != nil {
		err = errors.Join(err, m.askers.verdict())
	}
	return err
}

var errNobody = errors.New("there are no such minions")

func onLoopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}
