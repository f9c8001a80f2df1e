package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"salt-broker/config"
	"salt-broker/internal/latency"
	"salt-broker/internal/status"
)

// asks runs a command that asks a broker, and returns its exit code, what it says and how long it took.
func asks(t *testing.T, l *place, args ...string) (code int, stdout, stderr string, took time.Duration) {
	t.Helper()
	began := time.Now()
	p := launch(t, append(args, "-c", l.dir)...)
	code = p.wait(t)
	return code, p.stdout.String(), p.stderr.String(), time.Since(began)
}

// untilExit asks again until the exit code is this one: what it depends on is seen from outside only.
func untilExit(t *testing.T, want int, l *place, args ...string) (stdout, stderr string) {
	t.Helper()
	for late := time.Now().Add(patience); ; {
		code, stdout, stderr, _ := asks(t, l, args...)
		if code == want {
			return stdout, stderr
		}
		if time.Now().After(late) {
			t.Fatalf("%v: exit code %d, want %d: %s%s", args, code, want, stdout, stderr)
		}
	}
}

func says(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s says\n%swithout\n%s", what, text, want)
		}
	}
}

// The life of a broker as the commands see it: without a master, with one, stopped in its tracks, gone.
func TestHealthAndStatusOfARunningBroker(t *testing.T) {
	t.Parallel()
	l, p := launchReady(t, nil, "recon_default: 10", "recon_max: 10")

	stdout, stderr := untilExit(t, 0, l, "health")
	says(t, "health", stdout, "minions are served\n")
	if stderr != "" {
		t.Errorf("health says %q", stderr)
	}
	if log := p.stderr.String(); strings.Contains(log, "closed:") {
		t.Errorf("the broker complains of health in its log:\n%s", log)
	}
	_, stderr = untilExit(t, 1, l, "health", "--master")
	says(t, "health --master without a master", stderr,
		fmt.Sprintf("salt-broker: the master 127.0.0.1:%d is not connected for publishes since ", l.masterPub),
		fmt.Sprintf("links are down: the master 127.0.0.1:%d is not connected for requests since ", l.masterReq))
	stdout, _ = untilExit(t, 0, l, "status")
	says(t, "status without a master", stdout, "salt-broker "+testVersion+", up ", "not everything works:", "is not connected for publishes",
		"minions    0 for publishes at 127.0.0.1:", "master     127.0.0.1:")

	newScriptedMaster(t, l)
	untilExit(t, 0, l, "health", "--master")
	stdout, _ = untilExit(t, 0, l, "status")
	says(t, "status", stdout, "minions are served, the master is connected", "links up\n")
	stdout, _ = untilExit(t, 0, l, "status", "--json")
	var report status.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || !report.Ready.OK || report.Version != testVersion || strings.Count(stdout, "\n") != 1 {
		t.Errorf("%v, %+v", err, report)
	}

	p.signal(t, syscall.SIGSTOP)
	var code int
	for n := 1; ; n++ { // keepalived waits for two seconds; the machine may have much to do, but not every time
		var took time.Duration
		code, _, stderr, took = asks(t, l, "health")
		if code != 1 || took < time.Second {
			t.Errorf("exit code %d after %v of a broker that hangs", code, took)
		}
		if took < 2*time.Second {
			break
		}
		if n == 5 {
			t.Fatalf("health takes %v of a broker that hangs, want a second", took)
		}
	}
	p.signal(t, syscall.SIGCONT)
	says(t, "health of a broker that hangs", stderr, "salt-broker does not answer at 127.0.0.1:", "in time", "does not greet in time")
	untilExit(t, 0, l, "health")

	p.signal(t, syscall.SIGTERM)
	p.wait(t)
	code, _, stderr, _ = asks(t, l, "health")
	if code != 1 {
		t.Errorf("exit code %d of no broker", code)
	}
	says(t, "health of no broker", stderr,
		fmt.Sprintf("salt-broker: publish_port: nobody can connect to 127.0.0.1:%d: connect: connection refused: salt-broker does not run, or does not take minions now: see its log\n", l.publish),
		fmt.Sprintf("salt-broker: ret_port: nobody can connect to 127.0.0.1:%d: connect: connection refused: salt-broker does not run, or does not take minions now: see its log\n", l.request),
		fmt.Sprintf("salt-broker: nobody answers at 127.0.0.1:%d (status_interface, status_port): connect: connection refused: ", l.status))
	if code, _, stderr, _ := asks(t, l, "status"); code != 1 || !strings.Contains(stderr, "nobody answers at") {
		t.Errorf("status of no broker: %d %s", code, stderr)
	}
}

// A broker that has closed its ports since the master is gone does not serve, and says which ports and why.
func TestHealthWithPortsClosed(t *testing.T) {
	t.Parallel()
	l, _ := launchReady(t, nil, "on_master_loss: close", "on_master_loss_after: 1", "recon_default: 10", "recon_max: 10")
	_, stderr := untilExit(t, 1, l, "health")
	says(t, "health", stderr, "takes no connections: its channel starts again (see the log), or on_master_loss has closed it")
	untilStatus(t, l, "The publish port is closed")
	newScriptedMaster(t, l)
	untilExit(t, 0, l, "health", "--master")
	untilStatus(t, l, "The publish port takes connections again")
}

// untilStatus asks for the status until it says something.
func untilStatus(t *testing.T, l *place, want string) {
	t.Helper()
	for late := time.Now().Add(patience); ; {
		_, stdout, stderr, _ := asks(t, l, "status")
		if strings.Contains(stdout, want) {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("status does not say %q: %s%s", want, stdout, stderr)
		}
	}
}

// While requests under way are answered, there are numbers, and health says what goes on.
func TestNumbersWhileStopping(t *testing.T) {
	t.Parallel()
	l, p, minion, answer := underWay(t, "drain_timeout: 60")
	p.signal(t, syscall.SIGTERM)
	p.stderr.expect(t, "stopping: no new connections", p.ended)
	stops := "salt-broker has been told to stop: requests under way may still be answered (drain_timeout)"
	for late := time.Now().Add(patience); ; { // the line in the log and the answer do not wait for each other
		code, text := fetch(t, l, "/readyz")
		if code == http.StatusServiceUnavailable && strings.Contains(text, `"check": "stopping"`) {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("/readyz: %d %s", code, text)
		}
	}
	if code, text := fetch(t, l, "/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d %s", code, text)
	}
	if _, text := fetch(t, l, "/metrics"); !strings.Contains(text, "\nsalt_broker_requests_in_flight 1\n") {
		t.Errorf("the request under way is not in %s", text)
	}
	_, stderr := untilExit(t, 1, l, "health")
	says(t, "health", stderr, "salt-broker: "+stops+"\n", fmt.Sprintf("salt-broker: publish_port: nobody can connect to 127.0.0.1:%d", l.publish))
	stdout, _ := untilExit(t, 0, l, "status")
	says(t, "status", stdout, "not everything works:", stops, "1 of 512 are at the master")

	began := time.Now()
	answer("late answer")
	minion.expect(t, "late answer")
	if code := p.wait(t); code != 0 || time.Since(began) > 5*time.Second {
		t.Errorf("exit code %d after %v", code, time.Since(began))
	}
}

// fetch asks the status port of a broker.
func fetch(t *testing.T, l *place, path string) (code int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", l.status, path), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// counters are all that the status port says and that only grows: counters, and histograms with all that belongs to them.
func counters(t *testing.T, l *place) map[string]float64 {
	t.Helper()
	_, text := fetch(t, l, "/metrics")
	all, grows := map[string]float64{}, false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if kind, isType := strings.CutPrefix(line, "# TYPE "); isType {
			grows = strings.HasSuffix(kind, " counter") || strings.HasSuffix(kind, " histogram")
		}
		if at := strings.LastIndexByte(line, ' '); grows && !strings.HasPrefix(line, "#") {
			value, err := strconv.ParseFloat(line[at+1:], 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all[line[:at]] = value
		}
	}
	if _, there := all[`salt_broker_request_queue_seconds_bucket{le="+Inf"}`]; !there || len(all) < 100 {
		t.Fatalf("%d counters: %v", len(all), all)
	}
	return all
}

// grownFrom says that no counter has gone, or gone back, since before.
func grownFrom(t *testing.T, before, now map[string]float64) {
	t.Helper()
	for name, n := range before {
		if m, there := now[name]; !there || m < n {
			t.Errorf("%s was %v, and is %v (%v)", name, n, m, there)
		}
	}
}

// What happens in the process is what the port says.
func TestMetricsOfARunningBroker(t *testing.T) {
	t.Parallel()
	l, _ := launchReady(t, nil)
	has := func(line string) {
		t.Helper()
		for late := time.Now().Add(patience); ; {
			code, text := fetch(t, l, "/metrics")
			if code == http.StatusOK && strings.Contains(text, "\n"+line+"\n") {
				return
			}
			if time.Now().After(late) {
				t.Fatalf("no %s: %d %s", line, code, text)
			}
		}
	}
	has(`salt_broker_minions{channel="publish"} 0`)
	has(`salt_broker_connections_ended_total{channel="publish",reason="not_zmtp"} 0`)
	nc, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", l.publish))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	has(`salt_broker_minions{channel="publish"} 1`)
	if _, err := nc.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	has(`salt_broker_connections_ended_total{channel="publish",reason="not_zmtp"} 1`)
	has(`salt_broker_minions{channel="publish"} 0`)
	// Loops that have nothing to do turn now and then, or an alert could not tell them from stuck ones.
	before := counters(t, l)
	for late := time.Now().Add(patience); ; {
		idle, now := 0, counters(t, l)
		for name, n := range before {
			if strings.HasPrefix(name, "salt_broker_loop_turns_total") && now[name] == n {
				idle++
			}
		}
		if idle == 0 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("%d loops do not turn: %v", idle, now)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if code, _ := fetch(t, l, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("profiles without status_pprof: %d", code)
	}
}

// Profiles are there for who has asked for them in the configuration.
func TestProfilesOnRequest(t *testing.T) {
	t.Parallel()
	l, _ := launchReady(t, nil, "status_pprof: True")
	if code, text := fetch(t, l, "/debug/pprof/goroutine?debug=1"); code != http.StatusOK || !strings.Contains(text, "goroutine profile: total") {
		t.Errorf("%d %s", code, text)
	}
}

// Who may not connect from here finds a port that takes connections all the same.
func TestHealthWhereThisMachineIsDenied(t *testing.T) {
	t.Parallel()
	l, _ := launchReady(t, nil, "deny: 127.0.0.1")
	untilExit(t, 0, l, "health")
}

func TestWithoutAStatusPort(t *testing.T) {
	t.Parallel()
	l, p := launchReady(t, []string{"-l", "info"}, "status_port: 0")
	if n := listening(t, p); n != 2 {
		t.Errorf("%d ports are open", n)
	}
	untilExit(t, 0, l, "health")
	for _, args := range [][]string{{"health", "--master"}, {"status"}, {"status", "--watch"}} {
		if code, _, stderr, _ := asks(t, l, args...); code != 2 || stderr != "salt-broker: status_port is 0, so salt-broker cannot be asked: set status_port\n" {
			t.Errorf("%v: %d %q", args, code, stderr)
		}
	}
	p.signal(t, syscall.SIGSTOP)
	defer p.signal(t, syscall.SIGCONT)
	if code, _, stderr, _ := asks(t, l, "health"); code != 1 || !strings.Contains(stderr, "does not greet in time") {
		t.Errorf("of a broker that hangs: %d %s", code, stderr)
	}
}

// listening is how many ports a process has open, of each loop's sockets one: proc(5), /proc/net/tcp.
func listening(t *testing.T, p *process) int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	sockets := map[string]bool{}
	files, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, err := os.Readlink(dir + "fd/" + f.Name()); err == nil {
			sockets[strings.Trim(strings.TrimPrefix(to, "socket:"), "[]")] = true
		}
	}
	ports := map[string]bool{}
	for line := range strings.Lines(readFile(t, dir+"net/tcp") + readFile(t, dir+"net/tcp6")) {
		if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && sockets[f[9]] { // TCP_LISTEN
			ports[f[1]] = true
		}
	}
	return len(ports)
}

func TestStatusOfABrokenConfiguration(t *testing.T) {
	t.Parallel()
	l := newPlace(t)
	writeFile(t, filepath.Join(l.dir, "broker"), "status_port: x\n")
	for _, command := range []string{"health", "status"} {
		if code, _, stderr, _ := asks(t, l, command); code != 2 || !strings.Contains(stderr, "status_port: x is not a port") {
			t.Errorf("%s: %d %s", command, code, stderr)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	l, p := launchReady(t, nil)
	out := newWatched()
	watch := exec.Command(program, "status", "--watch", "-c", l.dir)
	watch.Stdout = out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- watch.Wait() }()
	defer func() { _ = watch.Process.Kill() }() // it may have ended
	out.expect(t, "publishes  0.0/s (0 B/s) in, ", p.ended)
	p.signal(t, syscall.SIGTERM)
	p.wait(t)
	out.expect(t, "salt-broker: nobody answers at ", nil) // and goes on
	if err := watch.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("it does not end")
	}
}

// Another program at one of the ports is not taken for a broker.
func TestStrangersAtThePorts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for asked := false; ; asked = true { // the first waits for a greeting and asks nothing
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if asked { // closing with something unread would be a reset
				_, _ = nc.Read(make([]byte, 4096))
			}
			_, _ = nc.Write([]byte("HTTP/1.0 404 Not Found\r\n\r\nnothing here\n"))
			nc.Close()
		}
	}()
	defer func() {
		ln.Close()
		<-done
	}()
	port := ln.Addr().(*net.TCPAddr).Port
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	want := fmt.Sprintf("ret_port: who answers at 127.0.0.1:%d is no salt-broker: see who has the port (ss -ltnp)", port)
	if err := greets(ctx, "ret_port", port, "0.0.0.0"); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	c := config.Default()
	c.StatusPort = port
	want = fmt.Sprintf("who answers at 127.0.0.1:%d is no salt-broker, or another version (404 Not Found): look at status_interface and status_port, and who has the port (ss -ltnp)", port)
	if err := ask(ctx, c, "/status", &report{}); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// Nor is another program's page, its JSON, or an answer without an end.
func TestStrangersAtTheStatusPort(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"a page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "is no salt-broker, or another version (200 OK)"},
		"JSON":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"status": "green"}`) }, "is no salt-broker, or another version (200 OK)"},
		"a door": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }, "is no salt-broker, or another version (302 Found)"},
		"a silent one": {
			func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			"(status_interface, status_port) in time: it hangs, or the machine is overloaded",
		},
		"an endless one": {
			func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			},
			"(status_interface, status_port) in time: it hangs, or the machine is overloaded",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stranger := httptest.NewServer(test.answer)
			defer stranger.Close()
			c := config.Default()
			c.StatusPort = stranger.Listener.Addr().(*net.TCPAddr).Port
			for path, into := range map[string]document{"/status": &report{}, "/readyz": &verdict{}} {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if err := ask(ctx, c, path, into); err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%s: %v, want %s", path, err, test.says)
				}
			}
		})
	}
}

func TestWhereToAsk(t *testing.T) {
	c := config.Default()
	c.StatusInterface, c.StatusPort = "fe80::1%nowhere", 1
	if err := ask(t.Context(), c, "/status", nil); err == nil || !strings.HasPrefix(err.Error(), "nobody answers at [fe80::1%nowhere]:1 ") {
		t.Errorf("error %v", err)
	}
	for address, want := range map[string]string{
		"0.0.0.0": "127.0.0.1:1", "::": "[::1]:1", "192.0.2.1": "192.0.2.1:1", "fe80::1%eth0": "[fe80::1%eth0]:1",
	} {
		if got := dialable(address, 1); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func TestStatusPortTaken(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	l := newPlace(t, fmt.Sprint("status_port: ", port))
	launch(t, "-c", l.dir).expect(t, 1,
		fmt.Sprintf("salt-broker: status_port %d is taken by another program (another salt-broker?): stop it or set status_port", port))
	l = newPlace(t, "status_interface: 192.0.2.1")
	launch(t, "-c", l.dir).expect(t, 1, fmt.Sprintf(
		"salt-broker: status_port %d cannot be opened: status_interface 192.0.2.1 is no address of this machine: set status_interface", l.status))
}

func TestStatusOnATerminal(t *testing.T) {
	began := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	times := func(n uint64, d time.Duration) status.Times {
		var r latency.Recorder
		r.Observe(d, n)
		return status.TimesOf(r.Histogram())
	}
	report := func(seconds int, n uint64) *status.Report {
		r := &status.Report{Version: "1.2.3", Started: began, Now: began.Add(time.Duration(seconds) * time.Second)}
		r.Ready.OK = true
		r.Buffered = status.Buffered{Bytes: 3 << 20, LimitBytes: 1 << 30}
		p, q := &r.Publish, &r.Request
		p.Address, p.Minions, p.Behind, p.LagMessages, p.LagBytes = "0.0.0.0:4505", 812, 3, 120, 1536
		p.Links, p.Loops = []status.Link{{Master: "salt:4505", Up: true}}, []status.Loop{{BusySecondsTotal: float64(seconds) / 4}}
		p.FromMaster, p.ToMinions = status.Flow{MessagesTotal: n, BytesTotal: 400 * n}, status.Flow{MessagesTotal: 800 * n, BytesTotal: 320000 * n}
		p.DroppedTotal = status.Losses{PubHWM: n, PubLogSize: n}
		p.FanOut = times(n, 3*time.Millisecond)
		p.EndedTotal = map[string]uint64{"left": 5, "denied": n, "other": 0}
		q.Address, q.Minions, q.InFlightLimit, q.Waiting, q.InFlight = "0.0.0.0:4506", 790, 64, 7, 64
		q.Links = []status.Link{{Master: "salt:4506"}, {Master: "salt:4506", Up: true}}
		q.FromMinions, q.ToMaster = status.Flow{MessagesTotal: 2 * n, BytesTotal: 1000 * n}, status.Flow{MessagesTotal: 2 * n, BytesTotal: 1000 * n}
		q.AtMaster = times(n, time.Hour)
		q.RestartsTotal = 1
		q.RequestsDroppedTotal = status.RequestsDropped{LinkLost: 7 * n, MinionLeft: 6, TooLarge: 5}
		q.RepliesDroppedTotal = status.RepliesDropped{MinionLeft: 8, Unroutable: 9}
		return r
	}
	one, two := report(100, 10), report(110, 30)
	one.Events = []status.Event{
		{First: one.Now, Last: one.Now, Text: "Master lost\x1b"}, {First: began.Add(-200000 * time.Second), Text: "salt-broker 1.2.3 has started"},
	}
	stamp := func(seconds int, layout string) string {
		return began.Add(time.Duration(seconds) * time.Second).Local().Format(layout)
	}
	two.Masters = status.Masters{
		Asked: true, Serving: "m2", Since: time.Date(2026, 11, 21, 12, 1, 0, 0, time.Local), FailoversTotal: map[string]uint64{"failed": 2, "failback": 1},
		List: []status.Master{
			{Name: "m1", Health: "down", Since: began, Paths: []status.Path{{}}},
			{Name: "m2", Health: "up", Since: began, Serving: true, Paths: []status.Path{{LatencySeconds: 0.0123456}}},
			{Name: "m3", Health: "unknown", Paths: []status.Path{{}}},
		},
	}
	four, five := report(110, 10), report(120, 10)
	five.Masters = status.Masters{
		Asked: true, Cluster: true, Serving: "m2", FailoversTotal: map[string]uint64{"failed": 0},
		List: []status.Master{
			{Name: "m1", Health: "down", Since: began, Paths: []status.Path{{}}},
			{Name: "m2", Health: "up", Since: began, Serving: true, Paths: []status.Path{{LatencySeconds: 0.0123456}}},
		},
	}
	five.Publish.Peers = []status.Publisher{
		{Name: "m1", Warm: true, Linked: true}, {Name: "m2", Serves: true, Linked: true}, {Name: "m3", Warm: true},
	}
	four.Request.Peers = []status.Peer{{Name: "m1", Replies: 9}, {Name: "m2", Serves: true, Replies: 100}}
	five.Request.Peers = []status.Peer{{Name: "m1", Waiting: 1, Replies: 2}, {Name: "m2", Serves: true, Waiting: 3, InFlight: 4, Replies: 150}, {Name: "m4", InFlight: 9}}
	two.Ready = status.Verdict{Reasons: []status.Reason{{Check: status.CheckRequestLinks, Text: "a link is away\x1b[2J"}}}
	for _, test := range []struct {
		name string
		got  string
		want string
	}{
		{"totals", statusText(one, nil), `salt-broker 1.2.3, up 1m40s
state      minions are served, the master is connected
master     salt:4505, 2 of 3 links up
minions    812 for publishes at 0.0.0.0:4505, 790 for requests at 0.0.0.0:4506
           3 lag, the last by 120 publishes with 1.5 KiB
publishes  10 (3.9 KiB) in, 8000 (3.1 MiB) to minions
requests   20 (9.8 KiB) in, 20 (9.8 KiB) to the master
           7 wait here, 64 of 64 are at the master, 0 overdue
replies    0 (0 B) in, 0 (0 B) to minions, 0 late
times      fan-out    half within 4.1ms, 99 % within 4.1ms
           queue      nothing measured
           at master  half within more than 2m14s, 99 % within more than 2m14s
loops      busy 25 % (publishes), none (requests)
memory     3.0 MiB buffered of 1.0 GiB allowed
dropped    publishes: 10 pub_hwm, 10 pub_log_size
           requests:  70 link_lost, 6 minion_left, 5 too_large
           replies:   9 unroutable, 8 minion_left
ended      publishes: 10 denied, 5 left
           requests:  none
restarts   0 of the publish channel, 1 of the request channel
events     ` + stamp(100, time.TimeOnly) + `  Master lost\x1b
           ` + stamp(-200000, time.DateTime) + `  salt-broker 1.2.3 has started
`},
		{"rates", statusText(two, one), `salt-broker 1.2.3, up 1m50s
state      not everything works:
           a link is away\x1b[2J
master     salt:4505, 2 of 3 links up
           m1 is down for 1m50s
           m2 is up for 1m50s, answers in 12.35ms, serves
           m3 is unknown
           m2 serves since 2026-11-21 12:01:00; 3 failovers
minions    812 for publishes at 0.0.0.0:4505, 790 for requests at 0.0.0.0:4506
           3 lag, the last by 120 publishes with 1.5 KiB
publishes  2.0/s (800 B/s) in, 1600.0/s (625 KiB/s) to minions
requests   4.0/s (2.0 KiB/s) in, 4.0/s (2.0 KiB/s) to the master
           7 wait here, 64 of 64 are at the master, 0.0/s overdue
replies    0.0/s (0 B/s) in, 0.0/s (0 B/s) to minions, 0.0/s late
times      fan-out    half within 4.1ms, 99 % within 4.1ms
           queue      nothing measured
           at master  half within more than 2m14s, 99 % within more than 2m14s
loops      busy 25 % (publishes), none (requests)
memory     3.0 MiB buffered of 1.0 GiB allowed
dropped    publishes: 2.0/s pub_hwm, 2.0/s pub_log_size
           requests:  14.0/s link_lost
           replies:   none
ended      publishes: 2.0/s denied
           requests:  none
restarts   0 of the publish channel, 1 of the request channel
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.got != test.want {
				t.Errorf("it says\n%swant\n%s", test.got, test.want)
			}
		})
	}
	for text, last := range map[string]*status.Report{
		`master     a cluster of 2, 2 of 3 links up
           m1 is down for 2m0s, its publishes are kept, its minions are with others, 2 replies, 1 requests wait, 0 are there
           m2 is up for 2m0s, answers in 12.35ms, publishes come from it, 150 replies, 3 requests wait, 4 are there
           m4 is not in the list any more, 9 requests are there
minions    `: nil,
		"others, 0.0/s replies": four, // its channel has begun anew
		"it, 5.0/s replies":     four,
	} {
		if got := statusText(five, last); !strings.Contains(got, text) {
			t.Errorf("%s\nhas no\n%s", got, text)
		}
	}
	again := report(1, 1)
	again.Started = began.Add(time.Hour)
	if since(again, one) != nil || since(two, one) != one || since(one, nil) != nil {
		t.Error("the numbers of another process are taken for those before")
	}
	var b bytes.Buffer
	if err := show(&b, one, nil, true); err != nil || !json.Valid(b.Bytes()) {
		t.Errorf("%v, %s", err, b.String())
	}
}
