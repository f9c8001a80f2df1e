//go:build linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tiny is enough to see that every part works.
var tiny = pace{
	stream: 50 * time.Millisecond,
	look:   10 * time.Millisecond, patience: 20 * time.Second,
}

// small is the scenarios' work, each with a few minions.
var small = []*scenario{
	{name: "stream", minions: 5, metrics: []metric{cpuDelivery, deliveries}, work: stream},
	{name: "filtered", minions: 5, topics: true, metrics: []metric{cpuDelivery, deliveries}, work: filtered},
	{name: "requests", askers: 5, metrics: []metric{cpuRequest, requests, replyP99}, work: func(w *worker) error { return closedLoop(w, middleBytes, false) }},
	{name: "short", askers: 5, metrics: []metric{cpuRequest, requests, replyP99}, work: func(w *worker) error { return closedLoop(w, smallBytes, true) }},
}

// What matters most gets its figures from everybody who is there. HAProxy and nginx need not be.
func TestWork(t *testing.T) {
	program := buildProgram(t)
	c := testConductor(t, options{relays: relays, saltBroker: program, rounds: 1})
	there := c.look()
	for name, why := range c.record.Missing {
		if name == ours || os.Getenv("SALT_BROKER_REQUIRE_TOOLS") == "1" && name != "haproxy" && name != "nginx" {
			t.Fatalf("%s is not there: %s", name, why)
		}
		t.Logf("%s is not there: %s", name, why)
	}
	for i, s := range small {
		some := there
		if i%2 == 1 { // the others have been seen to work, and Python takes its time to start
			some = slices.DeleteFunc(slices.Clone(there), func(r *relay) bool { return r.name != ours && r.name != "floor" })
		}
		if failed := c.perform(t.Context(), s, some); failed > 0 {
			t.Errorf("%s failed with %d", s.name, failed)
		}
		rounds := c.record.scenario(s.name).Rounds
		if len(rounds) != len(some) {
			t.Errorf("%s: %d turns, want %d", s.name, len(rounds), len(some))
		}
		for _, round := range rounds {
			for _, m := range s.metrics {
				if round.Values[m.key] <= 0 {
					t.Errorf("%s with %s: %s is %v; %s", s.name, round.Relay, m.key, round.Values[m.key], round.Error)
				}
			}
		}
	}
}

func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "salt-broker")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "salt-broker/cmd/salt-broker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return program
}

// A failure happens, minions notice it, and it is kept. The second master has everything that the first one had not.
func TestFailure(t *testing.T) {
	t.Parallel()
	o := options{saltBroker: buildProgram(t), event: "back, failback", out: filepath.Join(t.TempDir(), "record.json")}
	if err := fail(t.Context(), o, t.Output()); err != nil {
		t.Fatal(err)
	}
	r, err := loadAvailability(o.out)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Events) != 1 || r.Events[0].Notices == nil {
		t.Fatalf("%+v", r)
	}
	n := r.Events[0].Notices
	// It takes two seconds until the first one serves again, and minions are there all the time.
	if n.Minions != siteMinions || n.Published < 100 || n.PublishesLost > n.Published/2 || n.PublishesTwice+n.PublishesLate+n.RequestsTwice+n.Cut > 0 {
		t.Errorf("%+v", n)
	}
	if n.PublishGap < publishEvery.Seconds() || n.PublishGapLast < n.PublishGap || n.ReplyGap < askEvery.Seconds()/2 || n.ReplyGapLast < n.ReplyGap {
		t.Errorf("%+v", n)
	}
}

// Who is not installed is named with the reason and left out; the others go on.
func TestMissingRelayIsNamed(t *testing.T) {
	absent := &relay{name: "absent", version: func(*tools) (string, error) { return "", errors.New("apt install absent") }}
	present := &relay{name: "present", version: func(*tools) (string, error) { return "1", nil }}
	c := testConductor(t, options{relays: []*relay{absent, present}})
	if there := c.look(); len(there) != 1 || there[0] != present {
		t.Errorf("there are %q", relayNames(there))
	}
	if why := c.record.Missing["absent"]; why != "apt install absent" {
		t.Errorf("absent is missing because of %q", why)
	}
}

// A relay that does not work fails its turn and says why; it does not look like one that is quick.
func TestBrokenRelayFails(t *testing.T) {
	broken := &relay{name: "broken", links: true, fits: once, commands: saltBroker("")}
	c := testConductor(t, options{relays: []*relay{broken}, saltBroker: "/bin/false", rounds: 2})
	if failed := c.perform(t.Context(), small[0], []*relay{broken}); failed != 2 {
		t.Errorf("%d turns failed, want 2", failed)
	}
	for _, r := range c.record.Scenarios[0].Rounds {
		if !strings.Contains(r.Error, "/bin/false has ended") || len(r.Values) > 0 {
			t.Errorf("a round that failed: %+v", r)
		}
	}
}

func testConductor(t *testing.T, o options) *conductor {
	t.Helper()
	tools, err := newTools(o.saltBroker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tools.dir) })
	o.out = filepath.Join(t.TempDir(), "record.json")
	return &conductor{options: o, tools: tools, record: newRecord(tools), out: t.Output(), pace: tiny}
}
