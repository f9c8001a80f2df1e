//go:build linux

package sim

import (
	"fmt"
	"io"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// subLink is a minion's subscription: a SUB that connects for as long as the minion is there.
type subLink struct {
	minion *minion
	conn   *reactor.Conn // nil: none
	stream zmtp.Stream
	ready  bool
	paused bool

	// What came last. A series is what goes to everyone (0) or what goes to this minion alone (1).
	master  uint32
	known   bool // there was a job, so master and order mean something
	order   uint64
	serials [2]uint64
	fresh   [2]bool // nothing has come in the series since the link connected
}

func (s *subLink) connect() {
	c := s.minion.crew
	if s.minion.gone || s.conn != nil {
		return
	}
	conn, err := c.loop.Dial(c.all.options.Publish, c.all.options.KeepAlive, s)
	if err != nil {
		c.count.failed.Add(1)
		c.again(s.minion)
		return
	}
	s.conn, s.stream, s.ready = conn, zmtp.Stream{}, false
	s.fresh = [2]bool{true, true}
	c.connecting++
	c.handshakes.Add(conn)
	greeting := c.subHello
	if id := s.minion.identity(); id != nil {
		greeting = hello(c.all.options.Version, zmtp.SUB, id)
	}
	_ = conn.Write(greeting) // a failure closes, and Closed follows
}

func (s *subLink) pause(on bool) {
	if s.paused = on; s.conn == nil {
		return
	}
	if on {
		s.conn.PauseRead()
	} else {
		s.conn.ResumeRead()
	}
}

// Gap is the fault of jobs that are missing between two that came on one connection: so many Serials before that of the
// second one.
type Gap struct {
	Before  Job
	Serials uint64
}

// Error says what is missing.
func (g *Gap) Error() string {
	return fmt.Sprintf("%d jobs are missing before %d", g.Serials, g.Before.Order)
}

// Stale is the fault of a job that came after a later one, or again.
type Stale struct {
	Job   Job
	After uint64 // Order of the last one before it
}

// Error says what came when.
func (s *Stale) Error() string {
	return fmt.Sprintf("job %d came again or late: after %d", s.Job.Order, s.After)
}

// Received, Writable, HalfClosed and Closed are what the reactor tells.
func (s *subLink) Received(_ *reactor.Conn, p []byte) error {
	return s.stream.Feed(p, &s.minion.crew.limits, s)
}

func (s *subLink) Writable(*reactor.Conn)     {}
func (s *subLink) HalfClosed(c *reactor.Conn) { c.Close(io.EOF) }

func (s *subLink) Closed(_ *reactor.Conn, reason error) {
	c := s.minion.crew
	c.ended(s.minion, reason)
	s.stream.Release(&c.limits)
	s.conn = nil
	if s.ready {
		c.count.subscribed.Add(-1)
		if !s.minion.gone {
			c.count.cut.Add(1)
		}
	} else {
		c.count.failed.Add(1)
		c.connecting--
		c.connect()
	}
	if !s.minion.gone {
		c.again(s.minion)
	}
}

// Greeted, Ready, Message and Command are what the stream tells.
func (s *subLink) Greeted(zmtp.Version) error { return nil }

func (s *subLink) Ready(r zmtp.Ready) error {
	c := s.minion.crew
	if r.SocketType != zmtp.PUB && r.SocketType != zmtp.XPUB {
		return wrongType(r.SocketType)
	}
	p := c.scratch[:0]
	if c.all.options.Filtering {
		p = s.subscribe(p, Topic(s.minion.id))
		p = s.subscribe(p, Broadcast)
	} else {
		p = s.subscribe(p, "")
	}
	c.scratch = p
	if err := s.conn.Write(p); err != nil {
		return err
	}
	s.ready = true
	c.handshakes.Remove(s.conn)
	c.count.handshakes.Add(1)
	c.count.subscribed.Add(1)
	c.connecting--
	c.connect()
	if s.paused {
		s.conn.PauseRead()
	}
	return nil
}

// subscribe appends a subscription in the form of the version that both speak (RFC 37).
func (s *subLink) subscribe(dst []byte, topic string) []byte {
	if s.stream.Version().AtLeast(3, 1) && s.minion.crew.all.options.Version != Version30 {
		return zmtp.AppendSubscribe(dst, []byte(topic))
	}
	return zmtp.AppendSubscription(dst, []byte(topic), false)
}

func (s *subLink) Command(name, data []byte) error {
	if string(name) == zmtp.CommandPing {
		return s.minion.crew.pong(s.conn, data)
	}
	return nil
}

// Message checks a publish.
func (s *subLink) Message(msg []byte) error {
	c, one := s.minion.crew, s.minion
	now := time.Now()
	payload, rest, err := zmtp.CutFrame(msg)
	if err != nil {
		return err
	}
	var topic []byte
	if len(rest) > 0 {
		topic = payload
		if payload, rest, err = zmtp.CutFrame(rest); err != nil {
			return err
		}
	}
	if len(rest) > 0 || (topic != nil) != c.all.options.Filtering {
		c.fault(one, &c.count.damaged, 1, "a publish with other frames than it was sent with")
		return nil
	}
	job, err := ParseJob(payload)
	if err != nil {
		c.fault(one, &c.count.damaged, 1, "a publish of %d bytes: %w", len(msg), err)
		return nil
	}
	if job.Series != seriesOf(topic) || job.Series != 0 && job.Series != one.series {
		c.fault(one, &c.count.strayed, 1, "a publish for %q", topic)
		return nil
	}
	if s.inOrder(job) {
		latency := now.Sub(job.Sent)
		c.count.jobs.Add(1)
		c.delivery.observe(latency)
		c.arrivals.add(job.Order, latency)
		if c.all.options.OnJob != nil {
			c.all.options.OnJob(one.number, job)
		}
	}
	return nil
}

// inOrder compares a job with those before it, and counts what is missing. It says whether the job is new.
func (s *subLink) inOrder(job Job) bool {
	c, one := s.minion.crew, s.minion
	if !s.known || job.Master != s.master {
		if !s.known {
			c.count.reached.Add(1)
		}
		s.known, s.master, s.order, s.serials = true, job.Master, 0, [2]uint64{}
	}
	series := min(job.Series, 1)
	last := s.serials[series]
	if job.Order <= s.order || job.Serial <= last {
		c.fault(one, &c.count.doubled, 1, "%w", &Stale{job, s.order})
		return false
	}
	if gap := job.Serial - last - 1; last > 0 && gap > 0 {
		if s.fresh[series] {
			c.count.missedAway.Add(gap)
		} else {
			c.fault(one, &c.count.missed, gap, "%w", &Gap{Before: job, Serials: gap})
		}
	}
	s.order, s.serials[series], s.fresh[series] = job.Order, job.Serial, false
	return true
}
