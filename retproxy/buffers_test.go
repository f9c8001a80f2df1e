package retproxy

import (
	"bytes"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"salt-broker/internal/buffers"
	"salt-broker/internal/zmtp"
)

// tight gives a proxy a budget for all its buffers.
func tight(limit int64) (b *buffers.Budget, change func(*Options)) {
	log, _ := test.NewNullLogger()
	b = buffers.New(limit, log)
	return b, func(o *Options) { o.Buffers = b }
}

// TestManyLargeRequestsFitIntoASmallBudget: the master is away, and minions have twice as much for it as may wait
// here. Who has little is not kept waiting by who has much; when the master is back, all of it arrives, and nobody was
// sent away.
func TestManyLargeRequestsFitIntoASmallBudget(t *testing.T) {
	// Reading stops within two turns of the loop, each of which brings up to 64 KiB of each message, and one of them may be
	// read to its end then: that must be less than the fifth that there is room for.
	const size, large, small = 4<<20 - 64, 32, 50
	m := absentMaster(t)
	m.script = func(a *ask) { a.answer([]byte("done")) }
	b, change := tight(64 << 20)
	r := start(t, m, change)
	big := make([]byte, size)
	minions := make([]*peer, large)
	for i := range minions {
		minions[i] = dial(t, r, as{minor: 1})
		go func() { _, _ = minions[i].nc.Write(envelope(0, big)) }()
	}
	until(t, "reading to stop", b.Pressed)
	little := make([]*peer, small)
	for i := range little {
		little[i] = dial(t, r, as{minor: 1})
		little[i].asks("a little")
		little[i].ping("read that") // answered: it is read from
	}
	if used := b.Used(); used > b.Limit() {
		t.Errorf("%d bytes are buffered, %d may be", used, b.Limit())
	}
	m.open()
	for _, p := range minions {
		p.hears("done")
	}
	for _, p := range little {
		p.hears("done")
	}
	r.balanced()
	if s := r.Stats(); s.Ends["buffers_full"] != 0 || s.Forgotten != 0 {
		t.Errorf("%+v", s)
	}
	until(t, "the buffers to be empty", func() bool { return b.Used() < 1<<20 && !b.Pressed() })
}

// TestWhoHoldsMostGoes: a message that has no room even when everybody else has none. Reading it to its end passes the
// bound.
func TestWhoHoldsMostGoes(t *testing.T) {
	m := newMaster(t)
	b, change := tight(8 << 20)
	r := start(t, m, change)
	var others []*peer
	for range 6 {
		p := dial(t, r, as{minor: 1})
		go func() { _, _ = p.nc.Write(zmtp.AppendHeader(nil, zmtp.FlagMore, 0)) }() // something is half read
		others = append(others, p)
	}
	greedy := dial(t, r, as{minor: 1})
	go func() { _, _ = greedy.nc.Write(envelope(0, make([]byte, 16<<20))) }()
	greedy.gone()
	until(t, "its end to be counted", func() bool { return r.Stats().Ends["buffers_full"] == 1 })
	until(t, "its bytes to be free", func() bool { return b.Used() < b.Limit()/2 })
	for _, p := range others {
		p.send(zmtp.AppendFrame(nil, false, []byte("still here")))
		m.next().answer([]byte("yes"))
		p.hears("yes")
	}
}

// TestRepliesThatAreNotReadCount, until whoever does not read them leaves.
func TestRepliesThatAreNotReadCount(t *testing.T) {
	m := newMaster(t)
	b, change := tight(256 << 20)
	r := start(t, m, change)
	p := dial(t, r, as{socket: "DEALER", minor: 1})
	reply := bytes.Repeat([]byte("r"), 4<<20)
	for range 8 {
		p.asks("much")
	}
	for range 8 {
		go m.next().answer(reply)
	}
	until(t, "the replies to count", func() bool { return b.Used() > 16<<20 })
	p.leave()
	until(t, "them to be forgotten", func() bool { return b.Used() < 1<<20 })
	r.end()
	r.wait()
	if used := b.Used(); used != 0 {
		t.Errorf("%d bytes are counted when the proxy has ended", used)
	}
}
