//go:build linux

package page

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/heartbeat"
	"salt-broker/internal/latency"
	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/internal/reactor"
	"salt-broker/internal/status"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// actor is a broker that says of itself what a test wants: what happens to a real one too seldom to wait for.
type actor struct {
	mu       sync.Mutex
	publish  pubproxy.Stats
	request  retproxy.Stats
	masters  masters.State
	restarts uint64
	stuck    bool

	server *status.Server
	stop   func()
}

// act changes what it says.
func (a *actor) act(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// startActor starts one that serves.
func startActor(t *testing.T, listen string) *actor {
	t.Helper()
	up := master.State{Connected: true, Master: "salt:4505", Address: netip.MustParseAddrPort("192.0.2.1:4505"), Since: time.Now(), Attempts: 1, Connections: 1}
	a := &actor{
		publish: pubproxy.Stats{Open: true, Minions: 3, Master: up, Loops: make([]reactor.LoopStats, 1), Ends: map[string]uint64{"left": 1, "too_slow": 0}},
		request: retproxy.Stats{Open: true, Links: []master.State{up, up}, Loops: make([]reactor.LoopStats, 1), Ends: map[string]uint64{"left": 1, "other": 0}},
	}
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	var err error
	a.server, err = status.New(t.Context(), status.Options{
		Listen: listen, Version: "1.2.3", Started: time.Now(), MaxInFlight: func() int { return 64 }, Log: log,
		PublishAddr: netip.MustParseAddrPort("192.0.2.2:4505"), RequestAddr: netip.MustParseAddrPort("192.0.2.2:4506"),
		Buffered: func() (int64, int64) { return 0, 1 << 30 },
		Masters: func() (s masters.State) {
			a.act(func() { s = a.masters; s.Masters = slices.Clone(s.Masters) })
			return s
		},
		Publish: func() (s pubproxy.Stats) {
			a.act(func() { s = a.publish; s.Ends = maps.Clone(s.Ends) })
			return s
		},
		Request: func() (s retproxy.Stats) {
			a.act(func() { s = a.request; s.Links, s.Ends = slices.Clone(s.Links), maps.Clone(s.Ends) })
			return s
		},
		Restarts: func() (publish, request uint64) {
			a.act(func() { request = a.restarts })
			return 0, request
		},
		Turned: []func(context.Context) error{func(ctx context.Context) error {
			stuck := false
			if a.act(func() { stuck = a.stuck }); !stuck {
				return nil
			}
			<-ctx.Done()
			return errors.New("request channel: loops [0] of 1 do not turn")
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.server.Live(ctx) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(a.stop)
	return a
}

// TestStates shows the page what goes wrong with a broker, one after the other, on a phone at night.
func TestStates(t *testing.T) {
	t.Parallel()
	p := tab{t, startBrowser(t)}
	a := startActor(t, "127.0.0.1:0")
	p.screen(360, true, "dark")
	p.call("Page.navigate", map[string]any{"url": fmt.Sprintf("http://%s/", a.server.Addr())}, nil)
	p.await("a broker that serves", `document.readyState === "complete" && state() === "served" && document.title === "salt-broker"`)
	served := now[string](p, `getComputedStyle(document.getElementById("state")).color`)

	for _, fault := range []struct {
		name          string
		begin, end    func()
		state, line   string
		detail, event string
		over          string // the event at its end
	}{
		{
			"a port is closed", func() { a.publish.Open = false }, func() { a.publish.Open = true },
			"closed", "A port is closed: not all minions are served",
			"the port 192.0.2.2:4505 takes no connections: its channel starts again (see the log), or on_master_loss has closed it",
			"The publish port is closed", "The publish port takes connections again",
		},
		{
			"the master is away", func() {
				for _, l := range []*master.State{&a.publish.Master, &a.request.Links[0], &a.request.Links[1]} {
					l.Connected, l.Since, l.LastError = false, time.Now(), errors.New("dial tcp 192.0.2.1: no route to host")
				}
			}, func() {
				for _, l := range []*master.State{&a.publish.Master, &a.request.Links[0], &a.request.Links[1]} {
					l.Connected, l.Connections = true, 2
				}
			},
			"away", "The master is away since", "no route to host",
			"Master lost: 0 of 2 links for requests are up, dial tcp 192.0.2.1: no route to host",
			"Master connected: 2 of 2 links for requests are up",
		},
		{
			"one link is away", func() { a.request.Links[1].Connected = false }, func() { a.request.Links[1].Connected = true },
			"away", "Not every link to the master is up", "1 of 2 links are down",
			"Master lost: 1 of 2 links for requests are up", "Master connected: 2 of 2 links for requests are up",
		},
		{
			"a loop is stuck", func() { a.stuck = true }, func() { a.stuck = false },
			"stuck", "An event loop does not turn", "request channel: loops [0] of 1 do not turn: stuck for 600ms, or the machine is overloaded",
			"request channel: loops [0] of 1 do not turn", "All event loops turn again",
		},
		{
			"a channel was started again", func() {
				a.restarts, a.request.Open = 1, false
				a.request.Ends["other"] = 700
			}, func() { a.request.Open = true },
			"closed", "A port is closed", "the port 192.0.2.2:4506 takes no connections",
			"Request channel restarted: 1 (failed)", "The request port takes connections again",
		},
	} {
		a.act(fault.begin)
		p.await(fault.name, fmt.Sprintf(`state() === %q && text("state").startsWith(%q) && text("detail").includes(%q) &&
			text("log").includes(%q) && document.title.endsWith("– salt-broker")`, fault.state, fault.line, fault.detail, fault.event))
		if color := now[string](p, `getComputedStyle(document.getElementById("state")).color`); color == served {
			t.Errorf("%s: it has the color of a broker that serves", fault.name)
		}
		p.fits(fault.name, 360)
		a.act(fault.end)
		p.await(fault.name+" no more", fmt.Sprintf(`state() === "served" && text("log").includes(%q)`, fault.over))
	}
	p.fails(a)
	p.spares(a)
	p.await("the restart's row", `rows("occurred").includes("Request channel restarted|failed|1|1") && rows("occurred").includes("Request connections ended|other|700|700")`)

	p.survives()
	a.act(func() { // what the charts have no other way to show
		a.publish.FanOut.Counts[latency.Bounds], a.publish.Lost = 5, 3
		a.publish.Behind, a.publish.Lag = 2, 12345
		a.publish.MasterBeats = heartbeat.Counts{Silent: 1}
	})
	p.await("what is beyond all bounds", `value("Fan-out of a publish", "99 % within") === "134 s" && value("Publishes", "last one's lag") === "12,345"`)
	p.await("losses", `text("log").includes("Publishes lost: 3 (pub_hwm)") && text("log").includes("Publish link given up: 1 (heartbeat_timeout)")`)

	a.server.Stopping()
	p.await("a broker that stops", `state() === "stops" && text("state") === "The broker has been told to stop" && text("log").includes("told to stop")`)
	p.keep("status-page-stops.png")
	if faults := p.complaints(); len(faults) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(faults, "\n"))
	}
	before := now[string](p, `value("Minions connected", "for publishes")`)
	a.stop()
	p.await("a broker that has gone", `state() === "lost" && text("state").startsWith("No connection to the broker since") && text("log").includes("The broker does not answer")`)
	if after := now[string](p, `value("Minions connected", "for publishes")`); after != before || after != "3" {
		t.Errorf("its last number was %q, and is %q", before, after)
	}
	p.fits("a broker that has gone", 360)

	startActor(t, a.server.Addr().String())
	p.await("another one in its place, which does not know what was before", `state() === "served" && text("log").includes("The broker answers again") &&
		text("log").split("salt-broker 1.2.3 has started").length === 3 && text("log").includes("The publish port takes connections again")`)
}

// fails has the master that serves answer no more, and then another one serve.
func (p tab) fails(a *actor) {
	p.Helper()
	if !now[bool](p, `document.getElementById("list").hidden`) {
		p.Error("masters are shown that nobody asks")
	}
	list := func(first, second masters.Health, serving int) {
		a.masters = masters.State{Asked: true, Masters: []masters.MasterState{
			{Name: "m1", Health: first, Since: time.Now(), Paths: []masters.PathState{{Latency: time.Millisecond}}},
			{Name: "m2", Health: second, Since: time.Now(), Paths: []masters.PathState{{Latency: 2 * time.Millisecond}}},
		}}
		if first == masters.Down {
			a.masters.Masters[0].Paths[0].LastError = errors.New("no answer in 3s")
		}
		a.masters.Masters[serving].Serving, a.masters.Serving = true, a.masters.Masters[serving].Name
	}
	a.act(func() { list(masters.Up, masters.Up, 0) })
	p.await("two masters", `!document.getElementById("list").hidden && rows("each").length === 2 && rows("each")[0].startsWith("m1|up, serves|") && rows("each")[1].includes("|2 ms|")`)
	a.act(func() { list(masters.Down, masters.Down, 0) })
	p.await("a master that does not answer", `state() === "away" && text("state") === "The master does not answer" &&
		text("detail").includes("no answer in 3s") && text("log").includes("The master m1 does not answer: no answer in 3s")`)
	p.fits("a master that does not answer", 360)
	a.act(func() { list(masters.Down, masters.Up, 1) })
	p.await("the other one", `state() === "served" && rows("each")[1].startsWith("m2|up, serves|") && rows("each")[0].endsWith("|no answer in 3s") &&
		text("log").includes("The master m2 serves, and m1 no more")`)
}

// spares has a peer of a cluster be away, whose minions the other one serves.
func (p tab) spares(a *actor) {
	p.Helper()
	peers := func(first retproxy.PeerStats, health masters.Health) {
		second := retproxy.PeerStats{Name: "m2", Serves: true, Links: []master.State{{Master: "m2:4506", Connected: true}}}
		a.request.Peers, a.request.Links = []retproxy.PeerStats{first, second}, slices.Concat(first.Links, second.Links)
		a.publish.Peers = []pubproxy.PeerStats{{Name: "m1", Warm: true}, {Name: "m2", Serves: true, Linked: true}}
		a.masters = masters.State{Asked: true, Cluster: true, Masters: []masters.MasterState{{Name: "m1", Health: health}, {Name: "m2", Health: masters.Up}}}
	}
	before := a.request.Links
	away := []master.State{{Master: "m1:4506"}}
	a.act(func() { peers(retproxy.PeerStats{Name: "m1", Links: away}, masters.Down) })
	p.await("a peer that is spared", `state() === "served" && text("detail").includes("2 of 3 links are up, and those to a peer of the cluster are not") &&
		rows("each")[0].startsWith("m1|down|") && rows("each")[1].startsWith("m2|up, publishes|")`)
	a.act(func() { peers(retproxy.PeerStats{Name: "m1", Serves: true, Links: away}, masters.Up) })
	p.await("one that is not yet", `state() === "away" && text("state") === "Not every link to the master is up"`)
	a.act(func() {
		a.masters, a.publish.Peers = masters.State{}, nil
		a.request.Peers, a.request.Links = nil, before
	})
	p.await("one master again", `state() === "served" && text("detail").includes("all 3 links to the master are up")`)
}

// survives opens the page anew: what has happened and the lines of charts are there again, and begin before the page did.
func (p tab) survives() {
	p.Helper()
	before := now[[]string](p, `rows("log")`)
	p.call("Page.reload", nil, nil)
	p.await("the page again", `document.readyState === "complete" && (state() === "served" || state() === "empty") && text("log").includes("has started")`)
	if after := now[[]string](p, `rows("log")`); !slices.Equal(after, before) {
		p.Errorf("the events were\n%s\nand when the page is opened again\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if first := now[float64](p, `parseFloat(card("Minions connected").querySelector("path.first").getAttribute("d").slice(1))`); first > 296 {
		p.Errorf("the line begins %.1f s ago, with the page", 300-first)
	}
}
