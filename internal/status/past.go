package status

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"salt-broker/internal/masters"
)

const (
	// lookEvery is how often the server looks at the broker, whether somebody asks or not.
	lookEvery = time.Second
	// keepEvery is how often it keeps what it sees, and keepFor how long: what charts show to who comes later.
	keepEvery = 5 * time.Second
	keepFor   = 5 * time.Minute
	// mergeWithin is the time in which the same again is no other event.
	mergeWithin = time.Minute
	maxEvents   = 40
)

// Event is something that has changed.
type Event struct {
	First time.Time `json:"first"` // when it was seen
	Last  time.Time `json:"last"`  // when it was seen again
	Text  string    `json:"text"`
}

// past is what the broker has gone through, as far as somebody wants to know who looks at it now. It is safe from any
// goroutine.
type past struct {
	mu   sync.Mutex
	last *Report
	kept []Report     // the oldest first
	seen []occurrence // the latest first
}

// occurrence is an event and how often it was seen.
type occurrence struct {
	Event
	change
}

// change is what is different from one look to the next: n more of something, or a state, which has no n.
type change struct {
	text string
	n    uint64
}

func (c change) String() string {
	if c.n == 0 {
		return c.text
	}
	return fmt.Sprintf(c.text, c.n)
}

// note takes in a look at the broker.
func (p *past) note(r Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.happen(r.Started, change{text: "salt-broker " + r.Version + " has started"})
	} else {
		for _, c := range changes(p.last, &r) {
			p.happen(r.Now, c)
		}
	}
	p.last = &r
	if n := len(p.kept); n > 0 && r.Now.Sub(p.kept[n-1].Now) < keepEvery {
		return
	}
	p.kept = slices.DeleteFunc(p.kept, func(old Report) bool { return r.Now.Sub(old.Now) > keepFor })
	p.kept = append(p.kept, r)
}

func (p *past) happen(now time.Time, c change) {
	if c.n > 0 {
		for i := range p.seen {
			o := &p.seen[i]
			if o.text == c.text && now.Sub(o.Last) < mergeWithin {
				o.n += c.n
				o.Last, o.Text = now, o.String()
				return
			}
		}
	}
	p.seen = slices.Insert(p.seen, 0, occurrence{Event{now, now, c.String()}, c})
	p.seen = p.seen[:min(len(p.seen), maxEvents)]
}

// events are the latest ones, the latest first.
func (p *past) events() []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Event, len(p.seen))
	for i, o := range p.seen {
		all[i] = o.Event
	}
	return all
}

// reports are those of the last minutes, the oldest first.
func (p *past) reports() []Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Report{}, p.kept...) // a list in JSON, too
}

// look looks at the broker again and again until ctx ends.
func (s *Server) look(ctx context.Context) {
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	for {
		r := s.report(ctx)
		if ctx.Err() != nil { // then nobody has waited for the loops
			return
		}
		s.past.note(r)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// changes are what has changed from one look to the next that somebody may want to know of.
func changes(before, now *Report) (all []change) {
	say := func(format string, args ...any) { all = append(all, change{text: fmt.Sprintf(format, args...)}) }
	if !before.stops() && now.stops() {
		say("salt-broker has been told to stop")
	}
	for _, c := range []struct {
		name, what  string
		before, now *Channel
	}{
		{publish, "publishes", &before.Publish.Channel, &now.Publish.Channel},
		{request, "requests", &before.Request.Channel, &now.Request.Channel},
	} {
		if text := linksChanged(c.before, c.now); text != "" {
			say("Master %s: %d of %d links for %s are up%s", text, up(c.now), len(c.now.Links), c.what, whyDown(c.now))
		}
		switch {
		case c.before.Open && !c.now.Open:
			say("The %s port is closed", c.name)
		case !c.before.Open && c.now.Open:
			say("The %s port takes connections again", c.name)
		}
	}
	all = append(all, mastersChanged(&before.Masters, &now.Masters)...)
	totals := map[counted]uint64{}
	for _, w := range worries(before) {
		totals[w.counted] = w.total
	}
	for _, w := range worries(now) {
		if was := totals[w.counted]; w.total > was {
			all = append(all, change{w.what + ": %d (" + w.reason + ")", w.total - was})
		}
	}
	switch {
	case before.Live.OK && !now.Live.OK:
		say("%s", now.Live.texts())
	case !before.Live.OK && now.Live.OK:
		say("All event loops turn again")
	}
	return all
}

// mastersChanged says which masters answer no more, or again, and that another one serves.
func mastersChanged(before, now *Masters) (all []change) {
	health := map[string]string{}
	for _, m := range before.List {
		health[m.Name] = m.Health
	}
	for _, m := range now.List {
		was, known := health[m.Name]
		switch {
		case !known || m.Health == was:
		case m.Health == masters.Down.String():
			why := ""
			for _, p := range m.Paths {
				if p.LastError != "" {
					why = ": " + p.LastError
				}
			}
			all = append(all, change{text: "The master " + m.Name + " does not answer" + why})
		case was == masters.Down.String():
			all = append(all, change{text: "The master " + m.Name + " answers again"})
		}
	}
	switch {
	case before.Serving == "" || now.Serving == "" || now.Serving == before.Serving:
	case now.Cluster:
		all = append(all, change{text: "Publishes come from the master " + now.Serving + ", and from " + before.Serving + " no more"})
	default:
		all = append(all, change{text: "The master " + now.Serving + " serves, and " + before.Serving + " no more"})
	}
	return all
}

// stops says whether the broker has been told to stop.
func (r *Report) stops() bool {
	return slices.ContainsFunc(r.Ready.Reasons, func(why Reason) bool { return why.Check == CheckStopping })
}

func (v Verdict) texts() string {
	var all []string
	for _, r := range v.Reasons {
		all = append(all, r.Text)
	}
	return strings.Join(all, "; ")
}

func up(c *Channel) int { return len(c.Links) - len(c.Down()) }

// linksChanged says what has become of the master; nothing when that is the same.
func linksChanged(before, now *Channel) string {
	made := func(c *Channel) (n uint64) {
		for _, l := range c.Links {
			n += l.ConnectionsTotal
		}
		return n
	}
	switch {
	case up(now) < up(before):
		return "lost"
	case up(now) > up(before):
		return "connected"
	case up(now) > 0 && made(now) > made(before):
		return "lost and connected again"
	}
	return ""
}

func whyDown(c *Channel) string {
	if down := c.Down(); len(down) > 0 && down[0].LastError != "" {
		return ", " + down[0].LastError
	}
	return ""
}

// worry is a counter that should not move; what a healthy broker sees every minute is none.
type worry struct {
	counted
	total uint64
}

type counted struct{ what, reason string }

// worries are all of them, as the page has them under "Drops and ends".
func worries(r *Report) []worry {
	p, q := &r.Publish, &r.Request
	all := []worry{
		{counted{"Publishes lost", "pub_hwm"}, p.DroppedTotal.PubHWM},
		{counted{"Publishes lost", "pub_log_size"}, p.DroppedTotal.PubLogSize},
		{counted{"Requests dropped", "link_lost"}, q.RequestsDroppedTotal.LinkLost},
		{counted{"Requests dropped", "minion_left"}, q.RequestsDroppedTotal.MinionLeft},
		{counted{"Requests dropped", "too_large"}, q.RequestsDroppedTotal.TooLarge},
		{counted{"Requests overdue", "request_deadline"}, q.OverdueTotal},
		{counted{"Replies late", "request_deadline"}, q.LateTotal},
		{counted{"Replies dropped", "minion_left"}, q.RepliesDroppedTotal.MinionLeft},
		{counted{"Replies dropped", "unroutable"}, q.RepliesDroppedTotal.Unroutable},
		{counted{"Publish link given up", "heartbeat_timeout"}, p.Heartbeats.Master.Silent},
		{counted{"Request links given up", "heartbeat_timeout"}, q.Heartbeats.Master.Silent},
		{counted{"Publish channel restarted", "failed"}, p.RestartsTotal},
		{counted{"Request channel restarted", "failed"}, q.RestartsTotal},
	}
	for _, c := range []struct {
		what string
		ends map[string]uint64
	}{{"Publish connections ended", p.EndedTotal}, {"Request connections ended", q.EndedTotal}} {
		for _, reason := range slices.Sorted(maps.Keys(c.ends)) {
			if reason != "left" && reason != "reset" {
				all = append(all, worry{counted{c.what, reason}, c.ends[reason]})
			}
		}
	}
	return all
}
