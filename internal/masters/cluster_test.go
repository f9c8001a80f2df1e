package masters

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

func cluster(names ...string) Options {
	o := failover(names...)
	o.Failover, o.Cluster = false, true
	return o
}

// peers are what requests are told now: each peer by its first path, the unhealthy ones in parentheses, and in brackets
// those that are healthy and do not have their minions.
func (s Serving) peers() string {
	var names []string
	for _, p := range s.Peers {
		name, _, _ := strings.Cut(p.Paths[0].Request, ":")
		switch {
		case !p.Healthy && p.Trusted:
			name += " is down and trusted"
		case !p.Healthy:
			name = "(" + name + ")"
		case !p.Trusted:
			name = "[" + name + "]"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// tells wants the channels to have been told so often, this the last time, and the watch to say so to who asks.
func (w *world) tells(times int, peers string) {
	w.t.Helper()
	if now := w.Serving().peers(); now != peers {
		w.t.Errorf("the peers are %s, want %s", now, peers)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.told) != times || times > 0 && w.told[times-1].peers() != peers {
		w.t.Errorf("%d times told, want %d", len(w.told), times)
	}
}

// saysHeld wants the log to have said for how long masters are without their minions: this, and no more.
func (w *world) saysHeld(want ...time.Duration) {
	w.t.Helper()
	var got []time.Duration
	for _, e := range w.hook.AllEntries() {
		if held, there := e.Data["held"]; there {
			got = append(got, held.(time.Duration))
		}
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("masters are held for %v, want %v", got, want)
	}
}

// has says what passes at a peer.
func (w *world) has(name string, t Traffic) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[name] = t
}

// asks is how often a master was asked.
func (w *world) asks(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[name+":4506"]
}

// A peer that goes down and comes back is said to, and it is said once. It gets its minions when it has been up for a
// while.
func TestPeerGoesAndComes(t *testing.T) {
	inWorld(t, cluster("a", "b", "c"), map[string]behavior{"c": refuses}, func(w *world) {
		w.after(time.Second, "a")
		w.tells(1, "a b (c)") // the first answer ever decides
		w.become(refuses, "b")
		w.Nudge(false)
		w.after(time.Second, "a")
		w.tells(2, "a (b) (c)")
		w.become(good, "b", "c")
		w.Nudge(true)
		w.after(2*again, "a")
		w.tells(4, "a [b] [c]")
		w.after(w.options.FailbackAfter-2*again, "a")
		w.tells(4, "a [b] [c]")
		w.after(2*again, "a")
		w.tells(5, "a b c")
		w.says(logrus.InfoLevel, "a master has its minions back", 2)
		w.become(refuses, "a")
		w.Nudge(false)
		w.after(time.Second, "a")
		w.tells(6, "(a) b c")
		w.says(logrus.InfoLevel, "another master serves", 0)
		if s := w.State(); !s.Cluster || s.Serving != "" || s.Masters[0].Serving || s.Masters[0].Health != Down || s.Moves[Failed] != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Before anything is known of a peer it is as good as any.
func TestPeersAreGoodUntilAsked(t *testing.T) {
	inWorld(t, cluster("a", "b"), map[string]behavior{"a": mute, "b": mute}, func(w *world) {
		w.tells(0, "a b")
		w.after(6*time.Second, "a")
		w.tells(2, "(a) (b)")
		w.says(logrus.WarnLevel, "no peer of the cluster answers", 1)
		w.says(logrus.WarnLevel, "no master answers", 0)
		w.become(good, "b")
		w.after(eager+2*again, "a")
		w.tells(3, "(a) b")
		w.says(logrus.InfoLevel, "a master of the list answers again", 1)
	})
}

// TestPeerThatFlaps: a peer that is up for five minutes and down for ten seconds, for a day. Each time that it has its
// minions costs all of them two authentications; without a growing hold there would be some 280.
func TestPeerThatFlaps(t *testing.T) {
	inWorld(t, cluster("a", "b", "c"), nil, func(w *world) {
		w.after(time.Second, "a")
		for range 24 * 3600 / 310 {
			w.become(refuses, "b")
			w.Nudge(false)
			w.after(10*time.Second, "a")
			w.become(good, "b")
			w.Nudge(true)
			w.after(5*time.Minute, "a")
		}
		w.says(logrus.InfoLevel, "a master has its minions back", 3) // after 1, 2 and 4 minutes; then 8 are not over
		if now := w.Serving().peers(); now != "a [b] c" {
			t.Errorf("the peers are %s", now)
		}
		w.after(longestHold, "a")
		w.says(logrus.InfoLevel, "a master has its minions back", 4)
		if now := w.Serving().peers(); now != "a b c" {
			t.Errorf("after a calm hour the peers are %s", now)
		}
	})
}

// Who is needed does not wait: minions that nobody else has taken over, or that nobody else can have now.
func TestPeersThatAreNeeded(t *testing.T) {
	inWorld(t, cluster("a", "b", "c"), nil, func(w *world) {
		w.after(time.Second, "a")
		w.become(refuses, "a", "b", "c") // the network is cut, for instance
		w.Nudge(false)
		w.after(time.Second, "a")
		w.tells(3, "(a) (b) (c)")
		w.become(good, "a", "b")
		w.Nudge(true)
		w.after(time.Second, "a")
		w.tells(5, "a b (c)")
		w.says(logrus.InfoLevel, "a master has its minions back", 0)
		w.saysHeld()
		w.become(refuses, "b")
		w.become(good, "c")
		w.Nudge(false)
		w.after(time.Second, "a")
		w.become(good, "b")
		w.Nudge(true)
		w.after(time.Second, "a")
		w.tells(8, "a [b] c") // nobody had c's either
		w.saysHeld(2 * w.options.FailbackAfter)
		w.become(refuses, "a", "c")
		w.Nudge(false)
		w.after(time.Second, "a")
		w.tells(10, "(a) b (c)")
		w.Apply(cluster("a", "c", "d"))
		w.Apply(cluster("a", "c"))
		w.become(good, "a")
		w.after(eager+2*again, "a")
		w.tells(13, "a (c)")
	})
}

// A reload may take away who had the minions, or shorten the wait.
func TestApplyToHeldPeers(t *testing.T) {
	inWorld(t, cluster("a", "b", "c"), map[string]behavior{"b": refuses, "c": refuses}, func(w *world) {
		w.after(time.Second, "a")
		w.become(good, "b", "c")
		w.after(w.options.Interval+again, "a")
		w.tells(4, "a [b] [c]")
		w.Apply(cluster("b", "c"))
		w.tells(5, "b c")
		w.become(refuses, "c")
		w.Nudge(false)
		w.after(time.Second, "b")
		w.become(good, "c")
		w.Nudge(false)
		w.after(time.Second, "b")
		w.tells(7, "b [c]")
		w.Apply(failover("b", "c"))
		o := cluster("b", "c")
		o.FailbackAfter = time.Second
		w.Apply(o)
		w.tells(9, "b [c]") // it has gone down twice
		w.after(time.Minute, "b")
		w.Apply(o)
		w.after(time.Minute+o.Interval, "b")
		w.tells(11, "b c")
	})
}

// A peer whose last answer was a bad one has its minions back when the next is a good one.
func TestDoubtfulPeer(t *testing.T) {
	c := choice{candidates: make([]candidate, 2), hold: time.Minute}
	now := time.Unix(1000, 0)
	c.judged(1, Down, now)
	now = now.Add(time.Hour)
	if back := c.release(now); back != nil {
		t.Errorf("%v has its minions, and is down", back)
	}
	c.judged(1, Up, now)
	if back := c.release(now); back != nil {
		t.Errorf("%v has its minions at once, since it was away for long", back)
	}
	now = now.Add(time.Minute)
	c.candidates[1].doubt = true
	if back := c.release(now); back != nil || c.candidates[1].trusted() {
		t.Errorf("%v has its minions", back)
	}
	c.candidates[1].doubt = false
	if back := c.release(now.Add(-1)); back != nil {
		t.Errorf("%v has its minions too soon", back)
	}
	if back := c.release(now); len(back) != 1 || back[0] != 1 || !c.candidates[1].trusted() {
		t.Errorf("%v has its minions", back)
	}
}

// A peer that is too busy for a probe is not dead as long as it answers others itself: what another one answers is of
// no account.
func TestBusyPeer(t *testing.T) {
	inWorld(t, cluster("a", "b", "c"), nil, func(w *world) {
		w.after(time.Second, "a")
		w.has("c", Traffic{})
		w.become(mute, "b", "c")
		for i := range uint64(600) {
			w.has("b", Traffic{Replies: i})
			time.Sleep(time.Second)
		}
		w.tells(1, "a b (c)")
		if s := w.State(); s.Masters[1].Paths[0].Failures != 0 {
			t.Errorf("%+v", s.Masters[1])
		}
	})
}

// A name that does not resolve is of no account for a peer that is connected.
func TestNamelessPeer(t *testing.T) {
	inWorld(t, cluster("a", "b", "c"), nil, func(w *world) {
		w.has("b", Traffic{Linked: true})
		w.has("c", Traffic{})
		w.become(nameless, "b", "c")
		w.after(5*time.Minute, "a")
		w.tells(1, "a b (c)")
	})
}

// Requests at a peer that answers none of them have it asked, however much the others answer, and long before the next
// probe.
func TestMutePeerWithRequests(t *testing.T) {
	o := cluster("a", "b")
	o.Interval = time.Hour
	inWorld(t, o, nil, func(w *world) {
		w.after(time.Second, "a")
		w.has("b", Traffic{InFlight: 1, Replies: 7})
		w.become(mute, "b")
		for i := range uint64(24) {
			w.has("a", Traffic{InFlight: 1, Replies: i})
			time.Sleep(time.Second)
		}
		w.tells(1, "a (b)")
		w.has("a", Traffic{})
		w.after(0, "a")
		before := w.asks("a")
		w.after(50*time.Second, "a") // requests that are there still: once for each time-out
		if n := w.asks("a") - before; n > 10 {
			t.Errorf("a is asked %d times in 50 s, because b does not answer", n)
		}
	})
}

// When a peer is in doubt it is to be known of the others whether they can have its minions.
func TestPeersAreAskedWhenOneIsInDoubt(t *testing.T) {
	o := cluster("a", "b", "c")
	o.Interval = time.Hour
	inWorld(t, o, nil, func(w *world) {
		w.after(time.Second, "a")
		w.become(refuses, "b", "c")
		w.paths[1][0].wake <- struct{}{}
		w.after(time.Second, "a")
		w.tells(2, "a (b) (c)")
	})
}

// Requests to each peer take the path that is up, whether publishes come from it or not.
func TestPathsToPeers(t *testing.T) {
	inWorld(t, cluster("a", "b+c"), nil, func(w *world) {
		w.after(time.Second, "a")
		w.become(refuses, "b")
		w.Nudge(false)
		w.after(time.Second, "a")
		w.tells(1, "a c")
		if w.told[0].Spare {
			t.Error("what is due by a path that is down is waited for")
		}
	})
}

// The list may become a cluster, and a cluster a list.
func TestApplyCluster(t *testing.T) {
	inWorld(t, failover("a", "b"), map[string]behavior{"b": refuses}, func(w *world) {
		w.after(time.Second, "a")
		w.tells(0, "")
		w.Apply(cluster("a", "b", "d"))
		w.tells(1, "a (b) d")
		w.Apply(cluster("d", "b"))
		w.tells(2, "d (b)")
		w.says(logrus.InfoLevel, "another master serves", 0)
		w.Apply(failover("a", "b"))
		w.tells(3, "")
	})
}

// A list of peers may be shuffled, so that not all brokers get publishes from the same one.
func TestShuffledCluster(t *testing.T) {
	const list = "a b c d e f g h i j k l m n o p q r s t"
	o := cluster(strings.Fields(list)...)
	o.Random = true
	inWorld(t, o, nil, func(w *world) {
		first := w.Serving().peers()
		if first == list {
			t.Error("it is as it was")
		}
		w.Apply(o)
		w.tells(1, first)
	})
}

// Peers with different keys are named once, not each time that minions authenticate at one and then at the other.
func TestKeysOfPeers(t *testing.T) {
	pem := func(of string) []byte { return []byte("-\n" + of + "\n-\n") }
	inWorld(t, cluster("a", "b", "c"), nil, func(w *world) {
		for range 3 {
			for _, name := range []string{"a", "b", "c"} {
				w.KeySeen(name+":4506", pem("of the cluster"))
			}
		}
		w.says(logrus.WarnLevel, "public key", 0)
		for range 3 {
			w.KeySeen("b:4506", pem("its own"))
			w.KeySeen("a:4506", pem("of the cluster"))
		}
		w.says(logrus.WarnLevel, "public key", 1)
		for i, want := range []string{"of the cluster", "its own", "of the cluster"} {
			if got := w.State().Masters[i].Key; got != fingerprint(pem(want)) {
				t.Error(fmt.Sprint(i, " ", got))
			}
		}
	})
}
