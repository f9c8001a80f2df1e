//go:build linux

package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"salt-broker/internal/sim"
)

// sample is what is known at one time.
type sample struct {
	at      time.Time
	minions sim.MinionsStats
	broker  usage
}

func (d *demonstration) sample() sample {
	return sample{at: time.Now(), minions: d.minions.Stats(), broker: d.broker.usage()}
}

// figures is what is shown of two samples: rates lie between them, the rest is of the later one.
type figures struct {
	elapsed, of time.Duration
	connected   int
	minions     int
	jobs        int
	deliveries  uint64
	requests    uint64 // answered
	perSecond   struct{ deliveries, requests float64 }
	latency     sim.Latency
	typical     time.Duration // until the last minion had a job
	worst       time.Duration
	resident    int64
	resting     int   // connections at rest
	each        int64 // bytes for one of them
	cpu         float64
}

func (d *demonstration) figures(from, to sample) figures {
	f := figures{
		elapsed: to.at.Sub(d.began), of: d.options.Duration,
		connected: to.minions.Subscribed, minions: d.options.Minions, jobs: d.jobs,
		deliveries: to.minions.Jobs, requests: to.minions.Replies, latency: to.minions.Latency,
		resident: to.broker.resident, resting: d.rest.minions.Connections,
	}
	if seconds := to.at.Sub(from.at).Seconds(); seconds > 0 {
		f.perSecond.deliveries = float64(to.minions.Jobs-from.minions.Jobs) / seconds
		f.perSecond.requests = float64(to.minions.Replies-from.minions.Replies) / seconds
		f.cpu = (to.broker.cpu - from.broker.cpu).Seconds() / seconds * 100
	}
	if len(d.spread) > 0 {
		sorted := slices.Sorted(slices.Values(d.spread))
		f.typical, f.worst = sorted[len(sorted)/2], sorted[len(sorted)-1]
	}
	if f.resting > 0 {
		f.each = max(0, d.rest.broker.resident-d.before.resident) / int64(f.resting)
	}
	return f
}

// block is for a terminal.
func (f figures) block() []string {
	return []string{
		fmt.Sprintf("  time      %.0f s of %.0f s", f.elapsed.Seconds(), f.of.Seconds()),
		fmt.Sprintf("  minions   %s of %s connected", grouped(f.connected), grouped(f.minions)),
		fmt.Sprintf("  publishes %s jobs, %s deliveries a second", grouped(f.jobs), grouped(uint64(f.perSecond.deliveries))),
		fmt.Sprintf("            the last minion had one after %s, at worst %s", short(f.typical), short(f.worst)),
		fmt.Sprintf("  requests  %s answered, %s a second", grouped(f.requests), grouped(uint64(f.perSecond.requests))),
		fmt.Sprintf("            half of them within %s, 99 %% within %s", short(f.latency.P50), short(f.latency.P99)),
		fmt.Sprintf("  broker    %s of memory, %s for each of %s connections at rest", size(f.resident), size(f.each), grouped(f.resting)),
		fmt.Sprintf("            %.1f %% of a core", f.cpu),
	}
}

// line is for everything else.
func (f figures) line() string {
	return fmt.Sprintf("  %2.0f s  %s minions, %s jobs, %s deliveries/s, last minion after %s; %s requests/s, p50 %s, p99 %s; broker %s, %s a connection at rest, CPU %.1f %%",
		f.elapsed.Seconds(), grouped(f.connected), grouped(f.jobs), grouped(uint64(f.perSecond.deliveries)), short(f.typical),
		grouped(uint64(f.perSecond.requests)), short(f.latency.P50), short(f.latency.P99), size(f.resident), size(f.each), f.cpu)
}

// judge writes the last figures and the verdict.
func (d *demonstration) judge(final sample, unanswered int, exit error) error {
	f := d.figures(d.last, final)
	d.screen.end()
	d.screen.line("")
	s := final.minions
	d.screen.line("  %s jobs to %s minions: half of the jobs had reached the last one within %s, all within %s", grouped(d.jobs), grouped(d.options.Minions), short(f.typical), short(f.worst))
	d.screen.line("  %s requests: half were answered within %s, 99 %% within %s, all within %s", grouped(s.Replies), short(s.Latency.P50), short(s.Latency.P99), short(s.Latency.Max))
	d.screen.line("  broker: %s of memory, %s of them before the minions came; %s for each of %s connections at rest; %s of CPU",
		size(f.resident), size(d.before.resident), size(f.each), grouped(f.resting), short(final.broker.cpu))
	d.screen.line("")
	faults := d.faults(s, unanswered, exit)
	if len(faults) == 0 {
		d.screen.line("Good: every job reached every minion, once and in order, and every request got its own reply.")
		return nil
	}
	d.screen.line("FAILED: %s.", strings.Join(faults, "; "))
	d.screen.said(d.broker.said.String())
	return ErrFailed
}

// faults says in words what is not as it should be.
func (d *demonstration) faults(s sim.MinionsStats, unanswered int, exit error) []string {
	var faults []string
	add := func(n uint64, what string) {
		if n > 0 {
			faults = append(faults, grouped(n)+" "+what)
		}
	}
	add(s.Missed, "jobs were left out between two that came")
	add(s.MissedAway, "jobs were missed by minions that had to connect again")
	add(s.Doubled, "jobs came twice or out of order")
	add(s.Damaged, "jobs were damaged")
	add(s.Strayed, "jobs came to the wrong minion")
	add(uint64(len(d.open)), "jobs have not reached everyone")
	add(s.Cut, "subscriptions were cut")
	add(s.WrongReplies, "replies were wrong")
	add(s.Broken, "requests lost their connection")
	add(s.TimedOut, "requests timed out")
	add(uint64(unanswered), "requests were not answered")
	add(s.PeerFaults, "connections ended because the broker did not speak ZMTP as it should")
	if s.FirstFault != nil {
		faults = append(faults, "the first of these: "+s.FirstFault.Error())
	}
	if exit != nil {
		faults = append(faults, "the broker did not stop as it should: "+strings.ReplaceAll(exit.Error(), "\n", ": "))
	}
	return faults
}
