//go:build linux

package sim

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"salt-broker/internal/salt"
	"salt-broker/internal/zmtp"
)

// Master and minions against each other, nothing between them: nobody loses anything.
func TestNothingIsLost(t *testing.T) {
	const minions, jobs, rounds = 60, 40, 5
	for _, loops := range []int{1, 2} {
		for _, shape := range []Shape{Kept, Short, Mixed} {
			for _, version := range []zmtp.Version{{}, Version30} {
				t.Run(fmt.Sprintf("loops=%d/%s/%s", loops, shape, version), func(t *testing.T) {
					t.Parallel()
					master := startMaster(t, MasterOptions{Loops: loops})
					m := startMinions(t, master, MinionsOptions{Count: minions, First: 7, Loops: loops, Shape: shape, Version: version})
					must(t, master.AwaitSubscribed(within(t), "", minions))
					var last Job
					for range jobs {
						last = master.PublishJob(nil)
					}
					must(t, m.AwaitArrived(within(t), last.Order, minions))
					for round := range rounds {
						m.AskAll()
						must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Replies == uint64((round+1)*minions) }))
					}
					faultless(t, m)
					s := m.Stats()
					if s.Jobs != jobs*minions || s.Reached != minions || s.Delivery.Count != jobs*minions || s.Latency.Count != rounds*minions {
						t.Errorf("%+v", s)
					}
					var requestConnections uint64
					switch shape {
					case Kept:
						requestConnections = minions
					case Short:
						requestConnections = minions * rounds
					case Mixed:
						requestConnections = minions/2 + minions/2*rounds
					}
					if s.Handshakes != minions+requestConnections {
						t.Errorf("%d handshakes, want %d", s.Handshakes, minions+requestConnections)
					}
					if s := master.Stats(); s.Requests != rounds*minions || s.Replies != s.Requests || s.Foreign+s.Malformed+s.Refused+s.Dropped+s.Stray != 0 ||
						s.Deliveries != jobs*minions || s.UnderWay != 0 || s.MostUnderWay < 1 || s.Accepted != minions+requestConnections {
						t.Errorf("master: %+v", s)
					}
				})
			}
		}
	}
}

func TestFiltering(t *testing.T) {
	const minions = 30
	for _, version := range []zmtp.Version{{}, Version30} {
		t.Run(version.String(), func(t *testing.T) {
			master := startMaster(t, MasterOptions{Loops: 2})
			m := startMinions(t, master, MinionsOptions{Count: minions, Filtering: true, Version: version})
			must(t, master.AwaitSubscribed(within(t), Broadcast, minions))
			for i := range minions {
				must(t, master.AwaitSubscribed(within(t), Topic(MinionID(i)), 1))
			}
			var last Job
			for i := range 10 * minions {
				master.PublishJob([]byte(Topic(MinionID(i % minions))))
				if i%10 == 0 {
					last = master.PublishJob([]byte(Broadcast))
				}
			}
			last = master.PublishJob([]byte(Broadcast))
			must(t, m.AwaitArrived(within(t), last.Order, minions))
			faultless(t, m)
			if s := m.Stats(); s.Jobs != 10*minions+31*minions {
				t.Errorf("%d jobs arrived", s.Jobs)
			}
			m.Leave(3)
			must(t, master.AwaitSubscribed(within(t), Topic(MinionID(3)), 0))
			must(t, master.AwaitSubscribed(within(t), Broadcast, minions-1))
		})
	}
}

// A master that stops and comes back: what is missing is missing for the time away only, and everything goes on.
func TestMasterRestarts(t *testing.T) {
	const minions = 20
	master := startMaster(t, MasterOptions{})
	m := startMinions(t, master, MinionsOptions{Count: minions, Shape: Mixed, Interval: 50 * time.Millisecond, Reconnect: 5 * time.Millisecond})
	must(t, master.AwaitSubscribed(within(t), "", minions))
	must(t, m.AwaitArrived(within(t), master.PublishJob(nil).Order, minions))
	must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Replies > 2*minions }))
	for range 3 {
		must(t, master.Leave())
		must(t, master.Leave())
		if n := master.Subscribed(""); n != 0 {
			t.Errorf("%d subscriptions to a stopped master", n)
		}
		master.PublishJob(nil)
		must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Subscribed == 0 }))
		must(t, master.Start())
		if master.Start() == nil {
			t.Error("started twice")
		}
		must(t, master.AwaitSubscribed(within(t), "", minions))
		must(t, m.AwaitArrived(within(t), master.PublishJob(nil).Order, minions))
		replies := m.Stats().Replies
		must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Replies > replies+2*minions }))
	}
	faultless(t, m)
	if s := m.Stats(); s.MissedAway != 3*minions || s.Jobs != 4*minions || s.Cut != 3*minions {
		t.Errorf("%+v", s)
	}
	m.Rest()
	must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Waiting == 0 }))
	before := m.Stats().Requests
	m.Work()
	must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Requests > before }))
}

func TestRestingMinionsMakeNoRequests(t *testing.T) {
	master := startMaster(t, MasterOptions{})
	m := startMinions(t, master, MinionsOptions{Count: 5, Interval: time.Millisecond, Resting: true})
	must(t, m.AwaitSubscribed(within(t), 5))
	if s := m.Stats(); s.Requests != 0 {
		t.Errorf("%d requests", s.Requests)
	}
	m.Work()
	must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Replies > 20 }))
	faultless(t, m)
}

func TestMasterDropsConnections(t *testing.T) {
	master := startMaster(t, MasterOptions{})
	m := startMinions(t, master, MinionsOptions{Count: 10, Reconnect: time.Millisecond})
	must(t, master.AwaitSubscribed(within(t), "", 10))
	m.AskAll()
	must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Replies == 10 }))
	master.DropConnections()
	must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Cut == 10 && s.Subscribed == 10 }))
	m.AskAll()
	must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Replies == 20 }))
	faultless(t, m)
}

func TestMuteMasterTimesOut(t *testing.T) {
	for _, shape := range []Shape{Kept, Short} {
		t.Run(shape.String(), func(t *testing.T) {
			t.Parallel()
			master := startMaster(t, MasterOptions{})
			m := startMinions(t, master, MinionsOptions{Count: 5, Shape: shape, Timeout: 700 * time.Millisecond})
			must(t, master.AwaitSubscribed(within(t), "", 5))
			master.Mute(true)
			m.AskAll()
			master.PublishJob(nil)
			must(t, m.Await(within(t), func(s MinionsStats) bool { return s.TimedOut == 5 && s.Waiting == 0 }))
			if s := master.Stats(); s.Lost != 5 || s.UnderWay != 0 {
				t.Errorf("%+v", s)
			}
			master.Mute(false)
			m.AskAll()
			must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Replies == 5 }))
			must(t, m.AwaitArrived(within(t), master.PublishJob(nil).Order, 5))
			faultless(t, m)
			if s := m.Stats(); s.Jobs != 5 {
				t.Errorf("%d jobs, with one that nobody was to have", s.Jobs)
			}
		})
	}
}

func TestWorkers(t *testing.T) {
	const minions, workers = 12, 3
	master := startMaster(t, MasterOptions{ServiceTime: 5 * time.Millisecond, Workers: workers, Lose: func(n uint64) bool { return n == 4 }})
	m := startMinions(t, master, MinionsOptions{Count: minions, Timeout: patience, ReplyBytes: 3000})
	began := time.Now()
	m.AskAll()
	must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Replies == minions-1 }))
	if took := time.Since(began); took < 4*5*time.Millisecond {
		t.Errorf("%d requests of 5 ms took %s with %d workers", minions, took, workers)
	}
	if s := master.Stats(); s.Lost != 1 || s.UnderWay != 0 || s.MostUnderWay != minions-1 {
		t.Errorf("%+v", s)
	}
	if s := m.Stats(); s.Waiting != 1 || s.Latency.Max < 20*time.Millisecond {
		t.Errorf("%+v", s)
	}
	faultless(t, m)
}

func TestBusy(t *testing.T) {
	for _, shape := range []Shape{Kept, Short} {
		t.Run(shape.String(), func(t *testing.T) {
			master := startMaster(t, MasterOptions{})
			m := startMinions(t, master, MinionsOptions{Count: 8, Busy: true, Shape: shape})
			m.AskAll()
			must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Replies > 400 }))
			m.Rest()
			must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Waiting == 0 && s.Replies == s.Requests }))
			faultless(t, m)
		})
	}
}

// An answer of the test's own may come from elsewhere, late, twice, or for somebody who has left.
func TestAnswer(t *testing.T) {
	type asked struct {
		body  []byte
		reply func([]byte)
	}
	requests := make(chan asked, 3)
	master := startMaster(t, MasterOptions{Answer: func(request []byte, reply func([]byte)) {
		body, rest, err := zmtp.CutFrame(request)
		if err != nil || len(rest) > 0 {
			t.Errorf("%x after the first frame, %v", rest, err)
		}
		requests <- asked{append([]byte(nil), body...), reply}
	}})
	m := startMinions(t, master, MinionsOptions{Count: 3})
	m.AskAll()
	var all []asked
	for range 3 {
		select {
		case a := <-requests:
			all = append(all, a)
		case <-time.After(patience):
			t.Fatal("no request")
		}
	}
	if s := master.Stats(); s.UnderWay != 3 || s.MostUnderWay != 3 {
		t.Errorf("%+v", s)
	}
	for _, a := range all[1:] {
		reply, good := Answer(nil, a.body)
		if !good {
			t.Errorf("%x", a.body)
		}
		a.reply(reply)
		a.reply(reply)
	}
	must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Replies == 2 }))
	q, err := parseRequest(all[0].body)
	must(t, err)
	m.Leave(int(q.Minion))
	must(t, master.Await(within(t), func(s MasterStats) bool { return s.Requesters == 2 }))
	all[0].reply([]byte("too late"))
	must(t, master.Await(within(t), func(s MasterStats) bool { return s.Stray == 1 && s.UnderWay == 0 }))
	faultless(t, m)
}

// Minions see what is wrong, or nobody could rely on what they say.
func TestMinionsFindFaults(t *testing.T) {
	job := func(order, serial uint64) []byte {
		return AppendJob(nil, Job{Order: order, Serial: serial, Sent: time.Now()}, 0)
	}
	other := []byte(Topic(MinionID(99)))
	tests := map[string]struct {
		filtering bool
		publish   func(m *Master)
		count     func(s MinionsStats) uint64
		want      uint64
	}{
		"missing": {
			publish: func(m *Master) { m.Publish(nil, job(4, 4)) },
			count:   func(s MinionsStats) uint64 { return s.Missed }, want: 2,
		},
		"twice": {
			publish: func(m *Master) { m.Publish(nil, job(2, 2)); m.Publish(nil, job(2, 2)) },
			count:   func(s MinionsStats) uint64 { return s.Doubled }, want: 1,
		},
		"swapped": {
			publish: func(m *Master) { m.Publish(nil, job(3, 3)); m.Publish(nil, job(2, 2)) },
			count:   func(s MinionsStats) uint64 { return s.Missed + s.Doubled }, want: 2,
		},
		"damaged": {
			publish: func(m *Master) {
				p := job(2, 2)
				p[len(p)-1] ^= 1
				m.Publish(nil, p)
			},
			count: func(s MinionsStats) uint64 { return s.Damaged }, want: 1,
		},
		"not a job": {
			publish: func(m *Master) { m.Publish(nil, []byte("job")) },
			count:   func(s MinionsStats) uint64 { return s.Damaged }, want: 1,
		},
		"two frames": {
			publish: func(m *Master) { m.Publish([]byte{}, job(2, 2)) },
			count:   func(s MinionsStats) uint64 { return s.Damaged }, want: 1,
		},
		"for another": {
			filtering: true,
			publish: func(m *Master) {
				m.Publish([]byte(Topic(MinionID(0))), AppendJob(nil, Job{Order: 2, Serial: 1, Series: seriesOf(other)}, 0))
			},
			count: func(s MinionsStats) uint64 { return s.Strayed }, want: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			master := startMaster(t, MasterOptions{})
			var told atomic.Uint64
			m := startMinions(t, master, MinionsOptions{Count: 1, Filtering: test.filtering, OnFault: func(minion int, err error) {
				if minion != 0 || err == nil {
					t.Errorf("minion %d: %v", minion, err)
				}
				told.Add(1)
			}})
			topic := ""
			if test.filtering {
				topic = Broadcast
				must(t, master.AwaitSubscribed(within(t), Topic(MinionID(0)), 1))
			}
			must(t, master.AwaitSubscribed(within(t), topic, 1))
			if test.filtering {
				master.Publish([]byte(topic), job(1, 1))
			} else {
				master.Publish(nil, job(1, 1))
			}
			test.publish(master)
			must(t, m.Await(within(t), func(s MinionsStats) bool { return test.count(s) == test.want }))
			if s := m.Stats(); s.Faults() != test.want || s.FirstFault == nil || told.Load() == 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestMinionsFindWrongReplies(t *testing.T) {
	good := Question{Minion: 0, Nonce: 1, ReplyBytes: 50}
	tests := map[string][][]byte{
		"somebody else's": {appendAnswer(nil, Question{Minion: 1, Nonce: 1})},
		"an earlier one":  {appendAnswer(nil, Question{Minion: 0, Nonce: 0})},
		"bad load":        {salt.AppendRawString(nil, "bad load")},
		"empty":           {{}},
		"twice":           {appendAnswer(nil, good), appendAnswer(nil, good)},
		"damaged":         {append(appendAnswer(nil, good), 0)},
	}
	for name, replies := range tests {
		t.Run(name, func(t *testing.T) {
			l := rawMaster(t, replies)
			m, err := StartMinions(MinionsOptions{Count: 1, Request: l})
			must(t, err)
			t.Cleanup(func() { must(t, m.Stop()) })
			m.AskAll()
			must(t, m.Await(within(t), func(s MinionsStats) bool { return s.WrongReplies == 1 }))
		})
	}
}

// Minions answer PING, also between requests, and read what is cut anywhere.
func TestSlowReader(t *testing.T) {
	master := startMaster(t, MasterOptions{JobBytes: 64 << 10, MaxKept: 1 << 20})
	m := startMinions(t, master, MinionsOptions{Count: 2})
	must(t, master.AwaitSubscribed(within(t), "", 2))
	must(t, m.AwaitArrived(within(t), master.PublishJob(nil).Order, 2))
	m.PauseReading(1)
	var last Job
	for range 40 {
		for range 10 {
			last = master.PublishJob(nil)
		}
		must(t, m.AwaitArrived(within(t), last.Order, 1))
	}
	if s := master.Stats(); s.Dropped == 0 {
		t.Errorf("nothing was dropped for who does not read: %+v", s)
	}
	m.ResumeReading(1)
	must(t, m.Await(within(t), func(s MinionsStats) bool { return s.Jobs+master.Stats().Dropped == 2*401 }))
	if s := m.Stats(); s.Faults() != s.Missed {
		t.Errorf("%+v", s)
	}
}

func TestIdentityIsClaimed(t *testing.T) {
	for _, identity := range []string{"", "m1", string(make([]byte, 255))} {
		var s zmtp.Stream
		var seen sightings
		lim := zmtp.Limits{MaxMessage: 1 << 10, MaxFrames: 1, MaxCommand: 1 << 10}
		for _, version := range []zmtp.Version{{}, Version30} {
			s, seen = zmtp.Stream{}, sightings{}
			must(t, s.Feed(hello(version, zmtp.REQ, []byte(identity)), &lim, &seen))
			if string(seen.ready.Identity) != identity || seen.ready.SocketType != zmtp.REQ {
				t.Errorf("%+v", seen.ready)
			}
			if want := map[zmtp.Version]string{{}: "3.1", Version30: "3.0"}[version]; s.Version().String() != want {
				t.Errorf("greets with %s, want %s", s.Version(), want)
			}
		}
	}
}

type sightings struct{ ready zmtp.Ready }

func (s *sightings) Greeted(zmtp.Version) error { return nil }
func (s *sightings) Ready(r zmtp.Ready) error {
	s.ready = zmtp.Ready{SocketType: r.SocketType, Identity: append([]byte(nil), r.Identity...)}
	return nil
}
func (s *sightings) Message([]byte) error      { return nil }
func (s *sightings) Command(_, _ []byte) error { return nil }
