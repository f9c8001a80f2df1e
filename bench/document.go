//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What the documents say of figures is written by -document, from the records in bench/results, between two comments:
//
//	.. figures: NAME
//
//	.. end of figures
//
// A test has the documents be what the records say.

// The records that documents are made of, below the root of the repository.
const (
	peersRecord  = "bench/results/peers.json"
	growthRecord = "bench/results/growth.json"
	haRecord     = "bench/results/ha.json"
	growthPlot   = "docs/performance-growth.svg"
)

// documents are the files with figures.
var documents = []string{"docs/performance.rst", "docs/high-availability.rst", "README.rst"}

// figures is what stands between the comments, by name.
type figures map[string]string

// document writes figures and plot into the documents below root.
func document(root string) error {
	all, plot, err := fromRecords(root)
	if err != nil {
		return err
	}
	for _, name := range documents {
		path := filepath.Join(root, name)
		text, err := os.ReadFile(path) //nolint:gosec // our own
		if err != nil {
			return err
		}
		next, err := all.into(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(path, []byte(next), 0o644); err != nil { //nolint:gosec // anybody may read it
			return err
		}
	}
	return os.WriteFile(filepath.Join(root, growthPlot), []byte(plot), 0o644) //nolint:gosec // anybody may read it
}

// fromRecords makes everything that the documents take from the records below root.
func fromRecords(root string) (all figures, plot string, err error) {
	peers, err := load(filepath.Join(root, peersRecord))
	if err != nil {
		return nil, "", err
	}
	growth, err := load(filepath.Join(root, growthRecord))
	if err != nil {
		return nil, "", err
	}
	ha, err := loadAvailability(filepath.Join(root, haRecord))
	if err != nil {
		return nil, "", err
	}
	names := relayNames(growers)
	return figures{
		"machine":         peers.machine(),
		"peers":           peers.table(relayNames(relays)),
		"targets":         peers.targetTable(),
		"growth":          growth.growthTable(names),
		"growth, machine": growth.machine(),
		"events":          ha.table(),
		"events, machine": ha.machine(),
		"summary":         peers.summary(),
	}, draw(growth.growth(names), names), nil
}

// into replaces what stands between the comments of a document.
func (f figures) into(text string) (string, error) {
	const begin, end = ".. figures: ", ".. end of figures"
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, begin)
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, rest, _ := strings.Cut(rest, "\n")
		_, after, closed := strings.Cut(rest, end)
		now, known := f[name]
		switch {
		case !known:
			return "", fmt.Errorf("there are no figures called %q", name)
		case !closed:
			return "", errors.New("the figures called " + name + " have no end")
		}
		fmt.Fprintf(&out, "%s%s\n\n%s\n%s", begin, name, now, end)
		text = after
	}
}

// machine says what was measured on what.
func (r *Record) machine() string {
	m := r.Machine
	text := fmt.Sprintf("%s, %s: %d cores, %d GiB, Linux %s, %s, %d descriptors a process; load %.1f before it began.", r.Began.Format("2006-01-02"),
		m.CPU, m.Cores, (m.MemoryMiB+512)>>10, m.Kernel, m.Go, m.Descriptors, m.Load)
	var versions []string
	for _, one := range relays {
		if v, there := r.Relays[one.name]; there && one.name != "floor" {
			versions = append(versions, v)
		}
	}
	return wrap(text+" "+strings.Join(versions, ", ")+".", "")
}

// table has a row for each figure: salt-broker's, and the others' with salt-broker's ratio to it.
func (r *Record) table(names []string) string {
	t := newTable("Scenario, figure", names...)
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		known := scenarioNamed(s.Name)
		if known == nil {
			continue
		}
		for _, m := range known.metrics {
			cells := []string{fmt.Sprintf("``%s`` %s, %s", s.Name, m.says, m.unit)}
			for _, name := range names {
				cell := "–"
				if v, ok := figure(s.Rounds, name, m.key); ok {
					cell = number(v)
					if q, ok := ratio(s.Rounds, name, m.key); ok && name != ours {
						cell += fmt.Sprintf(" (%.2f)", q)
					}
				}
				cells = append(cells, cell)
			}
			t.row(cells...)
		}
	}
	return t.String()
}

// targetTable says what was to be reached and whether it was.
func (r *Record) targetTable() string {
	t := newTable("Scenario, figure", "compared with", "to be", "is", "")
	for i := range targets {
		g := &targets[i]
		v, against, ok := g.reached(r)
		if !ok {
			continue
		}
		sign := "at most "
		if g.least {
			sign = "at least "
		}
		verdict := "reached"
		if g.missed(v) {
			verdict = "**missed**"
		}
		t.row(fmt.Sprintf("``%s`` %s", g.scenario, g.says()), strings.TrimPrefix(against, "to "), sign+number(g.limit), number(v), verdict)
	}
	return t.String()
}

// growthTable has a row for each figure and relay, and a column for each number of minions.
func (r *Record) growthTable(names []string) string {
	var columns []string
	for _, n := range growSizes {
		columns = append(columns, fmt.Sprint(n))
	}
	t := newTable("Minions", columns...)
	for _, g := range grown {
		for _, name := range names {
			cells := []string{fmt.Sprintf("%s, %s: %s", g.title, g.unit, name)}
			for _, n := range growSizes {
				cell := "–"
				if s := r.scenario(fmt.Sprintf("%s-%d", g.kind, n)); s != nil {
					if v, ok := figure(s.Rounds, name, g.key); ok {
						cell = number(v)
					}
				}
				cells = append(cells, cell)
			}
			t.row(cells...)
		}
	}
	return t.String()
}

// summarized are the figures of the README.
var summarized = []struct{ scenario, key, says string }{
	{"stream-1000", "cpu", "CPU a delivery, publishes in a stream to 1,000 minions, us"},
	{"single-400B-2000", "cpu", "CPU a delivery, a single publish to 2,000 minions, us"},
	{"single-400B-2000", "p50", "until the last of 2,000 minions has a publish, ms"},
	{"requests-400B-200", "cpu", "CPU a request, 200 minions, us"},
	{"requests-400B-200", "rate", "requests/s, 200 minions"},
	{"short-100", "cpu", "CPU a request with a connection of its own, us"},
	{"rush-9000", "cpu", "CPU a new connection, us"},
	{"idle-9000", "later", "memory an idle connection, KB"},
}

// summary is what most people want to know.
func (r *Record) summary() string {
	peers := relayNames(relays)[:4] // without the floor
	t := newTable("", peers...)
	for _, one := range summarized {
		cells := []string{one.says}
		s := r.scenario(one.scenario)
		for _, name := range peers {
			cell := "–"
			if s != nil {
				if v, ok := figure(s.Rounds, name, one.key); ok {
					cell = number(v)
				}
			}
			cells = append(cells, cell)
		}
		t.row(cells...)
	}
	return t.String()
}

// listTable is a table as reStructuredText has it.
type listTable struct{ strings.Builder }

func newTable(first string, columns ...string) *listTable {
	t := &listTable{}
	t.WriteString(".. list-table::\n   :header-rows: 1\n\n")
	t.row(append([]string{first}, columns...)...)
	return t
}

func (t *listTable) row(cells ...string) {
	for i, cell := range cells {
		lead := "     - "
		if i == 0 {
			lead = "   * - "
		}
		t.WriteString(strings.TrimRight(lead+cell, " ") + "\n")
	}
}

// wrap breaks text into lines of at most 120 characters.
func wrap(text, indent string) string {
	var out strings.Builder
	length := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case length == 0:
			out.WriteString(indent)
			length = len(indent)
		case length+1+len(word) > 120:
			out.WriteString("\n" + indent)
			length = len(indent)
		default:
			out.WriteByte(' ')
			length++
		}
		out.WriteString(word)
		length += len(word)
	}
	return out.String() + "\n"
}

// says is what the target's figure is called.
func (t *target) says() string {
	for _, m := range scenarioNamed(t.scenario).metrics {
		if m.key == t.key {
			return m.says
		}
	}
	return t.key
}
