//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"salt-broker/internal/sim"
)

// Master is the stand-in master in a process of its own, as net/rpc sees it: package sim's, which publishes what
// [crowd] knows how to check and answers requests.
type Master struct {
	master  *sim.Master
	reports io.Reader // of the crowd
	run     uint32    // the last one
	reached atomic.Pointer[report]
	news    chan struct{} // reached has changed
}

// report is how many publishes of a run have reached everyone they were for.
type report struct {
	run      uint32
	complete uint64
}

// reportsFD is where a child finds its end of the pipe from the crowd to the master.
const reportsFD = 3

func newMaster() (*Master, error) {
	master, err := sim.StartMaster(sim.MasterOptions{MaxKept: 256 << 20})
	if err != nil {
		return nil, err
	}
	m := &Master{master: master, reports: os.NewFile(reportsFD, "reports"), news: make(chan struct{}, 1)}
	m.reached.Store(&report{})
	go m.listen()
	return m, nil
}

// listen takes the crowd's reports until it ends.
func (m *Master) listen() {
	p := make([]byte, 256*reportBytes)
	for {
		n, err := io.ReadAtLeast(m.reports, p, reportBytes)
		if err != nil {
			return
		}
		last := p[n-reportBytes : n] // a report is written in one piece, and so read: PIPE_BUF
		m.reached.Store(&report{uint32(binary.BigEndian.Uint64(last)), binary.BigEndian.Uint64(last[8:])})
		select {
		case m.news <- struct{}{}:
		default:
		}
	}
}

// Ports are where a master or a relay listens, on 127.0.0.1.
type Ports struct{ Publish, Request uint16 }

// State is what a master has to say about itself.
type State struct {
	Ports       Ports
	Subscribers int    // connections that have done their handshake
	Requesters  int    // the same, on the other port
	Subscribes  uint64 // subscriptions that have come in all
}

// State is the master's.
func (m *Master) State(_ struct{}, reply *State) error { //nolint:unparam // net/rpc wants a result
	s := m.master.Stats()
	*reply = State{
		Ports{m.master.PublishAddr().Port(), m.master.RequestAddr().Port()}, s.Subscribers, s.Requesters, s.Subscribes,
	}
	return nil
}

// Publishes is a run of publishes. It ends with Count or For, whichever is set and comes first.
type Publishes struct {
	Count  int
	For    time.Duration
	Bytes  int // of a payload
	Window int // how many may be under way
	Topics int // minions, each with a topic of its own, that are published to in turn; 0: everyone
	// Pause is between one publish that has reached everyone and the next, or from one to the next with Every.
	Pause time.Duration
	Every bool
	// Patience is how long to wait when nothing moves any more.
	Patience time.Duration
}

// Published is what came of a run.
type Published struct {
	Run   uint32
	Count uint64
	Took  time.Duration // from the first publish until the last one had reached everyone
}

// Publish does a run and returns when everything has reached those it was for, or with an error when it does not.
func (m *Master) Publish(o Publishes, reply *Published) error {
	m.run++
	began := time.Now()
	n := uint64(0)
	for more := true; more; {
		n++
		m.publish(o, n)
		more = (o.Count == 0 || n < uint64(o.Count)) && (o.For == 0 || time.Since(began) < o.For)
		if o.Every {
			time.Sleep(time.Until(began.Add(time.Duration(n) * o.Pause)))
		}
		room := uint64(0) // how many may still be under way then
		if more {
			room = uint64(o.Window) - 1
		}
		if err := m.await(n, room, o.Patience); err != nil {
			return err
		}
		if more && o.Pause > 0 && !o.Every {
			time.Sleep(o.Pause)
		}
	}
	*reply = Published{Run: m.run, Count: n, Took: time.Since(began)}
	return nil
}

func (m *Master) publish(o Publishes, order uint64) {
	var topic []byte
	if o.Topics > 0 {
		const stride = 7919 // a prime: neighbors are far apart
		topic = topicOf(int(order * stride % uint64(o.Topics)))
	}
	m.master.Publish(topic, appendPublication(make([]byte, 0, o.Bytes), publication{m.run, order, time.Now()}, o.Bytes))
}

// await returns when at most room of n publishes are under way.
func (m *Master) await(n, room uint64, patience time.Duration) error {
	for {
		r := m.reached.Load()
		reached := uint64(0)
		if r.run == m.run {
			reached = r.complete
		}
		if reached+room >= n {
			return nil
		}
		select {
		case <-m.news:
		case <-time.After(patience):
			return fmt.Errorf("%d of %d publishes have reached everyone, and for %s no other", reached, n, patience)
		}
	}
}

// Verdict is an error when requests came that no stand-in minion has made like that.
func (m *Master) Verdict(_, _ *struct{}) error {
	s := m.master.Stats()
	if s.Malformed+s.Foreign+s.Dropped+s.Refused > 0 {
		return fmt.Errorf("at the master: %d messages without an envelope, %d damaged requests, %d publishes that did not fit, "+
			"%d connections that broke the protocol", s.Malformed, s.Foreign, s.Dropped, s.Refused)
	}
	return nil
}
