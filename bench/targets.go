//go:build linux

package main

import (
	"fmt"
	"io"
)

// target is what is to be reached: a figure of salt-broker's, or its ratio to another's.
type target struct {
	scenario string
	key      string
	to       string // "": the figure itself; best: the best peer; another scenario's name after a slash
	least    bool   // the limit is the least, else the most
	limit    float64
}

// best is whichever peer is best; the floor is none.
const best = "best peer"

var targets = []target{
	{"stream-100", "cpu", "libzmq", false, 0.55},
	{"stream-100", "rate", "libzmq", true, 1.7},
	{"stream-1000", "cpu", "libzmq", false, 0.55},
	{"stream-1000", "rate", "libzmq", true, 1.7},
	{"single-400B-2000", "p50", "libzmq", false, 0.6},
	{"single-400B-2000", "cpu", "floor", false, 1.15},
	{"single-400B-15000", "p50", "libzmq", false, 0.6},
	{"single-400B-15000", "cpu", "floor", false, 1.15},
	{"single-16K-2000", "p50", "libzmq", false, 0.6},
	{"single-16K-2000", "cpu", "floor", false, 1.15},
	{"single-16K-15000", "p50", "libzmq", false, 0.6},
	{"single-16K-15000", "cpu", "floor", false, 1.15},
	{"filtered-10000", "cpu", "/filtered-100", false, 1.3},
	{"requests-400B-200", "cpu", "libzmq", false, 0.65},
	{"requests-400B-200", "cpu", "nginx", false, 1.0},
	{"requests-400B-200", "rate", best, true, 1.2},
	{"requests-400B-200", "p99", "libzmq", false, 1.0},
	{"short-100", "cpu", "libzmq", false, 0.5},
	{"short-100", "rate", best, true, 1.4},
	{"short-1000", "cpu", "libzmq", false, 0.5},
	{"short-1000", "rate", best, true, 1.4},
	{"rush-15000", "cpu", "libzmq", false, 0.6},
	{"rush-15000", "cpu", "nginx", false, 1.2},
	{"idle-15000", "memory", "", false, 0.5},
	{"idle-15000", "later", "", false, 0.5},
	{"idle-15000", "left", "", false, 20},
	{"mixed", "p99", "libzmq", false, 0.5},
}

// judge says which targets are reached, of those that were measured.
func (r *Record) judge(w io.Writer) {
	first := true
	for _, t := range targets {
		v, against, ok := t.reached(r)
		if !ok {
			continue
		}
		if first {
			_, _ = fmt.Fprintf(w, "\nto reach\n")
			first = false
		}
		verdict, sign := "ok", "<="
		if t.least {
			sign = ">="
		}
		if t.missed(v) {
			verdict = "MISSED"
		}
		_, _ = fmt.Fprintf(w, "  %-6s  %-18s %-7s %-26s %8s   to be %s %s%s\n", verdict, t.scenario, t.key, against, number(v), sign, number(t.limit),
			t.spread(r))
	}
}

// missed says whether a figure is on the wrong side of the limit.
func (t *target) missed(v float64) bool {
	if t.least {
		return v < t.limit
	}
	return v > t.limit
}

// reached is the figure that a target is about, and what it is compared with.
func (t *target) reached(r *Record) (v float64, against string, ok bool) {
	s := r.scenario(t.scenario)
	if s == nil {
		return 0, "", false
	}
	switch {
	case t.to == "":
		v, ok = figure(s.Rounds, ours, t.key)
		return v, "", ok
	case t.to[0] == '/':
		other := r.scenario(t.to[1:])
		if other == nil {
			return 0, "", false
		}
		mine, ok1 := figure(s.Rounds, ours, t.key)
		its, ok2 := figure(other.Rounds, ours, t.key)
		return mine / its, "to " + t.to[1:], ok1 && ok2
	case t.to == best:
		peer := s.best(t.key, t.least)
		v, ok = ratio(s.Rounds, peer, t.key)
		return v, fmt.Sprintf("to %s (%s)", peer, best), ok
	}
	v, ok = ratio(s.Rounds, t.to, t.key)
	return v, "to " + t.to, ok
}

// spread is how far the ratios of the rounds are apart: what lies on both sides of the limit is not decided.
func (t *target) spread(r *Record) string {
	s := r.scenario(t.scenario)
	peer := t.to
	if peer == best {
		peer = s.best(t.key, t.least)
	}
	all := ratios(s.Rounds, peer, t.key)
	if len(all) < 2 {
		return ""
	}
	return fmt.Sprintf("   rounds: %s to %s", number(all[0]), number(all[len(all)-1]))
}

func (r *Record) scenario(name string) *Result {
	for i := range r.Scenarios {
		if r.Scenarios[i].Name == name {
			return &r.Scenarios[i]
		}
	}
	return nil
}

// best is the peer with the best median.
func (s *Result) best(key string, more bool) (name string) {
	var most float64
	for _, peer := range relays {
		v, ok := figure(s.Rounds, peer.name, key)
		if peer.name == ours || peer.name == "floor" || !ok {
			continue
		}
		if name == "" || more == (v > most) {
			name, most = peer.name, v
		}
	}
	return name
}
