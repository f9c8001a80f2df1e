//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"salt-broker/internal/sim"
)

// failure is something that happens around a broker.
type failure struct {
	arrangement, event string
	masters, paths     int // 0 paths: straight to the masters
	brokers            int // one behind the other
	settings           string
	before             func(ctx context.Context, s *site) error // what has to be so first; may be nil
	// happens returns when it has happened and the broker has done about it what it has to do.
	happens func(ctx context.Context, s *site) error
	// pair is the test of test/pair that does it, instead of all of the above.
	pair string
}

// Settings of the arrangements.
const (
	oneMaster  = "master: 127.0.0.1\n"
	twoMasters = "master: [127.0.0.1, 127.0.0.2]\nmaster_type: failover\n"
	cluster    = "master_type: cluster\nmaster: [127.0.0.1, 127.0.0.2, 127.0.0.3]\n"
	drained    = "master_type: cluster\nmaster: [127.0.0.2, 127.0.0.3]\n"
	twoPaths   = "master: [{name: m1, paths: [127.0.0.2, 127.0.0.3]}]\nmaster_alive_interval: 1\n"
)

// awhile is how long something stays as it is.
const awhile = 3 * time.Second

var failures = []failure{
	{
		arrangement: "One master", event: "nothing happens", masters: 1, brokers: 1, settings: oneMaster,
		happens: func(ctx context.Context, s *site) error { return s.pause(ctx, awhile) },
	},
	{
		arrangement: "One master", event: "restarted, away for 1 s", masters: 1, brokers: 1, settings: oneMaster,
		happens: func(ctx context.Context, s *site) error {
			err := s.kill(0)
			return errors.Join(err, s.pause(ctx, time.Second), s.revive(0), s.connected(ctx, 0, 1))
		},
	},
	{
		arrangement: "Two masters", event: "the first killed", masters: 2, brokers: 1, settings: twoMasters,
		happens: func(ctx context.Context, s *site) error { return errors.Join(s.kill(0), s.connected(ctx, 1, 1)) },
	},
	{
		arrangement: "Two masters", event: "the first mute, time-out of 1 s", masters: 2, brokers: 1, settings: twoMasters + "master_alive_timeout: 1\n",
		happens: func(ctx context.Context, s *site) error { s.mute(0); return s.connected(ctx, 1, 1) },
	},
	{
		arrangement: "Two masters", event: "the first mute, time-out of 5 s", masters: 2, brokers: 1, settings: twoMasters,
		happens: func(ctx context.Context, s *site) error { s.mute(0); return s.connected(ctx, 1, 1) },
	},
	{
		arrangement: "Two masters", event: "the first back, failback after 2 s", masters: 2, brokers: 1,
		settings: twoMasters + "master_failback: True\nmaster_failback_interval: 2\nmaster_alive_interval: 0.5\n",
		before:   func(ctx context.Context, s *site) error { return errors.Join(s.kill(0), s.connected(ctx, 1, 1)) },
		happens:  func(ctx context.Context, s *site) error { return errors.Join(s.revive(0), s.connected(ctx, 0, 1)) },
	},
	{
		arrangement: "A cluster of three", event: "the peer that publishes killed", masters: 3, brokers: 1, settings: cluster,
		happens: func(ctx context.Context, s *site) error { return errors.Join(s.kill(0), s.connected(ctx, 1, 1)) },
	},
	{
		arrangement: "A cluster of three", event: "another peer killed", masters: 3, brokers: 1, settings: cluster,
		happens: func(_ context.Context, s *site) error { return s.kill(1) },
	},
	{
		arrangement: "A cluster of three", event: "the peer that publishes mute, time-out of 1 s", masters: 3, brokers: 1, settings: cluster + "master_alive_timeout: 1\n",
		happens: func(ctx context.Context, s *site) error { s.mute(0); return s.connected(ctx, 1, 1) },
	},
	{
		arrangement: "A cluster of three", event: "a killed peer back", masters: 3, brokers: 1,
		settings: cluster + "master_failback_interval: 2\nmaster_alive_interval: 0.5\n",
		before:   func(ctx context.Context, s *site) error { return errors.Join(s.kill(0), s.connected(ctx, 1, 1)) },
		happens:  func(ctx context.Context, s *site) error { return errors.Join(s.revive(0), s.asked(ctx, 0)) },
	},
	{
		arrangement: "A cluster of three", event: "one peer taken out by a reload", masters: 3, brokers: 1, settings: cluster,
		happens: func(ctx context.Context, s *site) error {
			return errors.Join(s.brokers[0].reload(drained), s.left(ctx, 0))
		},
	},
	{
		arrangement: "Two roads", event: "the near one becomes late by 250 ms", masters: 1, paths: 2, brokers: 1, settings: twoPaths, before: nearAndFar,
		happens: func(ctx context.Context, s *site) error {
			s.path(0, func(w *sim.Way) { w.SetDelay(250 * time.Millisecond) })
			return s.pause(ctx, 2*awhile)
		},
	},
	{
		arrangement: "Two roads", event: "the near one loses one packet in 50", masters: 1, paths: 2, brokers: 1, settings: twoPaths, before: nearAndFar,
		happens: func(ctx context.Context, s *site) error {
			s.path(0, func(w *sim.Way) { w.SetLoss(0.02, 250*time.Millisecond) })
			return s.pause(ctx, 2*awhile)
		},
	},
	{
		arrangement: "Two roads", event: "the near one cut, and back after 1 s", masters: 1, paths: 2, brokers: 1, settings: twoPaths, before: nearAndFar,
		happens: func(ctx context.Context, s *site) error {
			s.path(0, (*sim.Way).Cut)
			err := s.pause(ctx, time.Second)
			s.path(0, (*sim.Way).Open)
			return errors.Join(err, s.connected(ctx, 0, 2), s.pause(ctx, awhile))
		},
	},
	{
		arrangement: "Two roads", event: "the near one silent, time-out of 5 s", masters: 1, paths: 2, brokers: 1, settings: twoPaths, before: nearAndFar,
		happens: func(ctx context.Context, s *site) error {
			s.path(0, (*sim.Way).Silence)
			return s.pause(ctx, awhile)
		},
	},
	{
		arrangement: "Two roads", event: "both cut, and back after 1 s", masters: 1, paths: 2, brokers: 1, settings: twoPaths, before: nearAndFar,
		happens: func(ctx context.Context, s *site) error {
			s.path(0, (*sim.Way).Cut)
			s.path(1, (*sim.Way).Cut)
			err := s.pause(ctx, time.Second)
			s.path(1, (*sim.Way).Open)
			s.path(0, (*sim.Way).Open)
			return errors.Join(err, s.connected(ctx, 0, 2))
		},
	},
	{arrangement: "Two brokers", event: "the active one killed", pair: "TestBrokerKilled"},
	{arrangement: "Two brokers", event: "the active one hangs", pair: "TestBrokerHangs"},
	{
		arrangement: "Three brokers in a row", event: "the middle one restarted", masters: 1, brokers: 3, settings: oneMaster,
		happens: func(_ context.Context, s *site) error {
			s.brokers[1].stop()
			return s.brokers[1].begin()
		},
	},
	{
		arrangement: "Three brokers in a row", event: "the bottom one restarted", masters: 1, brokers: 3, settings: oneMaster,
		happens: func(_ context.Context, s *site) error {
			s.brokers[2].stop()
			return s.brokers[2].begin()
		},
	},
}

// nearAndFar has requests take the first path.
func nearAndFar(_ context.Context, s *site) error {
	s.path(1, func(w *sim.Way) { w.SetDelay(20 * time.Millisecond) })
	return nil
}

// patience is how long anything may take.
const patience = time.Minute

// perform has it happen at a site of its own.
func (f *failure) perform(ctx context.Context, t *tools) (n sim.Notices, err error) {
	if f.pair != "" {
		return pairNotices(ctx, f.pair)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := buildSite(ctx, t, f.masters, f.paths, f.brokers, f.settings)
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	if f.before != nil {
		if err := f.before(ctx, s); err != nil {
			return n, err
		}
		s.watch.Begin(s.minions)
		if _, err := s.watch.End(ctx); err != nil {
			return n, err
		}
	}
	s.watch.Begin(s.minions)
	if err := f.happens(ctx, s); err != nil {
		return n, err
	}
	return s.watch.End(ctx)
}

// skippedError is why this machine cannot have something happen.
type skippedError string

func (e skippedError) Error() string { return string(e) }

// pairNotices runs a test of test/pair, which has two brokers, keepalived and a network of its own, and prints what its
// minions noticed of the first event.
func pairNotices(ctx context.Context, test string) (n sim.Notices, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-v", "-count=1", "-run", "^"+test+"$", "salt-broker/test/pair") //nolint:gosec // our own test
	cmd.Env = append(os.Environ(), "SALT_BROKER_REQUIRE_TOOLS=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with what it has started
	out, err := cmd.CombinedOutput()
	if err != nil {
		return n, fmt.Errorf("%s: %w\n%s", test, err, out)
	}
	_, after, found := bytes.Cut(out, []byte("notices: "))
	if !found {
		said, _, _ := strings.Cut(string(out), "\n")
		return n, skippedError(said)
	}
	line, _, _ := bytes.Cut(after, []byte("\n"))
	return n, json.Unmarshal(line, &n)
}

// fail has everything happen, and shows and keeps what minions noticed.
func fail(ctx context.Context, o options, w io.Writer) error {
	t, err := newTools(o.saltBroker)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(t.dir) }()
	version, err := saltBrokerVersion(t)
	if err != nil {
		return err
	}
	r := &Availability{Began: newRecord(t).Began, Machine: newRecord(t).Machine, Version: version}
	failed := 0
	for i := range failures {
		f := &failures[i]
		if !strings.Contains(f.arrangement+": "+f.event, o.event) {
			continue
		}
		e := Event{Arrangement: f.arrangement, Event: f.event}
		began := time.Now()
		n, err := f.perform(ctx, t)
		var skipped skippedError
		switch {
		case errors.As(err, &skipped):
			e.Skipped = err.Error()
		case err != nil:
			if failed++; ctx.Err() != nil {
				return ctx.Err()
			}
			_, _ = fmt.Fprintf(w, "%-24s%-50sfailed: %v\n", e.Arrangement, e.Event, err)
			continue
		default:
			e.Notices = &n
		}
		r.Events = append(r.Events, e)
		_, _ = fmt.Fprintf(w, "%-24s%-50s%s (%.0f s)\n", e.Arrangement, e.Event, e.says(), time.Since(began).Seconds())
	}
	if failed > 0 {
		return fmt.Errorf("%d events failed: nothing is kept", failed)
	}
	if o.out == "" {
		return nil
	}
	return saveJSON(r, o.out)
}
