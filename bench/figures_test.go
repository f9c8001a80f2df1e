//go:build linux

package main

import (
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMedianAndQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		median float64
		p50    float64
		p99    float64
	}{
		{[]float64{7}, 7, 7, 7},
		{[]float64{4, 1}, 2.5, 1, 4},
		{[]float64{9, 1, 5}, 5, 5, 9},
		{[]float64{4, 3, 2, 1}, 2.5, 2, 4},
	} {
		before := slices.Clone(c.values)
		if got := median(c.values); got != c.median {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.median)
		}
		if got := quantile(c.values, 0.5); got != c.p50 {
			t.Errorf("p50 of %v is %v, want %v", c.values, got, c.p50)
		}
		if got := quantile(c.values, 0.99); got != c.p99 {
			t.Errorf("p99 of %v is %v, want %v", c.values, got, c.p99)
		}
		if !slices.Equal(c.values, before) {
			t.Errorf("%v were put in order: %v", before, c.values)
		}
	}
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i)
	}
	if got := quantile(hundred, 0.99); got != 99 {
		t.Errorf("p99 of 1 to 100 is %d", got)
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

// A round in which the machine was slow for both does not count more than others, and one that somebody failed not at all.
func TestRatioIsOfPairs(t *testing.T) {
	rounds := []Round{
		{Round: 1, Relay: ours, Values: map[string]float64{"cpu": 1}},
		{Round: 1, Relay: "libzmq", Values: map[string]float64{"cpu": 2}},
		{Round: 2, Relay: "libzmq", Values: map[string]float64{"cpu": 200}},
		{Round: 2, Relay: ours, Values: map[string]float64{"cpu": 80}},
		{Round: 3, Relay: ours, Values: map[string]float64{"cpu": 6}},
		{Round: 3, Relay: "libzmq", Values: map[string]float64{"cpu": 20}},
		{Round: 4, Relay: ours, Values: map[string]float64{"cpu": 50}},
		{Round: 4, Relay: "libzmq", Error: "broken"},
	}
	if got, ok := ratio(rounds, "libzmq", "cpu"); !ok || got != 0.4 {
		t.Errorf("ratio is %v, %v; want the median of 0.5, 0.4 and 0.3", got, ok)
	}
	if got, ok := figure(rounds, ours, "cpu"); !ok || got != 28 {
		t.Errorf("figure is %v, %v; want 28", got, ok)
	}
	if _, ok := ratio(rounds, "nginx", "cpu"); ok {
		t.Error("a ratio to somebody who was not there")
	}
}

// Every target is about something that is measured.
func TestTargetsAreMeasured(t *testing.T) {
	for _, want := range targets {
		s := scenarioNamed(want.scenario)
		if s == nil {
			t.Errorf("no scenario is called %s", want.scenario)
			continue
		}
		if !slices.ContainsFunc(s.metrics, func(m metric) bool { return m.key == want.key && m.more == want.least }) {
			t.Errorf("%s has no figure %s that is to be as far on that side", want.scenario, want.key)
		}
		known := want.to == "" || want.to == best || scenarioNamed(strings.TrimPrefix(want.to, "/")) != nil ||
			slices.Contains(relayNames(relays), want.to)
		if !known {
			t.Errorf("%s is to be compared with %s, which there is not", want.scenario, want.to)
		}
	}
}

func TestJudge(t *testing.T) {
	r := Record{Scenarios: []Result{{Name: "short-100", Rounds: []Round{
		{Round: 1, Relay: ours, Values: map[string]float64{"cpu": 40, "rate": 2000}},
		{Round: 1, Relay: "libzmq", Values: map[string]float64{"cpu": 100, "rate": 1000}},
		{Round: 1, Relay: "nginx", Values: map[string]float64{"cpu": 60, "rate": 1600}},
		{Round: 1, Relay: "floor", Values: map[string]float64{"cpu": 10, "rate": 9000}},
	}}}}
	var out strings.Builder
	r.judge(&out)
	if !strings.Contains(out.String(), "ok      short-100          cpu     to libzmq") {
		t.Errorf("0.4 of libzmq's is not good enough:\n%s", &out)
	}
	if !strings.Contains(out.String(), "MISSED  short-100          rate    to nginx (best peer)") {
		t.Errorf("1.25 of the best peer's, and the floor is no peer:\n%s", &out)
	}
}

func TestRecordIsKept(t *testing.T) {
	r := newRecord(&tools{limit: 20000})
	r.Scenarios = []Result{{Name: "rush-9000", Left: map[string]string{"haproxy": "is too small"}, Rounds: []Round{
		{Round: 1, Relay: ours, Values: map[string]float64{"cpu": 40}}, {Round: 1, Relay: "nginx", Error: "broken"},
	}}}
	path := filepath.Join(t.TempDir(), "results", "record.json")
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	again, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	r.Missing = nil // as nothing
	if !reflect.DeepEqual(&r, again) {
		t.Errorf("kept %+v, read %+v", r, again)
	}
	other := Record{Scenarios: []Result{{Name: "rush-15000"}, {Name: "rush-9000", Says: "again"}}}
	if err := other.save(path + "2"); err != nil {
		t.Fatal(err)
	}
	if both, err := load(path, path+"2"); err != nil || len(both.Scenarios) != 2 || both.Scenarios[0].Says != "again" {
		t.Errorf("two records as one: %+v, %v", both, err)
	}
	var out strings.Builder
	again.report(&out, relayNames(relays))
	for _, want := range []string{"haproxy: n/a, it is too small", "nginx, round 1 failed: broken", "40.0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, &out)
		}
	}
}

func TestScenariosFor(t *testing.T) {
	for names, want := range map[string]int{"": 23, "stream-7000": 1, "stream": 2, "stream-100": 1, "short-100,rush": 3, "single-16K": 3, "str": 0} {
		if got := scenariosFor(names); len(got) != want {
			t.Errorf("%q stands for %d scenarios, want %d", names, len(got), want)
		}
	}
}
