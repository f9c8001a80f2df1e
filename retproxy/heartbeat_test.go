package retproxy

import (
	"bytes"
	"io"
	"testing"
	"time"

	"salt-broker/internal/heartbeat"
	"salt-broker/internal/zmtp"
)

// beating sets heartbeats that a test can wait for.
func beating(o *Options) {
	o.HeartbeatInterval, o.HeartbeatTimeout = 20*time.Millisecond, 400*time.Millisecond
}

func TestMasterThatGoesMuteIsLeftAndDialedAgain(t *testing.T) {
	m := newMaster(t)
	m.mute = true
	r := start(t, m, beating)
	minion := dial(t, r, as{}) // of ZMTP 3.0: nobody asks it for a sign of life
	minion.asks("lost")
	m.next()
	until(t, "the request to be given up with its link", func() bool { return r.Stats().LostWithLink == 1 })
	until(t, "other links", func() bool {
		for _, s := range r.Stats().Links {
			if s.Connections < 3 {
				return false
			}
		}
		return true
	})
	if s := r.Stats(); s.Minions != 1 || s.MasterBeats.PingsSent < 2 || s.MasterBeats.Silent < 2 || s.MasterBeats.PongsReceived != 0 ||
		s.MinionBeats != (heartbeat.Counts{}) {
		t.Errorf("%d minions are left; with the master %+v, with minions %+v", s.Minions, s.MasterBeats, s.MinionBeats)
	}
}

// Heartbeats of others are counted as well: what each side asks, and what it answers. Each link to the master asks once to
// measure the way.
func TestHeartbeatsOfPeersAreCounted(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, func(o *Options) { o.Loops = 1 })
	p := dial(t, r, as{minor: 1})
	p.ping("one")
	p.ping("two")
	p.send(zmtp.AppendPong(nil, nil))
	p.asks("the link's name")
	a := m.next()
	a.link.write(bytes.Repeat(zmtp.AppendPing(nil, 0, nil), 3))
	until(t, "all to be counted", func() bool {
		s := r.Stats()
		return s.MinionBeats == heartbeat.Counts{PingsReceived: 2, PongsReceived: 1} &&
			s.MasterBeats == heartbeat.Counts{PingsSent: 2, PongsReceived: 2, PingsReceived: 3}
	})
	a.answer([]byte("yes"))
	p.hears("yes")
}

func TestMinionThatHasVanishedIsFreed(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, beating)
	old := dial(t, r, as{})
	vanished := dial(t, r, as{minor: 1}) // never reads or writes again
	living := dial(t, r, as{minor: 1})
	go func() {
		for { // reads, and answers each PING with something
			before := living.pings
			if living.read() != nil {
				return
			}
			if living.pings > before {
				if _, err := living.nc.Write(zmtp.AppendPong(nil, nil)); err != nil {
					return
				}
			}
		}
	}()
	until(t, "the vanished one to be freed", func() bool {
		s := r.Stats()
		return s.Ends["heartbeat_timeout"] == 1 && s.Minions == 2
	})
	vanished.close()
	old.asks("still here")
	m.next().answer([]byte("yes"))
	old.hears("yes")
	for _, s := range r.Stats().Links {
		if s.Connections != 1 {
			t.Errorf("a link to a master that answers was made %d times", s.Connections)
		}
	}
}

func TestSlowReaderOfALargeReplyIsNoDeadOne(t *testing.T) {
	m := newMaster(t)
	much := bytes.Repeat([]byte("x"), 24<<20)
	m.script = func(a *ask) { a.answer(much) }
	r := start(t, m, func(o *Options) {
		o.HeartbeatInterval, o.HeartbeatTimeout = 150*time.Millisecond, 300*time.Millisecond
	})
	minion := dial(t, r, as{minor: 1})
	minion.asks("much")
	// Until the reply comes it answers like everybody.
	ping, pong := zmtp.AppendPing(nil, 0, nil), zmtp.AppendPong(nil, nil)
	head := make([]byte, len(ping))
	for {
		if _, err := io.ReadFull(minion.nc, head); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(head, ping) {
			break
		}
		if _, err := minion.nc.Write(pong); err != nil {
			t.Fatal(err)
		}
	}
	// Reading it takes far longer than the time-out, and nothing is written all the while.
	pace := time.NewTicker(25 * time.Millisecond)
	defer pace.Stop()
	buf := make([]byte, 512<<10)
	for got := len(head); got < 24<<20; {
		<-pace.C
		n, err := minion.nc.Read(buf)
		if err != nil {
			t.Fatalf("after %d bytes: %v; %v", got, err, r.Stats().Ends)
		}
		got += n
	}
}

// TestWhoAsksTooMuchAndNeverReadsIsFreed: who is excused from heartbeats while too much of its own waits here is watched
// again when it does not take the replies.
func TestWhoAsksTooMuchAndNeverReadsIsFreed(t *testing.T) {
	m := newMaster(t)
	much := bytes.Repeat([]byte("x"), 8<<10)
	m.script = func(a *ask) { a.answer(much) }
	r := start(t, m, beating)
	greedy := dial(t, r, as{socket: "DEALER", minor: 1})
	_ = greedy.nc.SetReadBuffer(4 << 10)
	one := zmtp.AppendFrame(zmtp.AppendFrame(nil, true, nil), false, []byte("x"))
	if _, err := greedy.nc.Write(bytes.Repeat(one, 4*maxHeldRequests)); err != nil {
		t.Fatal(err)
	}
	until(t, "its end", func() bool { return r.Stats().Ends["heartbeat_timeout"] == 1 })
	r.balanced()
}
