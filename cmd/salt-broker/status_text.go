package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"salt-broker/internal/latency"
	"salt-broker/internal/status"
)

// statusText is what a report says, in lines for a terminal. With last, an earlier one, it says rates and times since then.
func statusText(report, last *status.Report) string {
	t := texter{report: report}
	if last != nil {
		t.before, t.seconds = *last, report.Now.Sub(last.Now).Seconds()
	}
	p, r := &report.Publish, &report.Request
	bp, br := &t.before.Publish, &t.before.Request

	fmt.Fprintf(&t.text, "salt-broker %s, up %v\n", escaped(report.Version), report.Now.Sub(report.Started).Round(time.Second))
	state := "minions are served, the master is connected"
	if !report.Ready.OK {
		state = "not everything works:"
	}
	t.row("state", "%s", state)
	for _, reason := range report.Ready.Reasons {
		t.row("", "%s", escaped(reason.Text))
	}
	t.row("master", "%s", t.master())
	t.masters()
	t.left()
	t.row("minions", "%d for publishes at %s, %d for requests at %s", p.Minions, escaped(p.Address), r.Minions, escaped(r.Address))
	if p.Behind > 0 {
		t.row("", "%d lag, the last by %d publishes with %s", p.Behind, p.LagMessages, bytesOf(float64(p.LagBytes)))
	}
	t.row("publishes", "%s in, %s to minions", t.flow(p.FromMaster, bp.FromMaster), t.flow(p.ToMinions, bp.ToMinions))
	for _, b := range p.Brought {
		t.row("", "by %s: %d first, %d repeated, %d dropped, %d held, %d behind", escaped(b.Path), b.FirstTotal, b.RepeatedTotal,
			b.LateTotal+b.UnknownTotal, b.Held, b.Behind)
	}
	t.row("requests", "%s in, %s to the master", t.flow(r.FromMinions, br.FromMinions), t.flow(r.ToMaster, br.ToMaster))
	t.row("", "%d wait here, %d of %d are at the master, %s overdue", r.Waiting, r.InFlight, r.InFlightLimit,
		t.count(r.OverdueTotal, br.OverdueTotal))
	t.row("replies", "%s in, %s to minions, %s late", t.flow(r.FromMaster, br.FromMaster), t.flow(r.ToMinions, br.ToMinions),
		t.count(r.LateTotal, br.LateTotal))
	t.row("times", "fan-out    %s", t.times(p.FanOut, bp.FanOut))
	t.row("", "queue      %s", t.times(r.Queue, br.Queue))
	t.row("", "at master  %s", t.times(r.AtMaster, br.AtMaster))
	t.row("loops", "busy %s (publishes), %s (requests)", t.busy(p.Loops, bp.Loops), t.busy(r.Loops, br.Loops))
	t.row("memory", "%s buffered of %s allowed", bytesOf(float64(report.Buffered.Bytes)), bytesOf(float64(report.Buffered.LimitBytes)))
	t.row("dropped", "publishes: %s", t.reasons(lost(p.DroppedTotal), lost(bp.DroppedTotal)))
	t.row("", "requests:  %s", t.reasons(requestsDropped(r.RequestsDroppedTotal), requestsDropped(br.RequestsDroppedTotal)))
	t.row("", "replies:   %s", t.reasons(repliesDropped(r.RepliesDroppedTotal), repliesDropped(br.RepliesDroppedTotal)))
	t.row("ended", "publishes: %s", t.reasons(p.EndedTotal, bp.EndedTotal))
	t.row("", "requests:  %s", t.reasons(r.EndedTotal, br.EndedTotal))
	if n := p.RestartsTotal + r.RestartsTotal; n > 0 {
		t.row("restarts", "%d of the publish channel, %d of the request channel", p.RestartsTotal, r.RestartsTotal)
	}
	for i, e := range report.Events[:min(len(report.Events), shownEvents)] {
		label := ""
		if i == 0 {
			label = "events"
		}
		t.row(label, "%s  %s", clock(e.First, report.Now), escaped(e.Text))
	}
	return t.text.String()
}

// shownEvents are the latest ones.
const shownEvents = 8

// clock is a time of day here, with the day where that is not the one of now.
func clock(at, now time.Time) string {
	at, now = at.Local(), now.Local()
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

func lost(d status.Losses) map[string]uint64 {
	return map[string]uint64{"pub_hwm": d.PubHWM, "pub_log_size": d.PubLogSize}
}

func requestsDropped(d status.RequestsDropped) map[string]uint64 {
	return map[string]uint64{"minion_left": d.MinionLeft, "too_large": d.TooLarge, "link_lost": d.LinkLost}
}

func repliesDropped(d status.RepliesDropped) map[string]uint64 {
	return map[string]uint64{"minion_left": d.MinionLeft, "unroutable": d.Unroutable}
}

// texter makes the lines.
type texter struct {
	text    strings.Builder
	report  *status.Report
	before  status.Report // empty where there is none
	seconds float64       // since before; 0: there is none
}

func (t *texter) row(label, format string, args ...any) {
	fmt.Fprintf(&t.text, "%-10s %s\n", label, fmt.Sprintf(format, args...))
}

func (t *texter) master() string {
	links := slices.Concat(t.report.Publish.Links, t.report.Request.Links)
	down := len(t.report.Publish.Down()) + len(t.report.Request.Down())
	if len(links) == 0 {
		return "no links"
	}
	name := escaped(links[0].Master)
	if t.report.Masters.Cluster {
		name = fmt.Sprintf("a cluster of %d", len(t.report.Masters.List))
	}
	return fmt.Sprintf("%s, %d of %d links up", name, len(links)-down, len(links))
}

// masters says of each what is known of it, where there are several or one is asked whether it lives.
func (t *texter) masters() {
	all := t.report.Masters
	if !all.Asked {
		return
	}
	for _, m := range all.List {
		text := escaped(m.Name) + " is " + escaped(m.Health)
		if m.Health != "unknown" {
			text += fmt.Sprintf(" for %v", t.report.Now.Sub(m.Since).Round(time.Second))
		}
		for _, p := range m.Paths {
			if len(m.Paths) > 1 {
				text += ", by " + escaped(p.Request) + " " + escaped(p.Health)
				if p.Requests {
					text += " and with requests"
				}
			}
			if p.LatencySeconds > 0 {
				text += fmt.Sprintf(", answers in %v", time.Duration(p.LatencySeconds*float64(time.Second)).Round(10*time.Microsecond))
			}
		}
		switch {
		case all.Cluster:
			text += t.peer(m)
		case m.Serving && len(all.List) > 1:
			text += ", serves"
		}
		t.row("", "%s", text)
	}
	if n := sumOf(all.FailoversTotal); n > 0 {
		t.row("", "%s serves since %s; %d failovers", escaped(all.Serving), all.Since.Local().Format(time.DateTime), n)
	}
}

// left names the peers of a cluster that a reload has taken out and that have something to answer still.
func (t *texter) left() {
	for _, p := range t.report.Request.Peers {
		if !slices.ContainsFunc(t.report.Masters.List, func(m status.Master) bool { return m.Name == p.Name }) {
			t.row("", "%s is not in the list any more, %d requests are there", escaped(p.Name), p.InFlight)
		}
	}
}

// peer is what a master of a cluster is used for.
func (t *texter) peer(m status.Master) (text string) {
	switch warm := func(p status.Publisher) bool { return p.Name == m.Name && p.Warm && p.Linked }; {
	case m.Serving:
		text = ", publishes come from it"
	case slices.ContainsFunc(t.report.Publish.Peers, warm):
		text = ", its publishes are kept"
	}
	of := func(peers []status.Peer) status.Peer {
		if i := slices.IndexFunc(peers, func(p status.Peer) bool { return p.Name == m.Name }); i >= 0 {
			return peers[i]
		}
		return status.Peer{}
	}
	now, before := of(t.report.Request.Peers), of(t.before.Request.Peers)
	if !now.Serves {
		text += ", its minions are with others"
	}
	return text + fmt.Sprintf(", %s replies, %d requests wait, %d are there", t.count(now.Replies, min(before.Replies, now.Replies)), now.Waiting, now.InFlight)
}

func sumOf(counts map[string]uint64) (n uint64) {
	for _, one := range counts {
		n += one
	}
	return n
}

// count is a total, or what has come to it in a second.
func (t *texter) count(now, before uint64) string {
	if t.seconds == 0 {
		return fmt.Sprint(now)
	}
	return fmt.Sprintf("%.1f/s", float64(now-before)/t.seconds)
}

func (t *texter) flow(now, before status.Flow) string {
	size := float64(now.BytesTotal)
	if t.seconds > 0 {
		return fmt.Sprintf("%s (%s/s)", t.count(now.MessagesTotal, before.MessagesTotal), bytesOf((size-float64(before.BytesTotal))/t.seconds))
	}
	return fmt.Sprintf("%s (%s)", t.count(now.MessagesTotal, 0), bytesOf(size))
}

func (t *texter) times(now, before status.Times) string {
	h := now.Histogram().Minus(before.Histogram())
	if h.Count() == 0 {
		return "nothing measured"
	}
	return fmt.Sprintf("half within %s, 99 %% within %s", bound(h, 0.5), bound(h, 0.99))
}

func bound(h latency.Histogram, q float64) string {
	d := h.Quantile(q)
	if d == math.MaxInt64 {
		return "more than " + latency.Bound(latency.Bounds-1).Round(time.Second).String()
	}
	for _, unit := range []time.Duration{time.Second, time.Millisecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}

// busy is the share of each loop, in the interval or since the process began.
func (t *texter) busy(now, before []status.Loop) string {
	seconds := t.seconds
	if seconds == 0 {
		seconds = t.report.Now.Sub(t.report.Started).Seconds()
	}
	var shares []string
	for i, l := range now {
		busy := l.BusySecondsTotal
		if i < len(before) {
			busy -= before[i].BusySecondsTotal
		}
		shares = append(shares, fmt.Sprintf("%.0f %%", 100*busy/max(seconds, 0.001)))
	}
	if shares == nil {
		return "none"
	}
	return strings.Join(shares, " ")
}

// reasons are those for which something was dropped or has ended, the most frequent first.
func (t *texter) reasons(now, before map[string]uint64) string {
	var reasons []string
	for reason, n := range now {
		if n > before[reason] {
			reasons = append(reasons, reason)
		}
	}
	slices.SortFunc(reasons, func(a, b string) int {
		if now[a]-before[a] != now[b]-before[b] {
			return int(now[b]-before[b]) - int(now[a]-before[a])
		}
		return strings.Compare(a, b)
	})
	for i, reason := range reasons {
		reasons[i] = fmt.Sprintf("%s %s", t.count(now[reason], before[reason]), escaped(reason))
	}
	if reasons == nil {
		return "none"
	}
	return strings.Join(reasons, ", ")
}

// bytesOf is a number of bytes with three digits or so.
func bytesOf(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; n >= 1024 && i < len(units)-1; i++ {
		n /= 1024
	}
	if i == 0 || n >= 100 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
