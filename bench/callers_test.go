//go:build linux

package main

import (
	"net"
	"testing"

	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

// Somebody who calls takes the reply to the request that is open, and nothing else.
func TestCallersCheck(t *testing.T) {
	reply := func(minion uint32, nonce uint64, spoil int) []byte {
		scratch := []byte(nil)
		q := sim.Question{Minion: minion, Nonce: nonce, ReplyBytes: smallBytes}
		body, good := sim.Answer(nil, sim.AppendRequest(nil, q, smallBytes, []byte(sim.MinionID(int(minion))), &scratch))
		if !good {
			t.Fatal("the master does not understand the request")
		}
		if spoil >= 0 {
			body[spoil] ^= 1
		}
		return zmtp.AppendFrame([]byte{zmtp.FlagMore, 0}, false, body)
	}
	const whole = -1
	for name, c := range map[string]struct {
		replies [][]byte
		good    bool
	}{
		"right":             {[][]byte{reply(7, 3, whole)}, true},
		"twice":             {[][]byte{reply(7, 3, whole), reply(7, 3, whole)}, false},
		"of another":        {[][]byte{reply(8, 3, whole)}, false},
		"of another time":   {[][]byte{reply(7, 2, whole)}, false},
		"damaged":           {[][]byte{reply(7, 3, smallBytes/2)}, false},
		"damaged end":       {[][]byte{reply(7, 3, smallBytes-1)}, false},
		"without delimiter": {[][]byte{reply(7, 3, whole)[2:]}, false},
		"cut short":         {[][]byte{zmtp.AppendFrame([]byte{zmtp.FlagMore, 0}, false, reply(7, 3, whole)[11:200])}, false},
	} {
		t.Run(name, func(t *testing.T) {
			one := &caller{callers: &callers{waiting: 1}, number: 7, nonce: 3, waits: true}
			var err error
			for _, msg := range c.replies {
				if err == nil {
					err = one.Message(msg)
				}
			}
			if (err == nil) != c.good {
				t.Errorf("error: %v", err)
			}
			if c.good && (one.callers.answered() != 1 || len(one.callers.exchanges) != 1 || one.callers.exchanges[0].latency <= 0 || one.callers.waiting != 0) {
				t.Errorf("%d replies, %v", one.callers.answered(), one.callers.exchanges)
			}
		})
	}
}

// A connection that ends before the reply is a fault, and so is one that cannot be made.
func TestCallersNoticeWhoLeaves(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := startCallers(Askers{Port: l.Addr().(*net.TCPAddr).AddrPort().Port(), Count: 1, Bytes: smallBytes, Short: true})
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	one := c.(*callers)
	if n := c.waits(); n != 1 || c.verdict() != nil {
		t.Errorf("%d wait; %v", n, c.verdict())
	}
	_, _ = peer.Close(), l.Close()
	for c.waits() > 0 {
	}
	if c.verdict() == nil {
		t.Error("a connection that ended without a reply is no fault")
	}
	one.loop.do(func() { _ = one.all[0].call() })
	if one.loop.do(func() { one.loop.leave = true }); one.faults != 2 || one.waiting != 0 {
		t.Errorf("%d faults, %d wait", one.faults, one.waiting)
	}
}
