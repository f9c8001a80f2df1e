package masters

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"salt-broker/internal/master"
	"salt-broker/internal/salt"
	"salt-broker/internal/zmtp"
)

// maxAnswer is the largest answer that is read, in bytes. That to a ping has some ten.
const maxAnswer = 64 << 10

// silence is an error of a master that says nothing, in contrast to one that refuses, hangs up or says something else.
// Who answers others meanwhile is busy, and not dead.
type silence struct{ error }

func (s silence) Unwrap() error { return s.error }

// ask is one probe: a handshake with the publish port, and a ping at the request port. o is how the master is reached;
// timeout is for each step: to connect and to shake hands, with either port, and to answer. There are five and more
// round trips in all of them, and a master far away is not down. took is how long the ping's answer took; of no use
// with an error.
func ask(ctx context.Context, o master.Options, p Path, timeout time.Duration) (took time.Duration, err error) {
	o.DialTimeout, o.HandshakeTimeout, o.Log, o.Changed = timeout, timeout, nil, nil

	o.Address, o.SocketType = p.Publish, zmtp.SUB
	nc, _, err := dial(ctx, o)
	if err != nil {
		return 0, fmt.Errorf("publish port: %w", err)
	}
	_ = nc.Close()

	o.Address, o.SocketType = p.Request, zmtp.REQ
	nc, v, err := dial(ctx, o)
	if err == nil {
		within, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		stop := context.AfterFunc(within, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
		took, err = ping(nc, v)
		stop()
		_ = nc.Close()
	}
	switch {
	case err == nil:
		return took, nil
	case ctx.Err() == nil && isTimeout(err):
		return 0, silence{fmt.Errorf("request port: no answer to a ping within %v: %w", timeout, err)}
	}
	return 0, fmt.Errorf("request port: %w", err)
}

// dial connects to a port and shakes hands. There is time for a second address where the first one does not answer.
func dial(ctx context.Context, o master.Options) (*net.TCPConn, zmtp.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout+o.HandshakeTimeout)
	defer cancel()
	return master.Dial(ctx, o)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// ping asks over nc, of which the handshake is done, and returns how long the answer took.
func ping(nc net.Conn, v zmtp.Version) (took time.Duration, err error) {
	request := zmtp.AppendFrame(zmtp.AppendFrame(nil, true, nil), false, salt.AppendPing(nil))
	asked := time.Now()
	if _, err := nc.Write(request); err != nil {
		return 0, err
	}
	a := answer{nc: nc}
	limits := zmtp.Limits{MaxMessage: maxAnswer, MaxFrames: 8, MaxCommand: 4096}
	var stream zmtp.Stream
	stream.SkipHandshake(v)
	defer stream.Release(&limits)
	for buf := make([]byte, 4096); !a.came; {
		n, err := nc.Read(buf)
		if err := stream.Feed(buf[:n], &limits, &a); err != nil {
			return 0, err
		}
		if err != nil && !a.came {
			return 0, err
		}
	}
	return time.Since(asked), a.fault
}

// answer is a zmtp.Sink for one message.
type answer struct {
	nc    net.Conn
	came  bool
	fault error // why it is not that of a master whose workers live
}

// Greeted, Ready, Message and Command implement zmtp.Sink.
func (a *answer) Greeted(zmtp.Version) error { return nil }
func (a *answer) Ready(zmtp.Ready) error     { return nil }

func (a *answer) Message(msg []byte) error {
	if a.came {
		return nil
	}
	a.came = true
	delimiter, rest, err := zmtp.CutFrame(msg)
	if err != nil {
		return err
	}
	body, rest, err := zmtp.CutFrame(rest)
	switch {
	case err != nil:
		return err
	case len(delimiter) > 0 || len(rest) > 0:
		a.fault = errors.New("the answer to a ping is not an empty frame and one more")
	case !salt.IsPingReply(body):
		a.fault = fmt.Errorf("a ping is answered with %s: not ready, or no Salt master", described(body))
	}
	return nil
}

func (a *answer) Command(name, data []byte) error {
	if string(name) != zmtp.CommandPing {
		return nil
	}
	pong, err := zmtp.AppendAnswer(nil, data)
	if err != nil {
		return err
	}
	_, err = a.nc.Write(pong)
	return err
}

// described is an answer in a line of the log: Salt's errors are short texts.
func described(body []byte) string {
	const most = 60
	if text, rest, err := salt.CutRaw(body); err == nil && len(rest) == 0 && len(text) <= most {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("something else (%d bytes)", len(body))
}
