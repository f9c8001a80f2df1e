package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"salt-broker/config"
	"salt-broker/internal/salt"
	"salt-broker/internal/zmtp"
	"salt-broker/retproxy"
)

// traceTimeout is how long the command trace takes at most where nothing else is said.
const traceTimeout = 5 * time.Second

func newTraceCommand() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "trace [HOST[:PORT]]",
		Short: "Show the way to the master: each broker, and the time to it and back",
		Long: `trace connects to the request port of the salt-broker that runs on this machine with the same configuration, or to that of
HOST (port 4506), as a minion does. Each broker on the way says its name, version, and what it has for a master; times
are from here to there and back. The master is asked with a ping that needs no key: its time is that of a request, with
what it waits in brokers and for a worker.

Brokers of other kinds, or of versions that know no trace, are not shown; what stands behind them is the master then.

Exit codes: 0 the master has answered, 1 it has not (the last line says where the way ends), 2 the configuration or a
flag is wrong.`,
		Args: func(c *cobra.Command, args []string) error {
			if err := cobra.MaximumNArgs(1)(c, args); err != nil {
				return misconfigured{errors.New(err.Error() + "; see " + c.CommandPath() + " --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			at, err := traceFrom(c, args)
			if err != nil {
				return misconfigured{err}
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			t := &trace{at: at, w: c.OutOrStdout(), timeout: timeout}
			return t.run(ctx)
		},
	}
	addConfigFlags(c.Flags())
	c.Flags().DurationVar(&timeout, "timeout", traceTimeout, "how long to wait for what does not answer, as in 500ms or 10s")
	return c
}

// traceFrom is where the first broker is asked.
func traceFrom(c *cobra.Command, args []string) (string, error) {
	if len(args) == 0 {
		settings, _, err := config.Load(configOptions(c.Flags()))
		if err != nil {
			return "", err
		}
		return dialable(settings.Interface, settings.RetPort), nil
	}
	host, port, err := net.SplitHostPort(args[0])
	if err != nil { // there is no port, or it is an IPv6 address
		host, port = strings.Trim(args[0], "[]"), strconv.Itoa(config.Default().RetPort)
	}
	if n, err := strconv.ParseUint(port, 10, 16); host == "" || err != nil || n == 0 {
		return "", fmt.Errorf("%s is not HOST, HOST:PORT or [IPV6]:PORT", escaped(args[0]))
	}
	return net.JoinHostPort(host, port), nil
}

// trace is one look at the way to the master. It is the zmtp.Sink of its connection.
type trace struct {
	at      string
	w       io.Writer
	timeout time.Duration

	nc     net.Conn
	stream zmtp.Stream
	asked  time.Time
	broker bool           // who answers at at is one
	hops   []retproxy.Hop // that have answered
	master time.Duration  // until the master's answer; 0: none yet
}

// traceLimits are for a broker's answers and the master's.
var traceLimits = zmtp.Limits{MaxMessage: 64 << 10, MaxFrames: 16, MaxCommand: 8 << 10}

func (t *trace) run(ctx context.Context) error {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", t.at)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return fmt.Errorf("nobody can connect to %s: %w", t.at, err)
	}
	defer nc.Close()
	deadline, _ := ctx.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return err
	}
	t.nc = nc
	if _, err := nc.Write(zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.REQ)); err != nil {
		return fmt.Errorf("%s: %w", t.at, err)
	}
	buf := make([]byte, 16<<10)
	for !t.done() {
		n, err := nc.Read(buf)
		if n > 0 {
			if err := t.stream.Feed(buf[:n], &traceLimits, t); err != nil {
				return fmt.Errorf("%s: %w", t.at, err)
			}
		}
		if err != nil {
			return t.ended(err)
		}
	}
	return t.verdict()
}

// done says whether nothing more is to come.
func (t *trace) done() bool {
	if t.asked.IsZero() {
		return false
	}
	if t.master == 0 {
		return len(t.hops) > 0 && t.last().Next == retproxy.NextNone
	}
	return !t.broker || len(t.hops) > 0 && t.last().Next != retproxy.NextBroker
}

func (t *trace) last() retproxy.Hop { return t.hops[len(t.hops)-1] }

// Greeted implements zmtp.Sink.
func (t *trace) Greeted(zmtp.Version) error { return nil }

// Ready implements zmtp.Sink: now it is asked.
func (t *trace) Ready(r zmtp.Ready) error {
	if r.SocketType != zmtp.ROUTER && r.SocketType != zmtp.REP {
		return fmt.Errorf("who answers is a %s socket, which is no request port: is it ret_port?", r.SocketType)
	}
	var says []byte
	if t.broker = r.Broker > 0; t.broker {
		says = retproxy.AppendTrace(says)
	}
	t.asked = time.Now()
	_, err := t.nc.Write(zmtp.AppendFrame(zmtp.AppendFrame(says, true, nil), false, salt.AppendPing(nil)))
	return err
}

// Command implements zmtp.Sink.
func (t *trace) Command(name, data []byte) error {
	switch string(name) {
	case zmtp.CommandPing:
		answer, err := zmtp.AppendAnswer(nil, data)
		if err != nil {
			return err
		}
		_, err = t.nc.Write(answer)
		return err
	case zmtp.CommandError:
		return zmtp.Complaint(data)
	case zmtp.CommandHop:
		return t.hop(data)
	}
	return nil
}

// hop shows a broker. They answer in their order, because each passes on what the next one says behind its own words.
func (t *trace) hop(data []byte) error {
	took := time.Since(t.asked)
	h, err := retproxy.ParseHop(data)
	if err != nil {
		return err
	}
	address := t.at
	if len(t.hops) > 0 {
		address = t.last().Address
		if t.last().Next != retproxy.NextBroker {
			return errors.New("a broker answers behind the end of the way")
		}
	}
	if h.Number != len(t.hops)+1 || h.Number > retproxy.MaxHops {
		return fmt.Errorf("a broker answers as number %d, and %d have answered before", h.Number, len(t.hops))
	}
	t.hops = append(t.hops, h)
	return t.line(h.Number, h.Name, address, "salt-broker "+h.Version, took)
}

// Message implements zmtp.Sink: the reply to the ping.
func (t *trace) Message(msg []byte) error {
	took := time.Since(t.asked)
	empty, rest, err := zmtp.CutFrame(msg)
	if err != nil || len(empty) > 0 || len(rest) == 0 {
		return errors.New("the answer to the ping has no envelope")
	}
	body, _, err := zmtp.CutFrame(rest)
	if err != nil {
		return err
	}
	if !salt.IsPingReply(body) {
		return errors.New("what answers the ping is no master of Salt's, or one that is not ready")
	}
	t.master = max(took, 1)
	return nil
}

// line is one station.
func (t *trace) line(n int, name, address, what string, took time.Duration) error {
	_, err := fmt.Fprintf(t.w, "%2d  %-20s %-24s %-24s %8.1f ms\n",
		n, legible(name), legible(address), legible(what), float64(took.Microseconds())/1000)
	return err
}

// legible is a text of a peer's, for a column.
func legible(text string) string {
	const enough = 64
	text = escaped(text)
	if utf8.RuneCountInString(text) > enough {
		text = string([]rune(text)[:enough]) + "..."
	}
	return text
}

// ended says why the connection has come to its end too early.
func (t *trace) ended(err error) error {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout() && t.asked.IsZero():
		return fmt.Errorf("%s does not finish the handshake within %v: it hangs, or is no salt-broker", t.at, t.timeout)
	case errors.As(err, &timeout) && timeout.Timeout():
		return t.verdict()
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s has hung up: this machine may not connect there (allow, deny), or there are too many connections; its log says why", t.at)
	}
	return fmt.Errorf("%s: %w", t.at, err)
}

// verdict shows the master, or says where the way ends.
func (t *trace) verdict() error {
	if len(t.hops) == 0 {
		if t.broker {
			return fmt.Errorf("%s is a salt-broker and has not answered within %v", t.at, t.timeout)
		}
		if t.master == 0 {
			return fmt.Errorf("%s is no salt-broker that knows trace, and no master has answered a ping within %v", t.at, t.timeout)
		}
		return t.line(1, "master", t.at, "Salt, or behind others", t.master)
	}
	h := t.last()
	name, at := legible(h.Name), legible(h.Master)
	if h.Address != "" && h.Address != h.Master {
		at += " (" + legible(h.Address) + ")"
	}
	since := time.Duration(min(max(h.Since, 0), 1e8) * float64(time.Second)).Round(time.Second)
	switch {
	case h.Next == retproxy.NextNone:
		why := legible(h.Error)
		if why == "" {
			why = "no attempt has failed yet"
		}
		return fmt.Errorf("the way ends at %s, which has not been connected to its master %s for %v: %s", name, at, since, why)
	case h.Next == retproxy.NextBroker:
		return fmt.Errorf("the way ends behind %s: the broker %s has not answered within %v", name, at, t.timeout)
	case h.Next == retproxy.NextLimit:
		return fmt.Errorf("the way does not end after %d brokers: do their masters point in a circle?", retproxy.MaxHops)
	case h.Next == retproxy.NextBusy:
		return fmt.Errorf("the way ends behind %s: too much waits on its connection to %s", name, at)
	case t.master == 0:
		return fmt.Errorf("the way ends behind %s: its master %s is connected and has not answered a ping within %v", name, at, t.timeout)
	}
	what := "Salt master"
	if h.Peers > 0 {
		what += fmt.Sprintf(", %d of %d serve", h.Serving, h.Peers)
	}
	return t.line(len(t.hops)+1, h.Master, h.Address, what, t.master)
}
