//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// ours is the relay that the others are compared with.
const ours = "salt-broker"

// report writes tables of everything that a record has.
func (r *Record) report(w io.Writer, names []string) {
	for i := range r.Scenarios {
		r.Scenarios[i].report(w, names)
	}
	r.judge(w)
}

// describe says what was measured on what.
func (r *Record) describe(w io.Writer) {
	m := r.Machine
	_, _ = fmt.Fprintf(w, "%s, %d cores, %d MiB, Linux %s, %s, %d descriptors a process, load %.1f\n", m.CPU, m.Cores, m.MemoryMiB, m.Kernel,
		m.Go, m.Descriptors, m.Load)
	for _, one := range relays {
		if v, there := r.Relays[one.name]; there {
			_, _ = fmt.Fprintf(w, "  %-12s %s\n", one.name, v)
		} else if why, missing := r.Missing[one.name]; missing {
			_, _ = fmt.Fprintf(w, "  %-12s not there: %s\n", one.name, why)
		}
	}
}

const (
	labelWidth  = 44
	columnWidth = 12
)

// report is the table of one scenario: medians, and under each what salt-broker's is to it.
func (s *Result) report(w io.Writer, names []string) {
	known := scenarioNamed(s.Name)
	if known == nil {
		return
	}
	_, _ = fmt.Fprintf(w, "\n%s: %s\n", s.Name, s.Says)
	row(w, "", names)
	for _, m := range known.metrics {
		medians, ratios := make([]string, len(names)), make([]string, len(names))
		for i, name := range names {
			medians[i] = "n/a"
			if v, ok := figure(s.Rounds, name, m.key); ok {
				medians[i] = number(v)
			}
			if v, ok := ratio(s.Rounds, name, m.key); ok && name != ours {
				ratios[i] = fmt.Sprintf("%.2f", v)
			}
		}
		row(w, m.says+", "+m.unit, medians)
		if slices.Contains(names, ours) && len(names) > 1 {
			row(w, "  "+ours+" to it", ratios)
		}
	}
	for _, name := range names {
		if why := s.Left[name]; why != "" {
			_, _ = fmt.Fprintf(w, "  %s: n/a, it %s\n", name, why)
		}
		for _, one := range s.Rounds {
			if one.Relay == name && one.Error != "" {
				_, _ = fmt.Fprintf(w, "  %s, round %d failed: %s\n", name, one.Round, one.Error)
			}
		}
	}
	s.bottlenecks(w)
}

func row(w io.Writer, label string, cells []string) {
	var line strings.Builder
	fmt.Fprintf(&line, "  %-*s", labelWidth, label)
	for _, c := range cells {
		fmt.Fprintf(&line, "%*s", columnWidth, c)
	}
	_, _ = fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
}

// number has three digits that count.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return fmt.Sprintf("%.*f", max(0, digits), v)
}

// busy is the share of a core from which a stand-in's loop may be what sets the pace.
const busy = 0.9

// bottlenecks says where the stand-ins may have been slower than the relay.
func (s *Result) bottlenecks(w io.Writer) {
	var said []string
	for _, r := range s.Rounds {
		for _, one := range [...]struct {
			role  string
			cores float64
		}{{"master", r.Master}, {"minions", r.Minions}} {
			text := fmt.Sprintf("%s with %s", one.role, r.Relay)
			if one.cores >= busy && !slices.Contains(said, text) {
				said = append(said, text)
			}
		}
	}
	if len(said) > 0 {
		_, _ = fmt.Fprintf(w, "  stand-ins that used %.1f of a core and more, so rates are theirs: %s\n", busy, strings.Join(said, ", "))
	}
}
