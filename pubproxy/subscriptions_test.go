package pubproxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestTreeAgainstModel does the same to a tree and to plain maps.
func TestTreeAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			topic := func() string {
				b := make([]byte, r.IntN(8))
				for i := range b {
					b[i] = "ab\x00\xff"[r.IntN(4)]
				}
				return string(b)
			}
			var tr tree
			minions := make([]*minion, 12)
			model := make([]map[string]bool, len(minions))
			for i := range minions {
				minions[i], model[i] = &minion{}, map[string]bool{}
			}
			having := func(prefix string) (n int) {
				for _, m := range model {
					if m[prefix] {
						n++
					}
				}
				return n
			}
			for step := range 3000 {
				i := r.IntN(len(minions))
				prefix := topic()
				switch op := r.IntN(20); {
				case op < 10:
					added, first := tr.add(minions[i], prefix)
					if want := !model[i][prefix]; added != want {
						t.Fatalf("step %d: add %q: added %v, want %v", step, prefix, added, want)
					}
					if want := having(prefix) == 0; first != want {
						t.Fatalf("step %d: add %q: first %v, want %v", step, prefix, first, want)
					}
					model[i][prefix] = true
				case op < 19:
					had := model[i][prefix]
					delete(model[i], prefix)
					removed, last := tr.remove(minions[i], []byte(prefix))
					if removed != had || last != (had && having(prefix) == 0) {
						t.Fatalf("step %d: remove %q: removed %v last %v", step, prefix, removed, last)
					}
				default:
					var want, got []string
					for p := range model[i] {
						delete(model[i], p)
						if having(p) == 0 {
							want = append(want, p)
						}
					}
					tr.removeSome(minions[i], len(minions[i].entries), func(p string) { got = append(got, p) })
					slices.Sort(want)
					slices.Sort(got)
					if !slices.Equal(got, want) {
						t.Fatalf("step %d: removeSome: last of %q, want %q", step, got, want)
					}
				}
				distinct := map[string]bool{}
				for _, m := range model {
					for p := range m {
						distinct[p] = true
					}
				}
				if tr.count != len(distinct) {
					t.Fatalf("step %d: count %d, want %d", step, tr.count, len(distinct))
				}
				heard := topic()
				found := map[*minion]int{}
				tr.match([]byte(heard), func(m *minion) { found[m]++ })
				for i, m := range minions {
					want := 0
					for p := range model[i] {
						if strings.HasPrefix(heard, p) {
							want++
						}
					}
					if found[m] != want {
						t.Fatalf("step %d: %q finds minion %d %d times, want %d", step, heard, i, found[m], want)
					}
					if tr.wants(m, []byte(heard)) != (want > 0) {
						t.Fatalf("step %d: wants %q of minion %d is wrong", step, heard, i)
					}
				}
			}
			for _, m := range minions {
				tr.removeSome(m, len(m.entries), func(string) {})
			}
			if tr.count != 0 || len(tr.root.children) != 0 || len(tr.root.members) != 0 {
				t.Errorf("an empty tree keeps %+v", tr)
			}
		})
	}
}

func TestTreeIsOnlyAsLargeAsItsPrefixes(t *testing.T) {
	var tr tree
	m := &minion{}
	for i := range 10000 {
		tr.add(m, fmt.Sprintf("%040x", i*7919))
	}
	var nodes func(n *node) int
	nodes = func(n *node) int {
		sum := 1
		for _, c := range n.children {
			if len(c.members) == 0 && len(c.children) < 2 {
				t.Fatalf("node %q stands for nothing", c.prefix())
			}
			sum += nodes(c)
		}
		return sum
	}
	if n := nodes(&tr.root); n > 2*10000 {
		t.Errorf("%d nodes for 10000 prefixes", n)
	}
	for i := range 10000 {
		if removed, last := tr.remove(m, fmt.Appendf(nil, "%040x", i*7919)); !removed || !last {
			t.Fatalf("prefix %d: removed %v, last %v", i, removed, last)
		}
		if i%1000 == 0 {
			nodes(&tr.root)
		}
	}
}
