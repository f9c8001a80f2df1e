package pubproxy

import (
	"bytes"
	"io"
	"testing"
	"time"

	"salt-broker/internal/heartbeat"
	"salt-broker/internal/zmtp"
)

func TestMuteMasterIsLeftAndVanishedMinionsAreFreed(t *testing.T) {
	master := newPublisher(t) // answers no PING
	p := start(t, master.address(), func(o *Options) {
		o.HeartbeatInterval, o.HeartbeatTimeout = 20*time.Millisecond, 60*time.Millisecond
	})
	old := connect(t, p, 0, "") // does not know PING: nobody asks it
	connect(t, p, 1, "")        // never reads or writes again
	living := connect(t, p, 1, "")
	over := make(chan struct{})
	go func() {
		defer close(over)
		ping := make([]byte, len(zmtp.AppendPing(nil, 0, nil)))
		for {
			if _, err := io.ReadFull(living.nc, ping); err != nil {
				return
			}
			if _, err := living.nc.Write(zmtp.AppendPong(nil, nil)); err != nil {
				return
			}
		}
	}()
	for range 3 { // links, each with the subscription
		master.expect("link", "+")
	}
	eventually(t, p, "the vanished one freed", func(s Stats) bool {
		return s.Ends["heartbeat_timeout"] == 1 && s.Minions == 2
	})
	eventually(t, p, "PINGs counted", func(s Stats) bool {
		return s.MinionBeats.PingsSent >= 2 && s.MinionBeats.PongsReceived >= 1 && s.MinionBeats.Silent == 1 &&
			s.MasterBeats.PingsSent >= 2 && s.MasterBeats.PongsReceived == 0 && s.MasterBeats.Silent >= 2
	})
	_ = living.nc.Close()
	<-over
	old.settle()
}

// Heartbeats of others are counted as well: what each side asks, and what it answers without being asked.
func TestHeartbeatsOfPeersAreCounted(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), nil)
	master.expect("link")
	minion := connect(t, p, 1, "")
	minion.settle()
	minion.settle()
	minion.write(zmtp.AppendPong(nil, nil))
	ping, pong := zmtp.AppendPing(nil, 0, nil), zmtp.AppendPong(nil, nil)
	master.send(bytes.Join([][]byte{ping, pong, ping, pong, ping}, nil))
	eventually(t, p, "counted", func(s Stats) bool {
		return s.MinionBeats == heartbeat.Counts{PingsReceived: 2, PongsReceived: 1} &&
			s.MasterBeats == heartbeat.Counts{PingsReceived: 3, PongsReceived: 2}
	})
}

func TestMinionThatReadsSlowlyIsNotTakenForDead(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) {
		o.HeartbeatInterval, o.HeartbeatTimeout = 200*time.Millisecond, time.Minute
	})
	master.expect("link")
	slow := stall(t, p, "")
	const size, count = 1 << 20, 24
	one := len(message("", 0, size))
	for i := range count {
		master.send(message("", i, size))
	}
	eventually(t, p, "behind", func(s Stats) bool { return s.Behind == 1 && s.Publishes == count })
	// Now it is asked, while a message is half sent: the PING comes between two messages.
	ping := zmtp.AppendPing(nil, 0, nil)
	pings := 0
	for i := 0; i < count || pings == 0; {
		head := slow.read(2)
		if head[0] == zmtp.FlagCommand {
			if got := append(head, slow.read(int(head[1]))...); !bytes.Equal(got, ping) {
				t.Fatalf("command %x between messages", got)
			}
			pings++
			continue
		}
		if got := append(head, slow.read(one-2)...); !bytes.Equal(got, message("", i, size)) {
			t.Fatalf("message %d is not whole", i)
		}
		i++
	}
}
