package master

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"salt-broker/internal/zmtp"
)

func TestReport(t *testing.T) {
	const settled = 10 * time.Second
	type event struct {
		after time.Duration // since the event before
		up    bool
		lived time.Duration
		want  string // level of the line
	}
	tests := []struct {
		name   string
		events []event
	}{
		{"there from the start", []event{{up: true, want: "info"}}},
		{"late", []event{{want: "warning"}, {after: time.Second, want: ""}, {after: time.Hour, want: ""}, {after: time.Second, up: true, want: "info"}}},
		{"two restarts in a minute", []event{
			{up: true, want: "info"},
			{after: time.Hour, lived: time.Hour, want: "warning"},
			{after: time.Second, up: true, want: "info"},
			{after: settled, lived: settled, want: "warning"},
			{after: time.Second, want: ""},
			{after: time.Second, up: true, want: "info"},
		}},
		{"comes and goes", []event{
			{up: true, want: "info"},
			{after: time.Second, lived: time.Second, want: "warning"},
			{after: time.Second, up: true, want: "info"},
			{after: time.Second, lived: time.Second, want: ""},
			{after: time.Second, up: true, want: ""},
			{after: time.Second, lived: time.Second, want: ""},
			{after: time.Minute, up: true, want: ""},
			{after: time.Second, lived: time.Second, want: "warning"},
			{after: time.Second, up: true, want: "info"},
		}},
		{"comes, goes and stays away", []event{
			{want: "warning"},
			{after: time.Second, up: true, want: "info"},
			{after: time.Second, lived: time.Second, want: ""},
			{after: 30 * time.Second, want: ""},
			{after: 30 * time.Second, want: "warning"},
			{after: 30 * time.Second, want: ""},
			{after: time.Second, up: true, want: "info"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log, hook := logtest.NewNullLogger()
			r := reporter{log: log, settled: settled}
			now := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
			var got, want []string
			for _, e := range tt.events {
				now = now.Add(e.after)
				hook.Reset()
				if e.up {
					r.connected(now, netip.MustParseAddrPort("192.0.2.1:4506"), zmtp.Version{Major: 3, Minor: 1}, 1)
				} else {
					r.failed(now, errors.New("why"), e.lived, time.Second)
				}
				line := ""
				if last := hook.LastEntry(); last != nil {
					line = last.Level.String()
				}
				got, want = append(got, line), append(want, e.want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("logged %q, want %q", got, want)
			}
		})
	}
}

// "master is back" says for how long it was away.
func TestReportOfOutage(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	r := reporter{log: log, settled: time.Second}
	now := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
	for i := range 10 {
		r.failed(now.Add(time.Duration(i)*time.Second), errors.New("why"), 0, time.Second)
	}
	r.connected(now.Add(10*time.Second), netip.AddrPort{}, zmtp.Version{}, 11)
	if got := hook.LastEntry().Data["down"]; got != "10s" {
		t.Errorf("down for %v", got)
	}
}
