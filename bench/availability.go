//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"salt-broker/internal/sim"
)

// Availability is what minions noticed of failures, as it is kept.
type Availability struct {
	Began   time.Time `json:"began"`
	Machine Machine   `json:"machine"`
	Version string    `json:"version"` // of salt-broker
	Events  []Event   `json:"events"`
}

// Event is a failure and what came of it.
type Event struct {
	Arrangement string       `json:"arrangement"`
	Event       string       `json:"event"`
	Skipped     string       `json:"skipped,omitempty"` // why there are no notices
	Notices     *sim.Notices `json:"notices,omitempty"`
}

func loadAvailability(path string) (*Availability, error) {
	text, err := os.ReadFile(path) //nolint:gosec // our own
	if err != nil {
		return nil, err
	}
	r := &Availability{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// cells is an event in short: publishes, then requests.
func (e *Event) cells() []string {
	n := e.Notices
	if n == nil {
		return []string{e.Skipped}
	}
	gap := func(median, last float64) string {
		return fmt.Sprintf("%.2f (%.2f)", median, last)
	}
	return []string{
		gap(n.PublishGap, n.PublishGapLast), fmt.Sprintf("%d of %d", n.PublishesLost, n.Published),
		fmt.Sprintf("%d, %d", n.PublishesTwice, n.PublishesLate),
		gap(n.ReplyGap, n.ReplyGapLast), fmt.Sprint(n.RequestsLost), fmt.Sprint(n.RequestsTwice), fmt.Sprint(n.Cut),
	}
}

// says is the same in a line.
func (e *Event) says() string {
	if e.Notices == nil {
		return "skipped: " + e.Skipped
	}
	c := e.cells()
	return fmt.Sprintf("publishes: gap %s s, lost %s, repeated and out of turn %s; replies: gap %s s, requests lost %s, repeated %s; cut %s",
		c[0], c[1], c[2], c[3], c[4], c[5], c[6])
}

// table has a row for each event.
func (r *Availability) table() string {
	t := newTable("Arrangement: event", "Publishes: gap, s", "lost", "repeated, out of turn", "Replies: gap, s", "requests lost", "repeated at a master",
		"connections lost")
	for i := range r.Events {
		e := &r.Events[i]
		cells := e.cells()
		for len(cells) < 7 {
			cells = append(cells, "–")
		}
		name := e.Arrangement + ": " + e.Event
		if e.Notices != nil && e.Notices.Minions != siteMinions {
			name += fmt.Sprintf(" (%d minions)", e.Notices.Minions)
		}
		t.row(append([]string{name}, cells...)...)
	}
	return t.String()
}

// machine says what it was measured on.
func (r *Availability) machine() string {
	m := r.Machine
	return wrap(fmt.Sprintf("%s, %s: %d cores, Linux %s, load %.1f before it began. %s.", r.Began.Format("2006-01-02"), m.CPU, m.Cores, m.Kernel,
		m.Load, r.Version), "")
}
