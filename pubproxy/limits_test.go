package pubproxy

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestLimitsHoldAtThePort: what they do is tested where they are kept; here it is that they get there.
func TestLimitsHoldAtThePort(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, c := range []struct {
		name   string
		change func(o *Options)
		in     int
		end    string
	}{
		{"deny", func(o *Options) { o.Deny = loopback }, 0, "denied"},
		{"allow", func(o *Options) { o.Allow = []netip.Prefix{netip.MustParsePrefix("::1/128")} }, 0, "denied"},
		{"max_connections", func(o *Options) { o.MaxConnections = 2 }, 2, "too_many_connections"},
		{"max_connections_per_address", func(o *Options) { o.MaxPerAddress, o.Allow = 1, loopback }, 1, "too_many_from_address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, newPublisher(t).address(), c.change)
			for range c.in {
				connect(t, p, 1)
			}
			nc, err := net.Dial("tcp", p.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = nc.Close() }()
			_ = nc.SetDeadline(time.Now().Add(patience))
			if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Error("one who may not come in is greeted")
			}
			if s := p.Stats(); s.Ends[c.end] != 1 || s.Minions != c.in {
				t.Errorf("%+v", s)
			}
		})
	}
}
