package status

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"salt-broker/internal/masters"
	"salt-broker/internal/reactor"
)

// lookedAt is what a broker says some seconds after noon.
func lookedAt(t *testing.T, b *broker, seconds float64) Report {
	t.Helper()
	s := &Server{options: b.options()}
	s.stopping.Store(b.stopping)
	r := s.report(t.Context())
	r.Now = noon.Add(time.Duration(seconds * float64(time.Second)))
	return r
}

func texts(events []Event) (all []string) {
	for _, e := range events {
		all = append(all, e.Text)
	}
	return all
}

// Each thing that an operator wants to know of is an event, and nothing is one that happens every minute.
func TestChanges(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(b *broker)
		want   []string
		back   []string // when it is again as it was
	}{
		{"minions come, go and ask", func(b *broker) {
			b.publish.Minions, b.publish.Accepted, b.publish.Publishes, b.request.Requests = 7, 9, 100, 100
			b.publish.Ends = map[string]uint64{"left": 20, "reset": 4}
			b.publish.Loops = make([]reactor.LoopStats, 3)
		}, nil, nil},
		{
			"the master goes", func(b *broker) {
				b.publish.Master.Connected, b.publish.Master.LastError = false, errTest
				b.request.Links[1].Connected = false
			},
			[]string{"Master lost: 0 of 1 links for publishes are up, connection refused", "Master lost: 1 of 2 links for requests are up"},
			[]string{"Master connected: 1 of 1 links for publishes are up", "Master connected: 2 of 2 links for requests are up"},
		},
		{
			"the master goes and comes between two looks", func(b *broker) { b.request.Links[0].Connections++ },
			[]string{"Master lost and connected again: 2 of 2 links for requests are up"},
			nil,
		},
		{
			"ports", func(b *broker) { b.publish.Open, b.request.Open = false, false },
			[]string{"The publish port is closed", "The request port is closed"},
			[]string{"The publish port takes connections again", "The request port takes connections again"},
		},
		{
			"a loop", func(b *broker) { b.stuck = []error{errTest} },
			[]string{"connection refused: stuck for 600ms, or the machine is overloaded"},
			[]string{"All event loops turn again"},
		},
		{"told to stop", func(b *broker) { b.stopping = true }, []string{"salt-broker has been told to stop"}, nil},
		{"drops", func(b *broker) {
			b.publish.Lost, b.publish.LostToLog = 5, 2
			b.request.Forgotten, b.request.LostWithLink, b.request.TooLarge, b.request.Overdue, b.request.Late = 1, 2, 3, 4, 5
			b.request.Unwanted, b.request.Unroutable = 6, 7
		}, []string{
			"Publishes lost: 3 (pub_hwm)", "Publishes lost: 2 (pub_log_size)", "Requests dropped: 2 (link_lost)",
			"Requests dropped: 1 (minion_left)", "Requests dropped: 3 (too_large)", "Requests overdue: 4 (request_deadline)",
			"Replies late: 5 (request_deadline)", "Replies dropped: 6 (minion_left)", "Replies dropped: 7 (unroutable)",
		}, nil},
		{"ends", func(b *broker) {
			b.publish.Ends = map[string]uint64{"left": 2, "too_slow": 1, "denied": 8}
			b.request.Ends = map[string]uint64{"left": 1, "not_zmtp": 3}
			b.publish.MasterBeats.Silent, b.request.MasterBeats.Silent = 1, 2
		}, []string{
			"Publish link given up: 1 (heartbeat_timeout)", "Request links given up: 2 (heartbeat_timeout)",
			"Publish connections ended: 8 (denied)", "Publish connections ended: 1 (too_slow)", "Request connections ended: 3 (not_zmtp)",
		}, nil},
		{
			"a master fails, and another one serves", func(b *broker) {
				list := slices.Clone(b.masters.Masters)
				list[0].Health, list[0].Serving = masters.Down, false
				list[0].Paths = []masters.PathState{{LastError: errTest}}
				list[1].Health, list[1].Serving = masters.Up, true
				b.masters.Masters, b.masters.Serving = list, "m2"
			},
			[]string{"The master m1 does not answer: connection refused", "The master m2 serves, and m1 no more"},
			[]string{"The master m1 answers again", "The master m1 serves, and m2 no more"},
		},
		{"another list of masters", func(b *broker) {
			b.masters.Masters = []masters.MasterState{{Name: "m1", Health: masters.Up, Serving: true}, {Name: "m9", Health: masters.Down}}
		}, nil, nil},
		{
			"restarts", func(b *broker) { b.restarts = 2 },
			[]string{"Publish channel restarted: 2 (failed)", "Request channel restarted: 2 (failed)"},
			nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := healthy()
			test.change(b)
			before, after := lookedAt(t, healthy(), 0), lookedAt(t, b, 1)
			if got := said(changes(&before, &after)); !slices.Equal(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
			if got := said(changes(&after, &before)); !slices.Equal(got, test.back) {
				t.Errorf("and back: %q, want %q", got, test.back)
			}
		})
	}
}

func said(all []change) (texts []string) {
	for _, c := range all {
		texts = append(texts, c.String())
	}
	return texts
}

// The same again is added up for a minute; the latest come first, and there is an end of them.
func TestEvents(t *testing.T) {
	var p past
	lost := healthy()
	note := func(seconds float64, more uint64) {
		lost.publish.Lost += more
		p.note(lookedAt(t, lost, seconds))
	}
	note(0, 0)
	note(1, 3)
	note(30, 4)
	note(89, 1)
	note(149, 1) // a minute after the last
	want := []Event{
		{noon.Add(149 * time.Second), noon.Add(149 * time.Second), "Publishes lost: 1 (pub_hwm)"},
		{noon.Add(time.Second), noon.Add(89 * time.Second), "Publishes lost: 8 (pub_hwm)"},
		{noon, noon, "salt-broker 1.2.3 has started"},
	}
	if got := p.events(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for i := range maxEvents {
		note(300+100*float64(i), 1)
	}
	if got := p.events(); len(got) != maxEvents || !got[maxEvents-1].First.Equal(noon.Add(300*time.Second)) {
		t.Errorf("%d events, the first %v", len(got), got[len(got)-1])
	}
}

// What is kept goes back five minutes.
func TestKept(t *testing.T) {
	var p past
	r := lookedAt(t, healthy(), 0)
	for second := range 1000 {
		r.Now = noon.Add(time.Duration(second) * time.Second)
		p.note(r)
	}
	kept := p.reports()
	if n := len(kept); n != int(keepFor/keepEvery)+1 || kept[0].Now != noon.Add(695*time.Second) || kept[n-1].Now != noon.Add(995*time.Second) {
		t.Errorf("%d reports, from %v to %v", n, kept[0].Now, kept[n-1].Now)
	}
}

// A server looks at the broker without being asked, and hands out what it has seen.
func TestLooks(t *testing.T) {
	o := healthy().options()
	looks := 0 // of the server's goroutine only: nobody asks for metrics or status
	o.Restarts = func() (uint64, uint64) { looks++; return uint64(looks), 0 }
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s.every = time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Live(ctx) }()
	url := "http://" + s.Addr().String()
	for late := time.Now().Add(patience); len(s.past.events()) < 2; {
		if time.Now().After(late) {
			t.Fatal("it does not look")
		}
		time.Sleep(time.Millisecond)
	}
	history := into[[]Report](t, body(t, url+"/history"))
	if len(history) != 1 || history[0].Events != nil || history[0].Publish.RestartsTotal != 1 {
		t.Errorf("%+v", history)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var report Report
	text, err := json.Marshal(s.reported(t.Context()))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if want := "Publish channel restarted: "; err != nil || !strings.HasPrefix(report.Events[0].Text, want) || texts(report.Events)[1] != "salt-broker 1.2.3 has started" {
		t.Errorf("%v, %q", err, texts(report.Events))
	}
}

// whatInScript matches a row of the page's table of counters.
var whatInScript = regexp.MustCompile(`\{ what: "([^"]+)", path: "([^"]+)"`)

// The page's table of drops and ends has what the events know, and more only what happens every minute.
func TestPageWorriesAsTheServer(t *testing.T) {
	var inPage, here []string
	for _, found := range whatInScript.FindAllStringSubmatch(string(page), -1) {
		inPage = append(inPage, found[1])
	}
	r := lookedAt(t, realChannels(t), 0)
	for _, w := range worries(&r) {
		if !slices.Contains(here, w.what) {
			here = append(here, w.what)
		}
	}
	slices.Sort(inPage)
	slices.Sort(here)
	if fmt.Sprint(inPage) != fmt.Sprint(here) || len(here) < 10 {
		t.Errorf("the page has %q, and events are %q", inPage, here)
	}
}
