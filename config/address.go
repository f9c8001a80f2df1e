package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ListenPublish is where minions connect for publishes, host:port.
func (c Config) ListenPublish() string { return hostPort(c.Interface, c.PublishPort) }

// ListenRequest is where minions connect for requests, host:port.
func (c Config) ListenRequest() string { return hostPort(c.Interface, c.RetPort) }

// ListenStatus is where metrics, health and status are asked for, host:port; "" is nowhere.
func (c Config) ListenStatus() string {
	if c.StatusPort == 0 {
		return ""
	}
	return hostPort(c.StatusInterface, c.StatusPort)
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// splitMaster takes an address of a master apart: host, host:port, [IPv6 address], [IPv6 address]:port or a bare IPv6 address. port is
// 0 where there is none.
func splitMaster(text string) (host string, port int, ok bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.String(), 0, true
	}
	host = text
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
		number, err := strconv.ParseUint(text[i+1:], 10, 16)
		if err != nil || number == 0 {
			return "", 0, false
		}
		host, port = text[:i], int(number)
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		return inner, port, found && err == nil && addr.Is6()
	}
	return host, port, isHost(host)
}

// isHost says whether text is an IPv4 address or can be a name that resolves. What ends in a number is an address or
// nothing: 10.0.0.256 is not looked up.
func isHost(text string) bool {
	if len(text) > 253 {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label {
			return false
		}
		for _, r := range label {
			if r != '-' && r != '_' && (r < '0' || '9' < r) && (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r) {
				return false
			}
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		addr, err := netip.ParseAddr(text)
		return err == nil && addr.Is4()
	}
	return true
}
