package zmtp

import "fmt"

// Fault is what a peer did wrong. It ends the connection: after one nothing of the byte stream can be trusted.
//
// It comes as a *Fault from everything here that parses; find it with errors.As.
type Fault struct {
	// Reason is one of [Reasons]: for counters and log fields.
	Reason Reason
	// Detail says what came and what was due, for whoever reads the log. Bytes of the peer in it are quoted and short.
	Detail string
}

// Error says both, as in "not ZMTP: the peer speaks HTTP".
func (f *Fault) Error() string {
	return f.Reason.words() + ": " + f.Detail
}

func faultf(reason Reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// Reason is a kind of fault, in the spelling of a metric's label.
type Reason string

// The kinds of fault.
const (
	ReasonNotZMTP         Reason = "not_zmtp"          // the first bytes are no greeting
	ReasonVersion         Reason = "zmtp_version"      // ZMTP before 3.0
	ReasonMechanism       Reason = "mechanism"         // another security mechanism than NULL
	ReasonReady           Reason = "bad_ready"         // READY is malformed, missing, or comes twice
	ReasonSocketType      Reason = "socket_type"       // unknown, or of no use to the socket it came to
	ReasonFrame           Reason = "bad_frame"         // flags, or frames that do not add up
	ReasonCommand         Reason = "bad_command"       // a command's name or data
	ReasonMessageTooLarge Reason = "message_too_large" // Limits.MaxMessage
	ReasonCommandTooLarge Reason = "command_too_large" // Limits.MaxCommand
	ReasonTooManyFrames   Reason = "too_many_frames"   // Limits.MaxFrames
	ReasonSubscription    Reason = "bad_subscription"  // a message of a subscriber that is no subscription
	ReasonEnvelope        Reason = "no_delimiter"      // a request without the empty frame
	ReasonPeerError       Reason = "peer_error"        // the peer sent ERROR: it refuses us
)

// Reasons returns every reason there is, so that counters can start at zero.
func Reasons() []Reason {
	return []Reason{
		ReasonNotZMTP, ReasonVersion, ReasonMechanism, ReasonReady, ReasonSocketType, ReasonFrame, ReasonCommand,
		ReasonMessageTooLarge, ReasonCommandTooLarge, ReasonTooManyFrames, ReasonSubscription, ReasonEnvelope,
		ReasonPeerError,
	}
}

// words is the reason as the beginning of a sentence.
func (r Reason) words() string {
	switch r {
	case ReasonNotZMTP:
		return "not ZMTP"
	case ReasonVersion:
		return "ZMTP version"
	case ReasonMechanism:
		return "security mechanism"
	case ReasonReady:
		return "READY"
	case ReasonSocketType:
		return "socket type"
	case ReasonFrame:
		return "malformed frame"
	case ReasonCommand:
		return "malformed command"
	case ReasonMessageTooLarge:
		return "message too large"
	case ReasonCommandTooLarge:
		return "command too large"
	case ReasonTooManyFrames:
		return "too many frames"
	case ReasonSubscription:
		return "not a subscription"
	case ReasonEnvelope:
		return "no delimiter"
	case ReasonPeerError:
		return "ERROR from the peer"
	default:
		return string(r)
	}
}
