package merge

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// collector is a sink that remembers what goes out, as A5: path A was the first with 5.
type collector struct {
	out    []string
	astray []int
}

func (c *collector) Publish(path int, msg []byte) {
	c.out = append(c.out, string(rune('A'+path))+string(msg))
}

func (c *collector) Astray(path int) { c.astray = append(c.astray, path) }

// perform does what a script says on three paths with a hold of a second: A+ connects, A- cuts, A5 delivers, 300ms is
// the time from here on, ! gives out what is held, and a word in brackets is all that must have gone out since the last
// one.
func perform(t *testing.T, script string) *Merge {
	t.Helper()
	var (
		out  collector
		now  time.Duration
		m    = New(3, time.Second, &out)
		step = func(word string) {
			path := int(word[0] - 'A')
			switch rest := word[1:]; rest {
			case "+":
				m.Begin(path, now)
			case "-":
				m.End(path, now)
			default:
				m.Deliver(path, []byte(rest), now)
			}
		}
	)
	for _, word := range strings.Fields(script) {
		switch {
		case word[0] == '(':
			if got := "(" + strings.Join(out.out, ",") + ")"; got != word {
				t.Fatalf("%s\nat %v has gone out %s, want %s", script, now, got, word)
			}
			out.out = nil
		case word == "!":
			m.Flush(now)
		case word[0] >= 'A':
			step(word)
		default:
			to, err := time.ParseDuration(word)
			if err != nil {
				t.Fatal(err)
			}
			for at, ok := m.Next(now); ok && at <= to; at, ok = m.Next(now) {
				now = at
				m.Advance(now)
			}
			now = to
		}
	}
	return m
}

func TestOrder(t *testing.T) {
	for name, script := range map[string]string{
		"one path":             "A+ A1 (A1) A2 A3 (A2,A3) A- A+ A4 (A4)",
		"the first copy wins":  "A+ B+ A1 B1 (A1) A2 (A2) B2 B3 (B3) A3 A4 (A4) B4 ()",
		"a slow path":          "A+ B+ A1 B1 (A1) A2 A3 A4 (A2,A3,A4) B2 B3 B4 () B5 (B5)",
		"nobody else to bring": "A+ A1 B+ A- (A1) B2 (B2)",

		// A is cut and misses 2 and 3. 4 must not overtake what B still carries.
		"cut and back":                "A+ B+ A1 B1 (A1) A- 100ms A+ 200ms A4 A5 () 300ms B2 (B2) B3 (B3) B4 (B4,A5) B5 () A6 (A6)",
		"cut and back, B is there":    "A+ B+ A1 B1 (A1) A- A+ B2 B3 (B2,B3) A4 () B4 (B4) A5 (A5)",
		"cut and back, B knows it":    "A+ B+ A1 B1 (A1) A- B2 A+ B3 (B2,B3) A3 A4 (A4)",
		"cut and back, B misses some": "A+ B+ A1 B1 (A1) A- A+ A4 A5 A6 () B2 (B2) B6 (A4,A5,B6)",
		"cut and back, B goes":        "A+ B+ A1 B1 (A1) A- A+ A4 A5 () B- (A4,A5) A6 (A6)",
		"both cut":                    "A+ B+ A1 B1 (A1) A- B- A+ A4 (A4) B+ B5 () A5 (A5) B6 (B6)",

		// The hold.
		"B says nothing":             "A+ B+ A1 B1 (A1) A- A+ A4 A5 999ms () 1s (A4,A5) A6 (A6)",
		"B comes too late":           "A+ B+ A1 B1 (A1) A- A+ A4 1s (A4) B2 B3 B4 () B5 (B5)",
		"what was brought before it": "A+ B+ A1 B1 (A1) A- A+ A4 A- () 999ms () 1s (A4)",
		"and is confirmed":           "A+ B+ A1 B1 (A1) A- A+ A4 A- () B2 B3 (B2,B3) B4 (B4) A+ 2s ()",
		"twice":                      "A+ B+ A1 B1 (A1) A- A+ A4 A5 A- A+ A7 () B2 B3 (B2,B3) B4 (B4,A5) B5 () B6 (B6) B7 (B7)",

		"and twice again": "A+ B+ A1 B1 (A1) B- B+ B2 B- () A2 (A2) B+ B4 B- () A3 A4 (A3,A4)",
		"overtaken":       "A+ B+ B5 50ms A2 A3 1s (B5) 1020ms B6 (B6) 1050ms () 1300ms A4 A5 A6 () A7 (A7)",

		"two return and one goes": "A+ B+ C+ A1 B1 C1 (A1) B- C- B+ C+ B5 900ms C4 C- A- () 1s () 1900ms (C4,B5)",

		// Given out before the hold is over, and what comes later is held as ever.
		"flushed":        "A+ B+ A1 B1 (A1) A- A+ A4 A5 () ! (A4,A5) B2 () B5 B6 (B6) A6 A- A+ A9 () B7 (B7)",
		"flushed, a cut": "A+ B+ C+ A1 B1 C1 (A1) A- A+ A4 A- 100ms B- B+ B5 () ! (A4,B5) C2 C6 ()",
		"nothing held":   "! A+ ! A1 ! (A1) A2 (A2)",

		// What a publisher drops in silence.
		"the first loses":          "A+ B+ A1 B1 (A1) A3 (A3) B2 () B3 () B4 (B4)",
		"the first loses, but not": "A+ B+ A1 B1 (A1) B2 B3 (B2,B3) A3 A4 (A4)",
		"the other loses":          "A+ B+ A1 B1 (A1) A2 A3 (A2,A3) B3 B4 (B4)",
		"both lose":                "A+ B+ A1 B1 (A1) A2 (A2) B3 () A4 (A4) B4 () B5 (B5)",
		"the other, and A goes":    "A+ B+ A1 B1 (A1) A2 A- (A2) B3 B4 () 1s (B3,B4) B5 (B5)",
		"and a third has it still": "A+ B+ C+ A1 B1 C1 (A1) A3 (A3) B2 B3 C2 2s () C3 C4 (C4)",

		// Start.
		"all at once":   "A+ B+ A1 () B1 (A1) A2 (A2)",
		"B knows more":  "A+ B+ B1 B2 () A2 (B1,A2) A3 (A3)",
		"three paths":   "A+ B+ C+ A1 B1 () C1 (A1) C2 (C2)",
		"same again":    "A+ A1 A1 (A1) B+ B1 B1 B2 (B2)",
		"as before":     "A+ B+ A1 B1 A2 B2 (A1,A2) A1 A3 (A3)",
		"same, on hold": "A+ B+ A1 A1 () B1 (A1)",

		// Masters that lie.
		"two orders":   "A+ B+ A1 A2 B2 B1 2s (A1,B2)",
		"three orders": "A+ B+ C+ A1 A2 A3 B3 B1 B2 C2 C3 C1 3s (A2,B3,A1)",
		"other master": "A+ B+ A1 B1 (A1) A2 A3 (A2,A3) B8 B9 500ms A4 (A4) 1s () A5 (A5) 2s () A6 (A6)",
	} {
		t.Run(name, func(t *testing.T) {
			m := perform(t, script)
			for i := range m.paths {
				if c := m.Counts(i); m.paths[i].queue.len() != c.Held {
					t.Errorf("path %d holds %d and counts %+v", i, m.paths[i].queue.len(), c)
				}
			}
		})
	}
}

func TestCounts(t *testing.T) {
	m := perform(t, "A+ B+ A1 B1 A2 A4 B2 B3 A5 A6 B4 C+ C7 C8 (A1,A2,A4,A5,A6)")
	for i, want := range []Counts{
		{First: 5, Placed: true},
		{Repeated: 3, Late: 1, Behind: 2, Placed: true},
		{Held: 2},
	} {
		if got := m.Counts(i); got != want {
			t.Errorf("path %d: %+v, want %+v", i, got, want)
		}
	}
	m = perform(t, "A+ B+ A1 B1 (A1) A2 B3 B- (A2)")
	if got, want := m.Counts(1), (Counts{Repeated: 1, Unknown: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestAstray: who is further behind than what is remembered is to be cut, and nothing of it goes out until then.
func TestAstray(t *testing.T) {
	var out collector
	m := New(2, time.Second, &out)
	m.most = 4
	m.Begin(0, 0)
	m.Begin(1, 0)
	for i := range 6 {
		m.Deliver(0, fmt.Append(nil, i), 0)
		if i == 0 {
			m.Deliver(1, []byte("0"), 0)
		}
	}
	if len(out.astray) != 1 || out.astray[0] != 1 {
		t.Fatalf("astray: %v", out.astray)
	}
	m.Deliver(1, []byte("1"), 0) // forgotten
	if m.End(0, 0); len(out.out) != 6 {
		t.Errorf("%v has gone out", out.out)
	}
	m.Advance(2 * time.Second)
	m.Begin(1, 2*time.Second)
	m.Deliver(1, []byte("7"), 2*time.Second)
	if len(out.out) != 7 || out.out[6] != "B7" {
		t.Errorf("%v has gone out", out.out)
	}
	if c := m.Counts(1); c.Unknown != 1 {
		t.Errorf("%+v", c)
	}
}

func TestFull(t *testing.T) {
	var out collector
	m := New(2, time.Second, &out)
	m.Begin(0, 0)
	m.Begin(1, 0)
	big := make([]byte, HeldBytes/4)
	for i := range 4 {
		if m.Full(0) {
			t.Fatalf("full with %d", i)
		}
		big[0] = byte(i)
		m.Deliver(0, big, 0)
	}
	if !m.Full(0) || m.Full(1) {
		t.Error("not full")
	}
	m.SetHold(time.Millisecond, 10*time.Millisecond)
	if len(out.out) != 4 || m.Full(0) || cap(m.paths[0].queue.bytes) != 0 {
		t.Errorf("%d have gone out, %d bytes are kept", len(out.out), cap(m.paths[0].queue.bytes))
	}
}
