package pubproxy

import (
	"reflect"
	"slices"
	"testing"

	"salt-broker/internal/heartbeat"
	"salt-broker/internal/latency"
	"salt-broker/internal/master"
	"salt-broker/internal/merge"
	"salt-broker/internal/reactor"
)

// Every counter of a former proxy is added, those of later versions too: a counter is a uint64, what is so now an int.
func TestNumbersOutliveTheirProxy(t *testing.T) {
	one := heartbeat.Counts{PingsSent: 1, PongsReceived: 1, PingsReceived: 1, Silent: 1}
	numbers := func() Stats {
		s := Stats{Open: true, Ends: map[string]uint64{"left": 1}}
		for _, f := range reflect.ValueOf(&s).Elem().Fields() {
			switch f.Kind() {
			case reflect.Uint64:
				f.SetUint(1)
			case reflect.Int:
				f.SetInt(1)
			}
			if h, ok := f.Addr().Interface().(*latency.Histogram); ok {
				h.Counts[3], h.Nanos = 1, 1
			}
			if b, ok := f.Addr().Interface().(*heartbeat.Counts); ok {
				*b = one
			}
			if w, ok := f.Addr().Interface().(*WarmCounts); ok {
				*w = WarmCounts{1, 1, 1, 1, 1, 1}
			}
		}
		s.Loops = []reactor.LoopStats{{Turns: 1, Busy: 1, Connections: 1}}
		return s
	}
	former, present := numbers(), numbers()
	after := present.After(former).After(Stats{})
	ended := after.Ended()
	if !after.Open || ended.Open {
		t.Errorf("open: %v, and in the end %v", after.Open, ended.Open)
	}
	for field, f := range reflect.ValueOf(after).Fields() {
		end := reflect.ValueOf(ended).FieldByIndex(field.Index)
		switch f.Kind() {
		case reflect.Uint64:
			if f.Uint() != 2 || end.Uint() < 2 {
				t.Errorf("%s is %d, want 2, and %d in the end", field.Name, f.Uint(), end.Uint())
			}
		case reflect.Int:
			if f.Int() != 1 || end.Int() != 0 {
				t.Errorf("%s is %d, want 1, and %d in the end, want 0", field.Name, f.Int(), end.Int())
			}
		}
		if h, ok := f.Interface().(latency.Histogram); ok && (h.Counts[3] != 2 || h.Nanos != 2 || end.Interface() != h) {
			t.Errorf("%s is %+v, want 2, and %+v in the end", field.Name, h, end)
		}
		if w, ok := f.Interface().(WarmCounts); ok && (w != WarmCounts{2, 2, 2, 2, 2, 2} || end.Interface() != w) {
			t.Errorf("%s is %+v, want 2, and %+v in the end", field.Name, w, end)
		}
		if b, ok := f.Interface().(heartbeat.Counts); ok && (b != one.Plus(one) || end.Interface() != b) {
			t.Errorf("%s is %+v, want 2, and %+v in the end", field.Name, b, end)
		}
	}
	if want := (reactor.LoopStats{Turns: 2, Busy: 2, Connections: 1}); after.Loops[0] != want || former.Loops[0].Turns != 1 {
		t.Errorf("%+v of %+v", after.Loops, former.Loops)
	}
	if after.Ends["left"] != 2 || former.Ends["left"] != 1 || present.Ends["left"] != 1 {
		t.Errorf("%v, %v, %v", after.Ends, former.Ends, present.Ends)
	}
	if zero := present.After(Stats{}); zero.Ends["left"] != 1 {
		t.Errorf("%v", zero.Ends)
	}
}

// What a path has brought is that path's also in the next proxy, wherever it stands in the list there.
func TestPathsOutliveTheirProxy(t *testing.T) {
	road := func(peer, address string, first uint64) RoadStats {
		return RoadStats{Peer: peer, Link: master.State{Master: address}, Publishes: merge.Counts{First: first}}
	}
	former := Stats{Roads: []RoadStats{road("a", "near", 1), road("a", "far", 2), road("b", "near", 4), road("gone", "far", 8)}}
	present := Stats{Roads: []RoadStats{road("b", "near", 10), road("a", "new", 20), road("a", "near", 40), road("a", "far", 80)}}
	want := []RoadStats{road("b", "near", 14), road("a", "new", 20), road("a", "near", 41), road("a", "far", 82)}
	if after := present.After(former); !slices.Equal(after.Roads, want) {
		t.Errorf("%+v, want %+v", after.Roads, want)
	}
	if present.Roads[0].Publishes.First != 10 {
		t.Error("the snapshot is changed")
	}
}
