//go:build linux

package sim

import (
	"sync/atomic"
	"testing"
	"time"
)

// Minions that insist ask again until the master answers, over the connection or over a new one, and then rest. The
// master, mute at first, sees who waits for what.
func TestInsist(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(map[bool]string{false: "closing", true: "keeping"}[keep], func(t *testing.T) {
			const minions = 20
			var m atomic.Pointer[Minions]
			var waited, asked atomic.Int64
			master := startMaster(t, MasterOptions{
				OnRequest: func(minion int, request uint64) {
					if all := m.Load(); all != nil && all.Waits(minion, request) {
						waited.Add(1)
					}
				},
				Lose: func(uint64) bool { return asked.Add(1) <= 2*minions },
			})
			all := startMinions(t, master, MinionsOptions{
				Count: minions, Insist: true, KeepOnTimeout: keep, Timeout: 30 * time.Millisecond, Reconnect: time.Millisecond,
			})
			m.Store(all)
			all.AskAll()
			must(t, all.Await(within(t), func(s MinionsStats) bool { return s.Replies == minions && s.Waiting == 0 }))
			faultless(t, all)
			s := all.Stats()
			if s.TimedOut < 2*minions || s.Requests != s.TimedOut+s.Broken+s.Replies {
				t.Errorf("%+v", s)
			}
			if keep && s.Handshakes != minions+minions { // and the subscriptions
				t.Errorf("%d handshakes of minions that keep their connection", s.Handshakes)
			}
			if waited.Load() < minions {
				t.Errorf("%d requests were waited for", waited.Load())
			}
			if all.Waits(0, 1) || all.Waits(minions, 1) || all.Waits(-1, 1) {
				t.Error("somebody waits for nothing")
			}
		})
	}
}

// A reply that comes after its minion has given up is late, and only the one that it waits for counts.
func TestLateReply(t *testing.T) {
	replies := make(chan func(body []byte), 16)
	bodies := make(chan []byte, 16)
	master := startMaster(t, MasterOptions{Answer: func(request []byte, reply func([]byte)) {
		body, _ := Answer(nil, request[2:]) // behind the header of a short frame
		bodies <- body
		replies <- reply
	}})
	all := startMinions(t, master, MinionsOptions{
		Count: 1, RequestBytes: 200, Insist: true, KeepOnTimeout: true, Timeout: 20 * time.Millisecond, Reconnect: time.Millisecond,
	})
	all.AskAll()
	must(t, all.Await(within(t), func(s MinionsStats) bool { return s.TimedOut >= 1 }))
	(<-replies)(<-bodies)
	must(t, all.Await(within(t), func(s MinionsStats) bool { return s.Late == 1 }))
	faultless(t, all)
	if s := all.Stats(); s.Replies != 0 {
		t.Errorf("%+v", s)
	}
}
