package admission

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/zmtp"
)

func prefixes(text ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, one := range text {
		list = append(list, netip.MustParsePrefix(one))
	}
	return list
}

func TestPermits(t *testing.T) {
	for _, tt := range []struct {
		name        string
		allow, deny []netip.Prefix
		yes, no     []string
	}{
		{"empty lists", nil, nil, []string{"192.0.2.1", "2001:db8::1"}, nil},
		{
			"some are allowed", prefixes("192.0.2.0/24", "2001:db8::/32"), nil,
			[]string{"192.0.2.0", "192.0.2.255", "2001:db8:ffff::1"},
			[]string{"192.0.3.0", "192.0.1.255", "2001:db9::", "::1"},
		},
		{
			"some are denied", nil, prefixes("192.0.2.7/32", "2001:db8::/32"),
			[]string{"192.0.2.6", "192.0.2.8", "2001:db9::"},
			[]string{"192.0.2.7", "2001:db8::1"},
		},
		{
			"who is denied is not allowed", prefixes("192.0.2.0/24"), prefixes("192.0.2.128/25"),
			[]string{"192.0.2.127"},
			[]string{"192.0.2.128", "198.51.100.1"},
		},
		{"all of IPv4 is not IPv6", prefixes("0.0.0.0/0"), nil, []string{"192.0.2.1"}, []string{"::1"}},
		{"nobody", nil, prefixes("0.0.0.0/0", "::/0"), nil, []string{"192.0.2.1", "::1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLimits(Options{Allow: tt.allow, Deny: tt.deny})
			for want, addresses := range map[bool][]string{true: tt.yes, false: tt.no} {
				for _, text := range addresses {
					if got := l.enter(netip.MustParseAddr(text)) == nil; got != want {
						t.Errorf("%s comes in: %v, want %v", text, got, want)
					}
				}
			}
		})
	}
}

// TestLimitsAreExact: however many loops accept and close at the same time, never one more is in, and none is refused
// while there is room.
func TestLimitsAreExact(t *testing.T) {
	const most, visitors, rounds = 5, 8, 2000
	address := netip.MustParseAddr("192.0.2.1")
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"all", Options{MaxConnections: most}},
		{"of one address", Options{MaxPerAddress: most}},
		{"both", Options{MaxConnections: most, MaxPerAddress: most}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLimits(tt.o)
			var in, entered atomic.Int64
			var all sync.WaitGroup
			for range visitors {
				all.Go(func() {
					for range rounds {
						if l.enter(address) != nil {
							continue
						}
						entered.Add(1)
						if n := in.Add(1); n > most {
							t.Errorf("%d are in", n)
						}
						in.Add(-1)
						l.leave(address)
					}
				})
			}
			all.Wait()
			if l.count != 0 || len(l.of) != 0 || entered.Load() == 0 {
				t.Errorf("%d and %v are left of %d", l.count, l.of, entered.Load())
			}
			for range most {
				if l.enter(address) != nil {
					t.Fatal("refused while there is room")
				}
			}
			if l.enter(address) == nil {
				t.Error("one more is in")
			}
		})
	}
}

// from connects from a local address and says hello. The kernel connects also those who are refused then.
func (h *house) from(address string) *net.TCPConn {
	h.t.Helper()
	nc, err := net.DialTCP("tcp", &net.TCPAddr{IP: net.ParseIP(address)}, net.TCPAddrFromAddrPort(h.Addr()))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// greeted says whether the door lets a connection in. Who is refused gets not a byte.
func greeted(t *testing.T, nc *net.TCPConn) bool {
	t.Helper()
	want := len(hello(zmtp.ROUTER))
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	switch n, err := io.ReadFull(nc, make([]byte, want)); {
	case n == want:
		return true
	case n > 0:
		t.Errorf("%d bytes and then %v", n, err)
	}
	return false
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, end, says string
		o               Options
		comes           []string // in this order; the last one is refused
	}{
		{"denied", EndDenied, "may not connect (allow, deny)", Options{Deny: prefixes("127.0.0.2/32")}, []string{"127.0.0.1", "127.0.0.2"}},
		{"not allowed", EndDenied, "may not connect (allow, deny)", Options{Allow: prefixes("127.0.0.1/32")}, []string{"127.0.0.1", "127.0.0.2"}},
		{"too many", EndTooMany, "2 connections are open already (max_connections)", Options{MaxConnections: 2}, []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}},
		{
			"too many from one address", EndTooManyFrom, "its address has 2 connections already (max_connections_per_address)",
			Options{MaxPerAddress: 2, MaxConnections: 4},
			[]string{"127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.HandshakeTimeout = patience
			h := openWith(t, logrus.InfoLevel, 3, tt.o)
			last := len(tt.comes) - 1
			var first *net.TCPConn
			for _, address := range tt.comes[:last] {
				nc := h.from(address)
				if !greeted(t, nc) {
					t.Fatalf("%s is refused", address)
				}
				if first == nil {
					first = nc
				}
			}
			nc := h.from(tt.comes[last])
			if greeted(t, nc) {
				t.Fatalf("%s is greeted", tt.comes[last])
			}
			for end, n := range h.Counts() {
				if want := map[bool]uint64{true: 1}[end == tt.end]; n != want {
					t.Errorf("%s: %d, want %d", end, n, want)
				}
			}
			line := h.log.LastEntry()
			if line == nil || line.Level != logrus.WarnLevel || line.Data["reason"] != tt.end ||
				fmt.Sprint(line.Data["remote"]) != nc.LocalAddr().String() ||
				!strings.Contains(line.Message, nc.LocalAddr().String()) || !strings.HasSuffix(line.Message, tt.says) {
				t.Errorf("%+v", line)
			}
			if tt.end == EndDenied {
				return
			}
			_ = first.Close()
			h.left()
			if !greeted(t, h.from(tt.comes[last])) {
				t.Error("refused although one has left")
			}
		})
	}
}

// TestOneLimitForAllLoops: the kernel spreads connections over the loops as it likes.
func TestOneLimitForAllLoops(t *testing.T) {
	const most, come = 7, 60
	h := openWith(t, logrus.PanicLevel, 4, Options{HandshakeTimeout: patience, MaxConnections: most})
	var all []*net.TCPConn
	for range come {
		all = append(all, h.from("127.0.0.1"))
	}
	in := 0
	for _, nc := range all {
		if greeted(t, nc) {
			in++
		}
	}
	if refused := h.Counts()[EndTooMany]; in != most || refused != come-most {
		t.Errorf("%d are in and %d refused, want %d and %d", in, refused, most, come-most)
	}
}
