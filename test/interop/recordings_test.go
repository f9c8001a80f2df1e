package interop_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"salt-broker/internal/zmtp"
)

// line is one line of a recording; testdata/recordings/README says what is in them.
type line struct {
	T      float64  `json:"t"`
	Dir    string   `json:"dir"` // up, or down
	Frames [][]byte `json:"frames"`
}

func recording(t testing.TB, name string) []line {
	t.Helper()
	f, err := os.Open("testdata/recordings/" + name + ".jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []line
	for d := json.NewDecoder(z); ; {
		var l line
		err := d.Decode(&l)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s, line %d: %v", name, len(all)+1, err)
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return all
}

// depths are how many brokers stand between the minions and the master.
var depths = []struct {
	name    string
	brokers int
}{
	{"one broker", 1},
	{"three brokers in a row", 3},
}

// TestRecordedPublishes has a stand-in master publish what a real one did, to minions with the subscriptions of the real
// ones. Each must get its own, in order, byte for byte, and nothing else.
func TestRecordedPublishes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		perMinion int     // subscriptions
		restart   float64 // when the master was restarted; 0: never
	}{
		{"plain", 1, 0},
		{"filtering", 2, 0},
		{"restart", 1, 35},
	} {
		for _, depth := range depths {
			t.Run(tt.name+"/"+depth.name, func(t *testing.T) {
				lines := recording(t, tt.name+".pub")
				topics, published := subscriptions(lines, tt.perMinion)
				if len(topics) != 3 || len(published) == 0 {
					t.Fatalf("%d minions and %d messages are recorded", len(topics), len(published))
				}

				master := newStandIn(t, "127.0.0.1:0", zmtp.PUB)
				bottom := master.address()
				for range depth.brokers {
					bottom = startPublish(t, bottom).address()
				}
				link := master.link(t)

				var union []string
				minions := make([]*wire, len(topics))
				for i, mine := range topics {
					minions[i] = dial(t, bottom, zmtp.SUB, byte(i%2)) // of an old libzmq and of a new one
					minions[i].subscribe(t, i%2 > 0, mine...)
					for _, topic := range mine {
						if !slices.Contains(union, "+"+topic) {
							union = append(union, "+"+topic)
						}
					}
				}
				master.hears(t, union...)
				for i, m := range minions { // what more the minions say is heard when all before it has been
					marker := fmt.Sprint("marker ", i)
					m.subscribe(t, i%2 > 0, marker)
					master.hears(t, "+"+marker)
					union = append(union, "+"+marker)
				}

				for i, l := range published {
					if tt.restart > 0 && l.T > tt.restart && published[i-1].T < tt.restart {
						for _, m := range minions { // what was published before must not hide in the dying connection
							m.settle(t)
						}
						wait(t, minions, topics, published[:i])
						master.drop()
						link = master.link(t)
						master.hears(t, union...)
					}
					link.send(t, l.Frames...)
				}
				for i, m := range minions {
					link.send(t, []byte(fmt.Sprint("marker ", i)), []byte("the end"))
					want := expected(topics[i], published)
					if len(want) == 0 {
						t.Fatalf("minion %d gets nothing in this recording", i)
					}
					same(t, fmt.Sprint("minion ", i), m.recvDigests(t, len(want)), want)
				}
				for i, m := range minions {
					// Those that are subscribed to everything get the last words of all.
					for k := range minions {
						if k == i || slices.Contains(topics[i], "") {
							words := m.recv(t)
							if got, want := string(words[0]), fmt.Sprint("marker ", k); got != want {
								t.Errorf("minion %d got %q at the end, want %q", i, got, want)
							}
						}
					}
					m.leave(t)
				}
			})
		}
	}
}

// wait reads, without taking it, what minions are to get of the messages so far.
func wait(t *testing.T, minions []*wire, topics [][]string, published []line) {
	t.Helper()
	for i, m := range minions {
		for want := len(expected(topics[i], published)); len(m.messages) < want; {
			if err := m.fill(); err != nil {
				t.Fatalf("minion %d has %d of %d messages: %v", i, len(m.messages), want, err)
			}
		}
	}
}

// subscriptions returns the topics of each minion, and the messages.
func subscriptions(lines []line, perMinion int) (topics [][]string, published []line) {
	for _, l := range lines {
		if l.Dir == "down" {
			published = append(published, l)
			continue
		}
		if len(topics) == 0 || len(topics[len(topics)-1]) == perMinion {
			topics = append(topics, nil)
		}
		last := &topics[len(topics)-1]
		*last = append(*last, string(l.Frames[0][1:]))
	}
	return topics, published
}

// expected is what a minion with these topics is to get.
func expected(topics []string, published []line) []string {
	var want []string
	for _, l := range published {
		if slices.ContainsFunc(topics, func(topic string) bool { return strings.HasPrefix(string(l.Frames[0]), topic) }) {
			want = append(want, digest(l.Frames...))
		}
	}
	return want
}

// TestRecordedRequests has stand-in minions ask what real ones did, and a stand-in master answer what a real one did, in
// the recorded order. Every request must reach the master byte for byte behind its envelope, and the reply the very
// connection that asked.
func TestRecordedRequests(t *testing.T) {
	for _, name := range []string{"plain", "filtering", "restart"} {
		for _, depth := range depths {
			for _, shape := range []struct {
				name string
				keep bool
			}{
				{"a connection each", false},
				{"kept connections", true},
			} {
				t.Run(name+"/"+depth.name+"/"+shape.name, func(t *testing.T) {
					replayRequests(t, recording(t, name+".ret"), depth.brokers, shape.keep)
				})
			}
		}
	}
}

func replayRequests(t *testing.T, lines []line, brokers int, keep bool) {
	t.Helper()
	master := newStandIn(t, "127.0.0.1:0", zmtp.ROUTER)
	bottom := master.address()
	var lowest requestBroker
	for range brokers {
		lowest = startRequest(t, bottom)
		lowest.linked(t)
		bottom = lowest.address()
	}

	type asked struct {
		minion   *wire
		at       heard
		envelope [][]byte
	}
	waiting := make(map[string]asked) // by the routing id of the recording
	var idle, all []*wire
	answers := 0
	for i, l := range lines {
		id, frames := string(l.Frames[0]), l.Frames[1:]
		if l.Dir == "up" {
			var m *wire
			if len(idle) > 0 {
				m, idle = idle[0], idle[1:]
			} else {
				m = dial(t, bottom, zmtp.REQ, byte(len(all)%2))
				all = append(all, m)
			}
			m.send(t, frames...)
			h := master.next(t)
			depth := len(h.frames) - len(frames)
			if depth != brokers || !slices.Equal(digests(h.frames[depth:]), digests(frames)) {
				t.Fatalf("line %d: the master got a request of %d frames; want the recorded %d behind %d routing frames",
					i+1, len(h.frames), len(frames), brokers)
			}
			if _, twice := waiting[id]; twice {
				t.Fatalf("line %d: the recording has a request for this id under way", i+1)
			}
			waiting[id] = asked{m, h, h.frames[:depth]}
			continue
		}
		a, ok := waiting[id]
		if !ok {
			t.Fatalf("line %d: a reply to nobody is recorded", i+1)
		}
		delete(waiting, id)
		a.at.link.send(t, slices.Concat(a.envelope, frames)...)
		if got := a.minion.recv(t); digest(got...) != digest(frames...) {
			t.Fatalf("line %d: the minion got a reply of %d frames that is not the recorded one", i+1, len(got))
		}
		answers++
		if keep {
			idle = append(idle, a.minion)
		} else {
			a.minion.leave(t)
		}
	}
	if len(waiting) != 0 || answers == 0 {
		t.Fatalf("%d answers, and %d requests without one are recorded", answers, len(waiting))
	}
	if keep && len(all) >= answers {
		t.Errorf("%d connections for %d requests: none was kept", len(all), answers)
	}
	if keep {
		for _, m := range all {
			m.leave(t)
		}
	}
	s := lowest.Stats()
	if s.Requests != uint64(answers) || s.Replies != uint64(answers) || s.Unwanted+s.Unroutable+s.Late != 0 {
		t.Errorf("after %d requests: %+v", answers, s)
	}
}

// digests are those of frames, one each.
func digests(frames [][]byte) []string {
	all := make([]string, len(frames))
	for i, f := range frames {
		all[i] = digest(f)
	}
	return all
}
