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
)

// maxAnswer is the most that is read of an answer: another program may have the port.
const maxAnswer = 4 << 20

var errNoStatus = misconfigured{errors.New("status_port is 0, so salt-broker cannot be asked: set status_port")}

// ask gets a JSON document from the broker that runs with a configuration. An answer of 503 is one too: it says why.
func ask(ctx context.Context, c config.Config, path string, into any) error {
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
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusServiceUnavailable || json.Unmarshal(text, into) != nil {
		return fmt.Errorf("who answers at %s is no salt-broker, or another version (status_interface, status_port): %s", address, answer.Status)
	}
	return nil
}

func cannotAsk(ctx context.Context, err error, address string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("salt-broker does not answer at %s (status_interface, status_port) in time: it hangs, or the machine is overloaded", address)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("nobody answers at %s (status_interface, status_port): %w: salt-broker does not run, or with another configuration", address, err)
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
