package retproxy

import (
	"slices"
	"testing"
	"time"
)

func TestQueueOrderOfService(t *testing.T) {
	type entry struct {
		name    string
		since   time.Duration
		several bool
	}
	for _, tt := range []struct {
		name    string
		entries []entry
		now     time.Duration
		want    []string
	}{
		{"nothing", nil, 0, nil},
		{
			"first come first served while fresh",
			[]entry{{"a", 0, false}, {"b", 1, false}, {"c", 2, false}},
			freshFor,
			[]string{"a", "b", "c"},
		},
		{
			"newest first beyond",
			[]entry{{"a", 0, false}, {"b", 1, false}, {"c", 2, false}},
			freshFor + 3,
			[]string{"c", "b", "a"},
		},
		{
			"the age of the oldest decides, again for every turn",
			[]entry{{"old", 0, false}, {"b", time.Second, false}, {"c", time.Second, false}},
			freshFor + 1,
			[]string{"c", "b", "old"},
		},
		{
			"who had their share wait for their turn while fresh",
			[]entry{{"a", 0, false}, {"x", 1, true}, {"b", 2, false}, {"y", 3, true}},
			4,
			[]string{"a", "x", "b", "y"},
		},
		{
			"and get every second turn beyond, however new",
			[]entry{{"a", 0, false}, {"b", 1, false}, {"c", 2, false}, {"x", 3, true}, {"y", 4, true}},
			freshFor + 3,
			[]string{"x", "c", "y", "b", "a"},
		},
		{
			"alone they are served like all",
			[]entry{{"x", 0, true}, {"y", 1, true}},
			2,
			[]string{"x", "y"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var q queue
			names := map[*request]string{}
			for _, e := range tt.entries {
				r := &request{since: e.since, several: e.several}
				names[r] = e.name
				q.push(r)
			}
			if q.length != len(tt.entries) {
				t.Fatalf("length %d, want %d", q.length, len(tt.entries))
			}
			var got []string
			for r := q.pick(tt.now); r != nil; r = q.pick(tt.now) {
				if again := q.pick(tt.now); again != r {
					t.Fatal("picking changes who is picked")
				}
				got = append(got, names[r])
				q.served(r)
				q.remove(r)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("served %v, want %v", got, tt.want)
			}
			if q.length != 0 {
				t.Errorf("length %d at the end", q.length)
			}
		})
	}
}

func TestQueueRemoveAnywhere(t *testing.T) {
	for _, leaves := range []int{0, 1, 2} {
		var q queue
		var requests []*request
		for i := range 3 {
			r := &request{since: time.Duration(i)}
			requests = append(requests, r)
			q.push(r)
		}
		gone := requests[leaves]
		q.remove(gone)
		if gone.queued || gone.prev != nil || gone.next != nil {
			t.Errorf("request %d still has a place", leaves)
		}
		want := slices.DeleteFunc(requests, func(r *request) bool { return r == gone })
		for _, w := range want {
			if got := q.pick(0); got != w {
				t.Fatalf("without request %d: not in order", leaves)
			}
			q.remove(w)
		}
		if q.pick(0) != nil || q.length != 0 {
			t.Errorf("without request %d: %d left", leaves, q.length)
		}
	}
}
