package retproxy

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"salt-broker/internal/zmtp"
)

func named(name string) func(*Options) {
	return func(o *Options) { o.Name, o.Version = name, "1.2 "+name }
}

// traced waits for n answers to a TRACE.
func (p *peer) traced(n int) []Hop {
	p.t.Helper()
	for len(p.hops) < n {
		if err := p.read(); err != nil {
			p.t.Fatalf("%d of %d have answered: %v", len(p.hops), n, err)
		}
	}
	var hops []Hop
	for _, data := range p.hops {
		h, err := ParseHop(data)
		if err != nil {
			p.t.Fatal(err)
		}
		hops = append(hops, h)
	}
	p.hops = nil
	return hops
}

// TestTraceGoesToTheEnd: each broker answers for itself, to who has asked and nobody else, and says what comes next.
func TestTraceGoesToTheEnd(t *testing.T) {
	m := newMaster(t)
	top := start(t, m, named("top"), loops(2))
	middle := behind(t, m, top, named("middle"), loops(2))
	bottom := behind(t, m, middle, named("bottom"), loops(2))
	for _, r := range []*running{top, middle, bottom} {
		r.connected()
	}
	others := []*peer{dial(t, bottom, as{minor: 1}), dial(t, bottom, as{minor: 1}), dial(t, top, as{minor: 1})}
	p := dial(t, bottom, as{minor: 1})
	for range 3 {
		p.send(AppendTrace(nil))
		hops := p.traced(3)
		for i, want := range []Hop{
			{Number: 1, Name: "bottom", Master: middle.Addr().String(), Next: NextBroker},
			{Number: 2, Name: "middle", Master: top.Addr().String(), Next: NextBroker},
			{Number: 3, Name: "top", Master: m.addr, Next: NextMaster},
		} {
			want.Version, want.Address, want.Since = "1.2 "+want.Name, want.Master, hops[i].Since
			if hops[i] != want || want.Since < 0 || want.Since > patience.Seconds() {
				t.Errorf("hop %d is %+v, want %+v", i, hops[i], want)
			}
		}
	}
	p.send(zmtp.AppendCommand(nil, zmtp.CommandTrace, []byte{2}))
	if hops := p.traced(2); hops[1].Next != NextLimit {
		t.Errorf("%+v", hops)
	}
	m.stop()
	until(t, "the master to be lost", func() bool {
		p.send(AppendTrace(nil))
		hops := p.traced(3)
		return hops[2].Next == NextNone && hops[2].Error != "" && hops[2].Address == ""
	})
	for _, p := range append(others, p) {
		p.ping("all read")
		if len(p.hops)+len(p.messages) > 0 {
			t.Errorf("got %q, %q", p.hops, p.messages)
		}
	}
}

// TestTraceIsChecked: what is no TRACE ends the connection.
func TestTraceIsChecked(t *testing.T) {
	r := start(t, newMaster(t))
	for _, data := range []string{"", "\x00", "\x11", "\x01short", "\x10" + strings.Repeat("x", (MaxHops+1)*refBytes)} {
		before := r.Stats().Ends["bad_command"]
		p := dial(t, r, as{minor: 1})
		p.send(zmtp.AppendCommand(nil, zmtp.CommandTrace, []byte(data)))
		p.gone()
		until(t, "the reason", func() bool { return r.Stats().Ends["bad_command"] == before+1 })
		if len(p.hops) > 0 {
			t.Errorf("%q is answered with %q", data, p.hops)
		}
	}
}

// TestTracesAreRationed: nobody can have all brokers above be asked as often as he likes.
func TestTracesAreRationed(t *testing.T) {
	m := absentMaster(t)
	m.broker = true
	m.open()
	r := start(t, m)
	r.connected()
	for range 2 { // links
		if said := <-m.told; said != "BROKER " {
			t.Fatalf("it says %q", said)
		}
	}
	p := dial(t, r, as{minor: 1})
	const all = 4 * maxTraces
	p.send(bytes.Repeat(AppendTrace(nil), all))
	p.ping("all read")
	ignored := int(r.Stats().TracesIgnored)
	if ignored < all-2*maxTraces || ignored+len(p.hops) != all { // the second may have been over
		t.Errorf("%d are answered and %d ignored, of %d", len(p.hops), ignored, all)
	}
	for range p.hops {
		if said := <-m.told; !strings.HasPrefix(said, "TRACE \x0f") {
			t.Errorf("it says %q", said)
		}
	}
}

// TestHopsOfALiar: a broker above answers whom it likes and what it likes.
func TestHopsOfALiar(t *testing.T) {
	m := absentMaster(t)
	m.broker = true
	m.open()
	r := start(t, m)
	r.connected()
	asks, other := dial(t, r, as{minor: 1}), dial(t, r, as{minor: 1})
	asks.send(AppendTrace(nil))
	if got := asks.traced(1); got[0].Next != NextBroker {
		t.Fatalf("%+v", got)
	}
	var way string // back, as the broker above has got it
	for !strings.HasPrefix(way, "TRACE ") {
		way = <-m.told
	}
	way = way[len("TRACE ")+1:]
	var theirs []byte
	r.onLoop(0, func(l *lane) {
		l.loop.Each(eachMinion(func(m *minion) {
			if !m.traces {
				theirs = binary.BigEndian.AppendUint64(nil, uint64(m.conn.Ref()))
			}
		}))
	})
	says := func(data string) []byte { return zmtp.AppendCommand(nil, zmtp.CommandHop, []byte(data)) }
	unroutable := []string{
		"", "\x00", "\x00{}", "\x01", "\x01short", "\x02" + way + "{}", "\xff" + strings.Repeat("x", 255*refBytes),
		"\x01" + way + strings.Repeat("x", maxHopBytes+1),
	}
	for _, k := range m.all() {
		for _, data := range unroutable {
			k.write(says(data))
		}
		k.write(says("\x01" + string(theirs) + "{}"))                     // who did not ask
		k.write(says("\x01" + "\xff\xff\xff\xff\xff\xff\xff\xff" + "{}")) // nobody
		k.write(says("\x01" + way + "whatever"))
	}
	until(t, "all to be looked at", func() bool { s := r.Stats(); return s.Unroutable+s.Unwanted >= 2*(uint64(len(unroutable))+2-1) })
	for len(asks.hops) < 2 {
		if err := asks.read(); err != nil {
			t.Fatal(err)
		}
	}
	for _, data := range asks.hops {
		if want := "\x00whatever"; string(data) != want {
			t.Errorf("it gets %q, want %q", data, want)
		}
	}
	other.ping("still here")
	if len(other.hops) > 0 {
		t.Errorf("who did not ask gets %q", other.hops)
	}
}

// TestHopIsSmallEnough: whatever a broker has to say, the next one lets it pass.
func TestHopIsSmallEnough(t *testing.T) {
	m := newMaster(t)
	long := strings.Repeat("\x01", 1000)
	top := start(t, m, func(o *Options) { o.Name, o.Version = long, long })
	bottom := behind(t, m, top, func(o *Options) { o.Name, o.Version = long, long })
	bottom.connected()
	p := dial(t, bottom, as{minor: 1})
	p.send(AppendTrace(nil))
	for _, h := range p.traced(2) {
		if h.Name != long[:maxHopText] {
			t.Errorf("%+v", h)
		}
	}
}
