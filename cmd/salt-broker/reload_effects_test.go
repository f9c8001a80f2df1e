package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

// What a reload changes has its effect in the running program. What is not here is tested where the option is: TestApply of
// both channels, of the door, of a link to the master.

// refused fails the test where the broker lets a minion in.
func (m *scriptedMinion) refused(t *testing.T, why string) {
	t.Helper()
	select {
	case <-m.ended:
	case <-m.conn.ready:
		t.Errorf("%s, and it is in", why)
	case <-time.After(patience):
		t.Errorf("%s, and nothing happens", why)
	}
}

// gone waits until the broker has closed a connection.
func (m *scriptedMinion) gone(t *testing.T, who string) {
	t.Helper()
	select {
	case <-m.ended:
	case <-time.After(patience):
		t.Fatalf("%s is not cut off", who)
	}
}

func TestReloadOfLogLevels(t *testing.T) {
	t.Parallel()
	l, p := launchReady(t, nil) // warning
	p.reloads(t, l, "log_level: debug")
	newScriptedMinion(t, l.request).conn.Close()
	p.stderr.expect(t, "[DEBUG   ] connection ended: ", p.ended)
	p.reloads(t, l, "log_level: error", "zmq_backlog: 7")
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(p.stderr.String(), "restart salt-broker for what cannot change") {
		t.Error("a warning at the level error")
	}
}

func TestReloadOfWhoMayCome(t *testing.T) {
	t.Parallel()
	const recon = "recon_default: 10"
	l, p := launchReady(t, nil, recon)
	master := newScriptedMaster(t, l)
	first := newScriptedMinion(t, l.request)
	first.welcome(t)
	from := func(address string) *scriptedMinion {
		t.Helper()
		return newScriptedMinionAs(t, l.request, address, zmtp.REQ)
	}

	p.reloads(t, l, recon, "deny: [127.0.0.1, 127.0.0.2]")
	from("127.0.0.2").refused(t, "deny has its address")
	from("127.0.0.3").welcome(t)
	p.reloads(t, l, recon, "allow: [127.0.0.4]")
	from("127.0.0.3").refused(t, "allow does not have its address")
	from("127.0.0.4").welcome(t)
	p.reloads(t, l, recon, "max_connections_per_address: 1")
	from("127.0.0.1").refused(t, "there is one of its address")
	from("127.0.0.5").welcome(t)

	first.ask(t, "who has been here all the time?")
	master.next(t)("you")
	first.expect(t, "you")
}

// Nobody was asked whether he lives, on either side of either channel, and now all are.
func TestReloadOfHeartbeats(t *testing.T) {
	t.Parallel()
	l, p := launchReady(t, []string{"-l", "info"}, "zmq_heartbeat_ivl: 0", "recon_default: 10", "recon_max: 10", "loops: 1")
	master := newScriptedMaster(t, l)
	p.stderr.expectTimes(t, "remote=127.0.0.1:", 2, p.ended) // both channels have reached it
	waits, asks := newScriptedMinionAs(t, l.publish, "127.0.0.1", zmtp.SUB), newScriptedMinion(t, l.request)
	waits.welcome(t)
	asks.welcome(t)

	p.reloads(t, l, "zmq_heartbeat_ivl: 20", "zmq_heartbeat_timeout: 0", "recon_default: 10", "recon_max: 10", "loops: 1")
	for who, pings := range map[string]chan struct{}{
		"a minion that waits for publishes": waits.pings, "a minion that asks": asks.pings,
		"the master's publish port": master.pings[0], "the master's request port": master.pings[1],
	} {
		for range 2 { // the link to the request port has had one at its beginning
			select {
			case <-pings:
			case <-time.After(patience):
				t.Errorf("%s gets no PING", who)
			}
		}
	}
	p.reloads(t, l, "zmq_heartbeat_ivl: 20", "zmq_heartbeat_timeout: 40", "recon_default: 10", "recon_max: 10", "loops: 1")
	waits.gone(t, "a minion that answers no PING") // the one that waits for publishes
	asks.gone(t, "a minion that answers no PING")
	p.stderr.expectTimes(t, " reason=heartbeat_timeout remote=127.0.0.1:", 2, p.ended)
}

func TestReloadOfBackOff(t *testing.T) {
	t.Parallel()
	l, p := launchReady(t, []string{"-l", "debug"}, "recon_default: 20", "recon_max: 20", "recon_randomize: False")
	for _, channel := range []string{"publish", "request"} {
		p.stderr.expect(t, "component="+channel+" error=", p.ended)
	}
	p.stderr.expectTimes(t, " pause=20ms", 4, p.ended)
	p.reloads(t, l, "recon_default: 3600000", "recon_max: 0", "recon_randomize: False")
	p.stderr.expectTimes(t, " pause=1h0m0s", 2, p.ended) // and none after them
}

// What may be buffered bounds the collector's memory, too: a quarter more, twice pub_log_size, and 512 MiB.
func TestReloadOfMemory(t *testing.T) {
	t.Parallel()
	l, p := launchReady(t, nil)
	for _, reload := range []struct {
		lines         []string
		limit, memory int64
	}{
		{nil, 1024, 1024 + 256 + 128 + 512}, // the default
		{[]string{"max_buffered_bytes: 512 MiB"}, 512, 512 + 128 + 128 + 512},
	} {
		p.reloads(t, l, reload.lines...)
		_, text := fetch(t, l, "/metrics")
		for name, want := range map[string]int64{"salt_broker_buffered_limit_bytes": reload.limit, "go_gc_gomemlimit_bytes": reload.memory} {
			_, rest, _ := strings.Cut(text, "\n"+name+" ")
			said, _, _ := strings.Cut(rest, "\n")
			if got, err := strconv.ParseFloat(said, 64); err != nil || got != float64(want<<20) {
				t.Errorf("with %q %s is %q, want %d MiB", reload.lines, name, said, want)
			}
		}
	}
}

func TestReloadOfLimits(t *testing.T) {
	t.Parallel()
	lines := func(further ...string) []string {
		return append([]string{"recon_default: 10", "recon_max: 10", "loops: 1", "drain_timeout: 3600"}, further...)
	}
	l, p := launchReady(t, []string{"-l", "info"}, lines("max_in_flight: 1")...)
	master := newScriptedMaster(t, l)
	one, other := newScriptedMinion(t, l.request), newScriptedMinion(t, l.request)
	one.ask(t, "one")
	first := master.next(t)
	other.ask(t, "other")

	p.reloads(t, l, lines("max_in_flight: 2", "max_subscriptions: 1")...)
	second := master.next(t) // it waited
	sub := newScriptedMinionAs(t, l.publish, "127.0.0.1", zmtp.SUB)
	for _, topic := range []string{"one", "two"} {
		_, _ = sub.conn.Write(zmtp.AppendSubscription(nil, []byte(topic), false)) // it is cut off with the second
	}
	sub.gone(t, "a minion with two subscriptions")
	p.stderr.expect(t, fmt.Sprint(" reason=too_many_subscriptions remote=", sub.conn.LocalAddr()), p.ended)
	first("first")
	one.expect(t, "first")

	p.reloads(t, l, append(lines("max_in_flight: 2")[:3], "drain_timeout: 0")...)
	p.signal(t, syscall.SIGTERM) // the other one has no reply
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	second("late")
}
