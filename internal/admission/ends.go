package admission

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"

	"salt-broker/internal/heartbeat"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// Reasons for which connections end, beside those of zmtp.Reasons.
const (
	EndLeft          = "left"              // the peer closed
	EndReset         = "reset"             // the peer, or a machine between, broke off
	EndSilent        = "timed_out"         // the kernel got no answer any more
	EndHeartbeat     = "heartbeat_timeout" // answers no PING
	EndHandshake     = "handshake_timeout" // connected, and did not say READY in time
	EndBackedUp      = "does_not_read"     // too much waited for the peer to read
	EndBehind        = "too_slow"          // lost too many publishes
	EndSubscriptions = "too_many_subscriptions"
	EndDenied        = "denied"                // its address may not connect
	EndTooMany       = "too_many_connections"  // as many as may are in
	EndTooManyFrom   = "too_many_from_address" // as many as may are in from its address
	EndBuffers       = "buffers_full"          // held most when max_buffered_bytes was passed
	EndMasterLost    = "master_lost"           // on_master_loss: close
	EndStopped       = "broker_stops"
	EndOther         = "other"
)

// Refusal is a reason to close a connection that comes from the broker's own rules.
type Refusal struct {
	End  string // one of the names above
	Text string // for an operator
}

func (r *Refusal) Error() string { return r.Text }

// ErrBuffers is the reason for which the connection that holds most is closed when all together hold too much.
var ErrBuffers error = &Refusal{
	EndBuffers, "held more than any other when all connections together passed max_buffered_bytes",
}

var errHandshake = &Refusal{EndHandshake, "did not finish the handshake in time"}

// end counts the connections that ended for one reason.
type end struct {
	count atomic.Uint64
	usual bool // no cause for a line in the log
}

func newEnds() map[string]*end {
	ends := map[string]*end{
		EndLeft: {usual: true}, EndReset: {usual: true}, EndStopped: {usual: true}, EndMasterLost: {usual: true},
		EndSilent: {}, EndHeartbeat: {}, EndHandshake: {}, EndBackedUp: {}, EndBehind: {}, EndSubscriptions: {},
		EndBuffers: {}, EndDenied: {}, EndTooMany: {}, EndTooManyFrom: {}, EndOther: {},
	}
	for _, r := range zmtp.Reasons() {
		ends[string(r)] = &end{}
	}
	return ends
}

// Ended counts the end of a connection and says what an operator should know of it. Handlers call it from Closed, once.
func (d *Door) Ended(c *reactor.Conn, reason error) {
	d.limits[c.Loop().Index()].leave(c.RemoteAddr().Addr())
	d.told(c, reason)
}

// told counts and tells why a connection ended, or did not begin.
func (d *Door) told(c *reactor.Conn, reason error) {
	name := nameOf(reason)
	e := d.ends[name]
	if e == nil {
		e = d.ends[EndOther]
	}
	e.count.Add(1)
	d.journal.ended(c, name, reason, e.usual)
}

// Counts returns how many connections have ended, by reason; reasons that never occurred are there with 0.
func (d *Door) Counts() map[string]uint64 {
	counts := make(map[string]uint64, len(d.ends))
	for name, e := range d.ends {
		counts[name] = e.count.Load()
	}
	return counts
}

func nameOf(reason error) string {
	var (
		fault   *zmtp.Fault
		refusal *Refusal
		errno   syscall.Errno
	)
	switch {
	case errors.Is(reason, io.EOF):
		return EndLeft
	case errors.Is(reason, reactor.ErrStopped):
		return EndStopped
	case errors.Is(reason, reactor.ErrKept):
		return EndBackedUp
	case errors.Is(reason, heartbeat.ErrSilent):
		return EndHeartbeat
	case errors.As(reason, &errno):
		switch errno {
		case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
			return EndReset
		case syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH:
			return EndSilent
		}
		return EndOther
	case errors.As(reason, &fault):
		return string(fault.Reason)
	case errors.As(reason, &refusal):
		return refusal.End
	}
	return EndOther
}
