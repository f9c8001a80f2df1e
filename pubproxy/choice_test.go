package pubproxy

import (
	"fmt"
	"testing"
)

func TestChoose(t *testing.T) {
	const none = -1
	var (
		well   = standing{listed: true, healthy: true, linked: true}
		dialed = standing{listed: true, healthy: true}
		lost   = standing{listed: true, healthy: true, lost: true}
		absent = standing{listed: true, healthy: true, lost: true, absent: true}
		mute   = standing{listed: true, linked: true}
		dead   = standing{listed: true, lost: true, absent: true}
		left   = standing{healthy: true, linked: true}
		gone   = standing{healthy: true, lost: true}
	)
	for _, test := range []struct {
		name                  string
		all                   []standing
		first, second         int
		wantFirst, wantSecond int
	}{
		{"one", []standing{dialed}, none, none, 0, none},
		{"one that is dead", []standing{dead}, 0, none, 0, none},
		{"at first the order of the list", []standing{dialed, dialed, dialed}, none, none, 0, 1},
		{"at first, the first one mute", []standing{{listed: true}, dialed, dialed}, none, none, 1, 2},
		{"all well", []standing{well, well, well}, 0, 1, 0, 1},
		{"no way back to an earlier one", []standing{well, well, well}, 1, 2, 1, 2},
		{"nor for the warm one", []standing{well, well, well}, 2, 1, 2, 1},
		{"at first it is waited for", []standing{dialed, well}, 0, 1, 0, 1},
		{"not for long", []standing{{listed: true, healthy: true, absent: true}, well}, 0, 1, 1, 0},
		{"one that lost its links has lost publishes too", []standing{lost, well}, 0, 1, 1, 0},
		{"and there is a third", []standing{lost, well, dialed}, 0, 1, 1, 0},
		{"which is better when the one before does not come back", []standing{absent, well, dialed}, 1, 0, 1, 2},
		{"it is waited for where the second is mute", []standing{lost, mute}, 0, 1, 0, 1},
		{"the first mute", []standing{mute, well, dialed}, 0, 1, 1, 2},
		{"the second is not there", []standing{mute, dialed}, 0, 1, 0, 1},
		{"nor answers", []standing{mute, mute}, 0, 1, 0, 1},
		{"but has a link, which the first has not", []standing{absent, mute}, 0, 1, 1, 0},
		{"both are gone", []standing{absent, absent}, 0, 1, 0, 1},
		{"both are gone, and there is a third", []standing{absent, absent, dialed}, 0, 1, 0, 2},
		{"which comes", []standing{absent, absent, well}, 0, 2, 2, 0},
		{"the second fails", []standing{well, absent, dialed}, 0, 1, 0, 2},
		{"the second fails, and there is no other", []standing{well, dead, dead}, 0, 1, 0, 1},
		{"the second is left out", []standing{well, dialed, left}, 0, 2, 0, 1},
		{"the first is left out", []standing{well, dialed, left}, 2, 0, 0, 1},
		{"the first is left out, and the next one is not there yet", []standing{dialed, left}, 1, none, 1, 0},
		{"nor will be", []standing{absent, left}, 1, 0, 0, none},
		{"the first is left out and has gone", []standing{dialed, gone}, 1, 0, 0, none},
		{"the first is left out, the second mute", []standing{mute, left}, 1, 0, 0, none},
		{"both are left out", []standing{dialed, well, left, left}, 2, 3, 2, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, second := choose(test.all, test.first, test.second)
			if first != test.wantFirst || second != test.wantSecond {
				t.Errorf("%d serves and %d is warm, want %d and %d", first, second, test.wantFirst, test.wantSecond)
			}
		})
	}
}

// TestChooseSettles looks at all that three peers can be: the choice is made once, and not undone by the next look.
func TestChooseSettles(t *testing.T) {
	var every []standing
	for bits := range 32 {
		s := standing{listed: bits&1 > 0, healthy: bits&2 > 0, linked: bits&4 > 0, absent: bits&8 > 0, lost: bits&16 > 0}
		if !s.linked || !s.absent && !s.lost {
			every = append(every, s)
		}
	}
	for _, a := range every {
		for _, b := range every {
			for _, c := range every {
				all := []standing{a, b, c}
				if !a.listed && !b.listed && !c.listed {
					continue
				}
				for first := range 3 {
					for second := -1; second < 3; second++ {
						if second != first {
							settles(t, all, first, second)
						}
					}
				}
			}
		}
	}
}

func settles(t *testing.T, all []standing, first, second int) {
	t.Helper()
	f, s := choose(all, first, second)
	what := fmt.Sprintf("%+v: %d, %d became %d, %d", all, first, second, f, s)
	if again, too := choose(all, f, s); again != f || too != s {
		t.Errorf("%s, and then %d, %d", what, again, too)
	}
	if f == s || s >= 0 && !all[s].listed {
		t.Error(what)
	}
	if now := all[first]; f != first && now.listed && !now.absent && !now.lost && (now.healthy || !all[f].healthy || !all[f].linked) {
		t.Errorf("%s: left for nothing", what)
	}
	if now := all[f]; now.absent && s >= 0 && all[s].linked {
		t.Errorf("%s: there is a better one", what)
	}
	for i, other := range all {
		if i != f && other.listed && s < 0 {
			t.Errorf("%s: none is warm", what)
		}
	}
}
