package status

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/retproxy"
)

// of has the broker's requests go to the peers of a cluster.
func of(b *broker, peers ...retproxy.PeerStats) {
	b.request.Peers, b.request.Links = peers, nil
	for _, p := range peers {
		b.request.Links = append(b.request.Links, p.Links...)
	}
}

func TestHealth(t *testing.T) {
	down := master.State{Master: "salt:4506", Since: noon, LastError: errTest}
	for _, test := range []struct {
		name   string
		change func(b *broker)
		live   []string // the reasons' checks
		ready  []string
		says   string
	}{
		{"all is well", func(*broker) {}, nil, nil, ""},
		{
			"a loop is stuck", func(b *broker) { b.stuck = []error{errors.New("publish channel: loops [1] of 2 do not turn"), errTest} },
			[]string{CheckLoops, CheckLoops},
			[]string{CheckLoops, CheckLoops},
			"publish channel: loops [1] of 2 do not turn: stuck for 600ms, or the machine is overloaded\n",
		},
		{"publish port", func(b *broker) { b.publish.Open = false }, nil, []string{CheckPublishPort}, "the port 192.0.2.2:4505 takes no connections"},
		{"request port", func(b *broker) { b.request.Open = false }, nil, []string{CheckRequestPort}, "the port 192.0.2.2:4506 takes no connections"},
		{
			"publish link", func(b *broker) { b.publish.Master = down }, nil,
			[]string{CheckPublishLink},
			"the master salt:4506 is not connected for publishes since 2026-11-21T12:00:00Z: connection refused",
		},
		{
			"one of the request links", func(b *broker) { b.request.Links[1] = down }, nil,
			[]string{CheckRequestLinks},
			"1 of 2 links are down: the master salt:4506 is not connected for requests since 2026-11-21T12:00:00Z: connection refused",
		},
		{"no request links", func(b *broker) { b.request.Links = nil }, nil, []string{CheckRequestLinks}, "there is no link to the master for requests"},
		{
			"the master that serves does not answer", func(b *broker) {
				b.masters.Masters[0].Health, b.masters.Masters[0].Paths[0].LastError = masters.Down, errTest
			}, nil,
			[]string{CheckMasters},
			"the master m1 has not answered as it should since 2026-11-21T12:00:00Z: connection refused; nor does another one\n",
		},
		{
			"one of the peers is gone", func(b *broker) {
				of(b, retproxy.PeerStats{Serves: true, Links: b.request.Links}, retproxy.PeerStats{Links: []master.State{down}})
			}, nil, nil, "",
		},
		{
			"a peer that serves has lost a link", func(b *broker) {
				of(b, retproxy.PeerStats{Serves: true, Links: []master.State{down, {Connected: true}}}, retproxy.PeerStats{Links: []master.State{down}})
			}, nil,
			[]string{CheckRequestLinks},
			"1 of 2 links are down: the master salt:4506 is not connected",
		},
		{
			"a peer that is left loses its links", func(b *broker) {
				of(b, retproxy.PeerStats{Serves: true, Links: b.request.Links}, retproxy.PeerStats{Serves: true, Leaving: true, Links: []master.State{down}})
			}, nil, nil, "",
		},
		{
			"no peer serves", func(b *broker) {
				of(b, retproxy.PeerStats{Links: []master.State{down}}, retproxy.PeerStats{Links: []master.State{down}})
			}, nil,
			[]string{CheckRequestLinks},
			"2 of 2 links are down: the master salt:4506 is not connected",
		},
		{"a spare does not answer", func(b *broker) { b.masters.Masters[1].Health = masters.Down }, nil, nil, ""},
		{
			"between two lives of both", func(b *broker) { *b = broker{} },
			nil,
			[]string{CheckPublishPort, CheckRequestPort, CheckPublishLink, CheckRequestLinks},
			"",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := healthy()
			test.change(b)
			url := serve(t, b.options())
			said := ""
			for path, want := range map[string][]string{"/livez": test.live, "/readyz": test.ready} {
				code, body := get(t, url+path)
				v := into[Verdict](t, body)
				var checks []string
				for _, r := range v.Reasons {
					checks = append(checks, r.Check)
					said += r.Text + "\n"
				}
				wantCode := http.StatusOK
				if want != nil {
					wantCode = http.StatusServiceUnavailable
				}
				if code != wantCode || v.OK != (want == nil) || !slices.Equal(checks, want) || !strings.Contains(body, `"reasons": [`) {
					t.Errorf("%s: %d %s, want %d and %q", path, code, body, wantCode, want)
				}
			}
			if !strings.Contains(said, test.says) {
				t.Errorf("the reasons are\n%swithout\n%s", said, test.says)
			}
			report := into[Report](t, body(t, url+"/status"))
			if report.Live.OK != (test.live == nil) || report.Ready.OK != (test.ready == nil) {
				t.Errorf("/status says %+v and %+v", report.Live, report.Ready)
			}
		})
	}
}

func body(t *testing.T, url string) string {
	t.Helper()
	code, text := get(t, url)
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s", url, code, text)
	}
	return text
}

// A broker that stops lives, and serves no longer.
func TestStopping(t *testing.T) {
	b := healthy()
	s, err := New(t.Context(), b.options())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if v := s.ready(t.Context()); !v.OK {
		t.Fatalf("%+v", v)
	}
	s.Stopping()
	b.publish.Open = false
	want := []Reason{
		{CheckStopping, "salt-broker has been told to stop: requests under way may still be answered (drain_timeout)"},
		{CheckPublishPort, "the port 192.0.2.2:4505 takes no connections any more"},
	}
	if v := s.ready(t.Context()); v.OK || !slices.Equal(v.Reasons, want) {
		t.Errorf("%+v", v)
	}
	if v := s.live(t.Context()); !v.OK {
		t.Errorf("%+v", v)
	}
}

// A loop that never turns again is not waited for.
func TestStuckLoopHoldsUpNoAnswer(t *testing.T) {
	o := healthy().options()
	o.Turned = append(o.Turned, func(ctx context.Context) error {
		<-ctx.Done()
		return errors.New("request channel: loops [3]")
	})
	url := serve(t, o)
	if code, text := get(t, url+"/livez"); code != http.StatusServiceUnavailable || !strings.Contains(text, "loops [3]") {
		t.Errorf("%d %s", code, text)
	}
}

func TestPaths(t *testing.T) {
	for _, pprof := range []bool{false, true} {
		t.Run(fmt.Sprint("pprof ", pprof), func(t *testing.T) {
			o := healthy().options()
			o.Pprof = pprof
			url := serve(t, o)
			profiles := map[bool]int{false: http.StatusNotFound, true: http.StatusOK}[pprof]
			for path, want := range map[string]int{
				"/": 200, "/metrics": 200, "/livez": 200, "/readyz": 200, "/status": 200, "/nothing": 404,
				"/debug/pprof/": profiles, "/debug/pprof/heap": profiles, "/debug/pprof/cmdline": profiles, "/debug/pprof/symbol": profiles,
				"/debug/pprof/allocs": profiles, "/debug/pprof/trace?seconds=0.01": profiles,
			} {
				if code, text := get(t, url+path); code != want {
					t.Errorf("%s: %d, want %d: %.200s", path, code, want, text)
				}
			}
			answer, err := client.Post(url+"/status", "text/plain", strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("POST: %d", answer.StatusCode)
			}
		})
	}
}

func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	o := healthy().options()
	o.Listen = ln.Addr().String()
	if _, err := New(t.Context(), o); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("error %v", err)
	}
}

// Every address of IPv4 is not every address.
func TestIPv4MeansIPv4(t *testing.T) {
	o := healthy().options()
	o.Listen = "0.0.0.0:0"
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if nc, err := net.Dial("tcp", fmt.Sprintf("[::1]:%d", s.Addr().Port())); err == nil {
		t.Errorf("it listens on %v", nc.RemoteAddr())
		_ = nc.Close()
	}
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Addr().Port()))
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
}

// A server that has failed is started again on the same port; one that is told to stop has not failed.
func TestLives(t *testing.T) {
	s, err := New(t.Context(), healthy().options())
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // it fails in its first life
	if err := s.Live(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("error %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Live(ctx) }()
	for {
		nc, err := net.Dial("tcp", s.Addr().String())
		if err == nil {
			_ = nc.Close()
			break
		}
	}
	if code, text := get(t, "http://"+s.Addr().String()+"/livez"); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("error %v", err)
	}
}

// Who connects and says nothing keeps neither others out nor the server from its end, beyond a number that waits.
func TestSilentPeers(t *testing.T) {
	b := healthy()
	s, err := New(t.Context(), b.options())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Live(ctx) }()
	var silent []net.Conn
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, nc)
		return nc
	}
	for range maxConnections - 1 {
		dial()
	}
	if code, text := get(t, "http://"+s.Addr().String()+"/livez"); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	dial() // all places are taken
	last := dial()
	if _, err := last.Write([]byte("GET /livez HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = silent[0].Close() // one is free
	if line, err := bufio.NewReader(last).ReadString('\n'); err != nil || !strings.Contains(line, "200 OK") {
		t.Errorf("%q, %v", line, err)
	}
	dial() // and waits when the server stops
	began := time.Now()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("stopping took %v", took)
	}
	for _, nc := range silent {
		_ = nc.Close()
	}
}
