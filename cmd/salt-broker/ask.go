package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"salt-broker/config"
	"salt-broker/internal/status"
)

// maxAnswer is the most that is read of an answer: another program may have the port.
const maxAnswer = 4 << 20

var errNoStatus = misconfigured{errors.New("status_port is 0, so salt-broker cannot be asked: set status_port")}

// ask gets a JSON document from the broker that runs with a configuration. An answer of 503 is one too: it says why.
func ask(ctx context.Context, c config.Config, path string, into document) error {
	if c.StatusPort == 0 {
		return errNoStatus
	}
	address := dialable(c.StatusInterface, c.StatusPort)
	host := strings.ReplaceAll(address, "%", "%25") // the zone of an IPv6 address (RFC 6874)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy: the broker is here
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return cannotAsk(ctx, err, address)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return cannotAsk(ctx, err, address)
	}
	known := answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusServiceUnavailable
	if !known || json.Unmarshal(text, into) != nil || !into.whole() {
		return fmt.Errorf("who answers at %s is no salt-broker, or another version (%s): look at status_interface and status_port, and who has the port (ss -ltnp)", address, answer.Status)
	}
	return nil
}

// document is what a broker says of itself.
type document interface {
	// whole says whether there is what a salt-broker always says: the JSON of others decodes too.
	whole() bool
}

type report struct{ status.Report }

func (r *report) whole() bool { return !r.Started.IsZero() && !r.Now.IsZero() }

type verdict struct{ status.Verdict }

func (v *verdict) whole() bool { return v.Reasons != nil && v.OK == (len(v.Reasons) == 0) }

func cannotAsk(ctx context.Context, err error, address string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("salt-broker does not answer at %s (status_interface, status_port) in time: it hangs, or the machine is overloaded: see top; systemctl restart salt-broker if it is the former", address)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("nobody answers at %s (status_interface, status_port): %w: salt-broker does not run, or with another configuration: see systemctl status salt-broker, or say which with -c", address, err)
}

// dialable is where a port on this machine is reached that listens on an address, which may be all of them.
func dialable(address string, port int) string {
	if addr, err := netip.ParseAddr(address); err == nil && addr.IsUnspecified() {
		address = "127.0.0.1"
		if addr.Is6() {
			address = "::1"
		}
	}
	return net.JoinHostPort(address, strconv.Itoa(port))
}
