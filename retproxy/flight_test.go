package retproxy

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"salt-broker/internal/reactor"
)

// TestFlightsAgainstModel runs random operations against flights and a slice for each link.
func TestFlightsAgainstModel(t *testing.T) {
	type sent struct {
		route route
		owner int
		at    time.Duration
	}
	random := rand.New(rand.NewPCG(1, 2))
	links := []*link{
		{order: order{first: -1, last: -1}},
		{order: order{first: -1, last: -1}},
	}
	f := flights{free: -1}
	model := make([][]sent, len(links))
	var void []route // of places that were given up
	most, places := 0, 0

	for step := range 20000 {
		n := random.IntN(len(links))
		k := links[n]
		switch op := random.IntN(10); {
		case op < 5 && places < 50:
			s := sent{route{minion: reactor.Ref(random.Uint64()), ticket: 0}, random.IntN(4), time.Duration(step)}
			s.route.ticket = f.add(k, s.route.minion, s.at, s.owner, name{})
			model[n] = append(model[n], s)
			places++
			most = max(most, places)
		case op < 9 && len(model[n]) > 0:
			at := random.IntN(len(model[n]))
			s := model[n][at]
			if f.find(links[1-n], s.route) >= 0 {
				t.Fatalf("step %d: the other link frees a place", step)
			}
			if f.find(k, route{s.route.minion + 1, s.route.ticket}) >= 0 {
				t.Fatalf("step %d: another minion frees a place", step)
			}
			i := f.find(k, s.route)
			if i < 0 {
				t.Fatalf("step %d: a place is lost", step)
			}
			was := f.remove(i)
			if was.minion != s.route.minion || int(was.owner) != s.owner || was.sent != s.at || was.link != k {
				t.Fatalf("step %d: found %+v, want %+v", step, was, s)
			}
			model[n] = slices.Delete(model[n], at, at+1)
			void = append(void, s.route)
			places--
		case len(void) > 0:
			if f.find(k, void[random.IntN(len(void))]) >= 0 {
				t.Fatalf("step %d: a place is freed twice", step)
			}
		}
		if k.order.length != len(model[n]) {
			t.Fatalf("step %d: %d on the link, want %d", step, k.order.length, len(model[n]))
		}
		if step%97 == 0 {
			i := k.order.first
			for _, s := range model[n] {
				if i < 0 || f.table[i].sent != s.at {
					t.Fatalf("step %d: not in the order sent", step)
				}
				i = f.table[i].next
			}
			if i >= 0 {
				t.Fatalf("step %d: more on the link than was sent", step)
			}
		}
	}
	if len(f.table) != most {
		t.Errorf("the table has %d places, want the %d that were in use at a time", len(f.table), most)
	}
}

func TestFlightsFindBelievesNothing(t *testing.T) {
	k := &link{order: order{first: -1, last: -1}}
	f := flights{free: -1}
	good := route{minion: 1<<32 | 1, ticket: f.add(k, 1<<32|1, 0, 0, name{})}
	for _, tt := range []struct {
		name  string
		route route
		found bool
	}{
		{"as sent", good, true},
		{"a place beyond the table", route{good.minion, good.ticket | 1<<32}, false},
		{"the last place of all", route{good.minion, ^ticket(0)}, false},
		{"another generation", route{good.minion, good.ticket + 1}, false},
		{"another minion", route{good.minion + 1, good.ticket}, false},
		{"no minion", route{0, good.ticket}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if found := f.find(k, tt.route) >= 0; found != tt.found {
				t.Errorf("found: %v", found)
			}
		})
	}
}
