package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"salt-broker/internal/salt"
	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
	"salt-broker/retproxy"
)

// TestTrace looks from the bottom of three brokers to a master, from further up, and when the way ends early.
func TestTrace(t *testing.T) {
	t.Parallel()
	m, err := sim.StartMaster(sim.MasterOptions{Answer: func(_ []byte, reply func([]byte)) { reply(salt.AppendPingReply(nil)) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Stop() })
	quick := []string{"recon_default: 10", "recon_max: 10", "drain_timeout: 0"}
	behind := func(l *place) (*place, *process) {
		return launchReady(t, nil, append(quick, fmt.Sprint("master_publish_port: ", l.publish), fmt.Sprint("master_port: ", l.request))...)
	}
	top := brokerOf(t, m, quick...)
	middle, second := behind(top)
	bottom, _ := behind(middle)

	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	station := func(n int, port int) string {
		return fmt.Sprintf(` %d  %s +127\.0\.0\.1:%d +salt-broker %s +\d+\.\d ms\n`, n, regexp.QuoteMeta(host), port, regexp.QuoteMeta(testVersion))
	}
	master := func(n int) string {
		at := regexp.QuoteMeta(m.RequestAddr().String())
		return fmt.Sprintf(` %d  %s +%s +Salt master +\d+\.\d ms\n`, n, at, at)
	}
	matches := func(text string, want []string) bool {
		return regexp.MustCompile("^" + strings.Join(want, "") + "$").MatchString(text)
	}
	whole := func(text string, want ...string) {
		t.Helper()
		if !matches(text, want) {
			t.Errorf("trace says\n%swant\n%s", text, strings.Join(want, ""))
		}
	}
	// Those that answer have done so within limit, which is short, as somebody does not, or longer if the machine needs that.
	silent := func(want ...string) (errs string, limit time.Duration) {
		t.Helper()
		for limit = 300 * time.Millisecond; ; limit *= 2 {
			out, errs := untilExit(t, 1, bottom, "trace", "--timeout", limit.String())
			if matches(out, want) || limit > patience/4 {
				whole(out, want...)
				return errs, limit
			}
		}
	}
	out, _ := untilExit(t, 0, bottom, "trace")
	whole(out, station(1, bottom.request), station(2, middle.request), station(3, top.request), master(4))
	out, _ = untilExit(t, 0, bottom, "trace", fmt.Sprint("127.0.0.1:", top.request)) // the configuration is of no account
	whole(out, station(1, top.request), master(2))
	out, _ = untilExit(t, 0, bottom, "trace", m.RequestAddr().String())
	whole(out, ` 1  master +`+regexp.QuoteMeta(m.RequestAddr().String())+` +Salt, or behind others +\d+\.\d ms\n`)

	m.Mute(true)
	errs, limit := silent(station(1, bottom.request), station(2, middle.request), station(3, top.request))
	says(t, "trace", errs, fmt.Sprintf("the way ends behind %s: its master %s is connected and has not answered a ping within %v", host, m.RequestAddr(), limit))
	m.Mute(false)

	if err := m.Leave(); err != nil {
		t.Fatal(err)
	}
	for { // the top may not have noticed, or not tried again
		out, errs = untilExit(t, 1, bottom, "trace", "--timeout", "1s")
		if strings.Contains(errs, "refused") {
			break
		}
	}
	whole(out, station(1, bottom.request), station(2, middle.request), station(3, top.request))
	says(t, "trace", errs, "the way ends at "+host+", which has not been connected to its master "+m.RequestAddr().String()+" for ", "connection refused")

	second.signal(t, syscall.SIGSTOP)
	errs, limit = silent(station(1, bottom.request))
	says(t, "trace", errs, fmt.Sprintf("the way ends behind %s: the broker 127.0.0.1:%d has not answered within %v", host, middle.request, limit))
	second.signal(t, syscall.SIGCONT)
}

// TestTraceInACircle: two brokers that are each other's master.
func TestTraceInACircle(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	quick := []string{"recon_default: 10", "recon_max: 10", "drain_timeout: 0", "zmq_heartbeat_ivl: 0"}
	one, _ := launchReady(t, nil, append(quick, fmt.Sprint("ret_port: ", ports[0]), fmt.Sprint("master_port: ", ports[1]))...)
	launchReady(t, nil, append(quick, fmt.Sprint("ret_port: ", ports[1]), fmt.Sprint("master_port: ", ports[0]))...)
	for {
		_, errs := untilExit(t, 1, one, "trace", "--timeout", "500ms")
		if strings.Contains(errs, "the way does not end after 16 brokers") {
			return
		}
	}
}

func TestTraceFromWhere(t *testing.T) {
	t.Parallel()
	l := newPlace(t)
	code, _, errs, _ := asks(t, l, "trace")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	says(t, "trace", errs, fmt.Sprintf("nobody can connect to 127.0.0.1:%d: ", l.request), "connection refused")
	for _, wrong := range []string{"127.0.0.1:0", ":4506", "h:70000", "h:x", ""} {
		code, _, errs, _ := asks(t, l, "trace", wrong)
		if code != 2 || !strings.Contains(errs, "is not HOST, HOST:PORT or [IPV6]:PORT") {
			t.Errorf("%q: exit code %d, %s", wrong, code, errs)
		}
	}
	launch(t, "trace", "a", "b").expect(t, 2, "salt-broker: accepts at most 1 arg(s), received 2; see salt-broker trace --help")
	for given, want := range map[string]string{
		"h": "h:4506", "h:1": "h:1", "::1": "[::1]:4506", "[::1]": "[::1]:4506", "[::1]:7": "[::1]:7", "192.0.2.1": "192.0.2.1:4506",
	} {
		if got, err := traceFrom(newTraceCommand(), []string{given}); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", given, got, err, want)
		}
	}
}

// hop is HOP as a broker sends it that has no other between.
func hop(text string) []byte { return zmtp.AppendCommand(nil, zmtp.CommandHop, []byte("\x00"+text)) }

// TestTraceOfLiars: who answers is whoever has the port, and what it says is shown as text and bounded.
func TestTraceOfLiars(t *testing.T) {
	t.Parallel()
	pong := zmtp.AppendFrame([]byte{zmtp.FlagMore, 0}, false, salt.AppendPingReply(nil))
	next := func(n int, name string) []byte {
		return hop(fmt.Sprintf(`{"hop":%d,"name":%q,"version":"1","master":"m","address":"a","next":"broker"}`, n, name))
	}
	var many [][]byte
	for i := range 40 {
		many = append(many, next(i+1, "x"))
	}
	for name, tt := range map[string]struct {
		says [][]byte
		out  string
		err  string
	}{
		"terminal codes": {
			[][]byte{hop(`{"hop":1,"name":"a\u001b[31m\nsalt-broker: b","version":"\u202e1","master":"m","next":"master"}`), pong},
			`a\x1b[31m\nsalt-broker: b`, "",
		},
		"a name of kilobytes":    {[][]byte{next(1, strings.Repeat("n", 3000)), next(1, "")}, strings.Repeat("n", 64) + "... ", "a broker answers as number 1"},
		"numbers out of order":   {[][]byte{next(2, "x")}, "", "a broker answers as number 2, and 0 have answered before"},
		"brokers without end":    {many, "16  x", "a broker answers as number 17"},
		"behind the end":         {[][]byte{hop(`{"hop":1,"next":"none"}`), next(2, "x")}, "", "a broker answers behind the end of the way"},
		"no JSON":                {[][]byte{hop("?")}, "", "a HOP that is no JSON"},
		"a way back":             {[][]byte{zmtp.AppendCommand(nil, zmtp.CommandHop, []byte("\x0112345678{}"))}, "", "that is not for us"},
		"nothing":                {[][]byte{zmtp.AppendCommand(nil, zmtp.CommandHop, nil)}, "", "a HOP of 0 bytes"},
		"a command of megabytes": {[][]byte{zmtp.AppendHeader(nil, zmtp.FlagCommand, 5<<20)}, "", "a command of 5242880 bytes"},
		"another answer":         {[][]byte{next(1, "x"), zmtp.AppendFrame([]byte{zmtp.FlagMore, 0}, false, []byte("bad load"))}, "", "no master of Salt's"},
		"an age of ages":         {[][]byte{hop(`{"hop":1,"name":"x","master":"m","next":"none","since_seconds":1e300}`)}, "", "not been connected to its master m for"},
		"no envelope":            {[][]byte{zmtp.AppendFrame(nil, false, []byte("x"))}, "", "no envelope"},
		"it hangs up":            {[][]byte{nil}, "", "has hung up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			done := make(chan struct{})
			defer func() { <-done }()
			go func() {
				defer close(done)
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				defer nc.Close()
				_, _ = nc.Write(zmtp.AppendBrokerReady(zmtp.AppendGreeting(nil), zmtp.ROUTER))
				_ = nc.SetReadDeadline(time.Now().Add(patience))
				var got []byte
				for buf := make([]byte, 4096); !bytes.Contains(got, salt.AppendPing(nil)); {
					n, err := nc.Read(buf)
					if got = append(got, buf[:n]...); err != nil {
						return
					}
				}
				if !bytes.Contains(got, retproxy.AppendTrace(nil)) {
					t.Errorf("it did not ask: %q", got)
				}
				_, _ = nc.Write(bytes.Join(tt.says, nil))
				if tt.says[0] != nil {
					_, _ = nc.Read(make([]byte, 1)) // until it has seen enough
				}
			}()
			p := launch(t, "trace", "--timeout", "10s", ln.Addr().String())
			code, want := p.wait(t), exitRuntime
			if tt.err == "" {
				want = exitClean
			}
			if code != want || !strings.Contains(p.stdout.String(), tt.out) || !strings.Contains(p.stderr.String(), tt.err) {
				t.Errorf("exit code %d, says\n%s%swant %q and %q", code, p.stdout.String(), p.stderr, tt.out, tt.err)
			}
			if s := p.stdout.String() + p.stderr.String(); strings.ContainsAny(s, "\x1b\u202e") || len(s) > 8000 {
				t.Errorf("it says %q", s)
			}
		})
	}
}
