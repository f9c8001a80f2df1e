package masters

import (
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// route is the path by which requests go.
func (w *world) route() string {
	w.t.Helper()
	first := w.Serving().Master.Paths[0].Request
	for _, m := range w.State().Masters {
		for _, p := range m.Paths {
			if m.Serving && p.Requests != (p.Request == first) {
				w.t.Errorf("requests take %s, the state says %+v", first, m.Paths)
			}
		}
	}
	return first
}

// A path that fails is left for the quickest of the others as soon as that is known; the master goes on serving.
func TestRouteThatFails(t *testing.T) {
	for name, how := range map[string]behavior{"refuses": refuses, "is mute": mute} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, failover("a+b+c", "d"), nil, func(w *world) {
				w.slow(40*time.Millisecond, "b")
				w.slow(20*time.Millisecond, "c")
				w.after(65*time.Second, "a+b+c")
				if got := w.route(); got != "a:4506" {
					t.Fatalf("requests take %s", got)
				}
				w.become(how, "a")
				w.count.Add(1)
				w.Nudge(false)
				most := time.Second
				if how == mute {
					most += 3 * w.options.Timeout
				}
				w.after(most, "a+b+c")
				if got := w.route(); got != "c:4506" {
					t.Errorf("requests take %s", got)
				}
				if !slices.Equal(w.served, []string{"a+b+c"}) || w.spared[0] {
					t.Errorf("%v %v", w.served, w.spared)
				}
				w.says(logrus.InfoLevel, "requests take another path to a master", 1)
				if p := w.Serving().Master.Paths; len(p) != 3 || p[1].Request != "a:4506" || p[2].Request != "b:4506" {
					t.Errorf("%v", p)
				}
			})
		})
	}
}

// That the master answers others excuses the silence of the path by which they ask, and of no other one.
func TestSilenceOfAnotherPath(t *testing.T) {
	inWorld(t, failover("a+b"), nil, func(w *world) {
		w.become(mute, "a", "b")
		stop := w.answering()
		w.after(5*time.Minute, "a+b")
		stop()
		if p := w.State().Masters[0].Paths; p[0].Health != Up || p[1].Health != Down {
			t.Errorf("%+v", p)
		}
	})
}

// A path on which the answer to a ping comes too late is slow, although the master answers others: it is left for one
// that is quicker than the time-out, and what is due by the old one may come.
func TestRouteTooSlowForAProbe(t *testing.T) {
	inWorld(t, failover("a+b"), nil, func(w *world) {
		w.slow(20*time.Millisecond, "b")
		w.after(time.Second, "a+b")
		w.become(mute, "a")
		stop := w.answering()
		w.after(w.options.Interval+convinced*(w.options.Timeout+curious), "a+b")
		stop()
		if got := w.route(); got != "b:4506" || !slices.Equal(w.spared, []bool{true}) {
			t.Errorf("requests take %s; %v", got, w.spared)
		}
		if p := w.State().Masters[0].Paths[0]; p.Health != Up || p.Latency != w.options.Timeout {
			t.Errorf("%+v", p)
		}
		w.says(logrus.InfoLevel, "requests take another path to a master", 1)
	})
}

// A path that becomes slow is left when another one is clearly quicker, and not for a moment's weakness; what is due by
// the old one may come. There is no going to and fro between two that are much the same.
func TestRouteThatDegrades(t *testing.T) {
	inWorld(t, failover("a+b"), nil, func(w *world) {
		w.slow(20*time.Millisecond, "a")
		w.slow(22*time.Millisecond, "b")
		w.after(5*time.Minute, "a+b")
		w.slow(300*time.Millisecond, "a") // once
		w.Nudge(false)
		time.Sleep(400 * time.Millisecond)
		w.slow(20*time.Millisecond, "a")
		w.after(5*time.Minute, "a+b")
		if got := w.route(); got != "a:4506" || len(w.served) != 0 {
			t.Fatalf("requests take %s", got)
		}
		w.slow(300*time.Millisecond, "a")
		w.after(w.options.Interval+5*time.Second, "a+b")
		if got := w.route(); got != "b:4506" || !slices.Equal(w.spared, []bool{true}) {
			t.Fatalf("requests take %s; %v", got, w.spared)
		}
		for i := range 100 { // they are the same, more or less
			w.slow(time.Duration(18+i*7%9)*time.Millisecond, "a")
			w.after(w.options.Interval, "a+b")
		}
		w.slow(2*time.Millisecond, "b")
		w.slow(time.Millisecond, "a") // half of it, and hardly anything
		w.after(10*w.options.Interval, "a+b")
		if got := w.route(); got != "b:4506" || len(w.served) != 1 {
			t.Errorf("requests take %s, after %d changes", got, len(w.served))
		}
	})
}

// While a path looks slow it is measured more often, however long the interval is.
func TestRouteIsFoundSoon(t *testing.T) {
	o := failover("a+b")
	o.Interval = time.Hour
	inWorld(t, o, nil, func(w *world) {
		w.slow(time.Second, "a")
		w.Nudge(false)
		w.after(3*curious, "a+b")
		if got := w.route(); got != "b:4506" {
			t.Errorf("requests take %s", got)
		}
	})
}

func TestRouteDecides(t *testing.T) {
	const ms = time.Millisecond
	up := func(took time.Duration) *path { return &path{health: health{is: Up, took: took}} }
	doubtful := &path{health: health{is: Up, took: ms, against: 1}}
	down := &path{health: health{is: Down, took: ms}}
	for name, test := range map[string]struct {
		measured []int // one after the other
		paths    [][]*path
		want     int
	}{
		"a sixth quicker":            {[]int{0, 0, 0, 0}, [][]*path{{up(300 * ms), up(250 * ms)}}, 0},
		"a third quicker":            {[]int{0, 0, 0}, [][]*path{{up(300 * ms), up(199 * ms)}}, 1},
		"twice only":                 {[]int{0, 0}, [][]*path{{up(300 * ms), up(199 * ms)}}, 0},
		"others are measured":        {[]int{0, 1, 2, 1, 2}, [][]*path{{up(300 * ms), up(ms), up(2 * ms)}}, 0},
		"not beyond doubt":           {[]int{0, 0, 0}, [][]*path{{up(300 * ms), doubtful}}, 0},
		"down, for one in doubt":     {[]int{0}, [][]*path{{down, doubtful, up(time.Second)}}, 2},
		"down, for nobody":           {[]int{0}, [][]*path{{down, doubtful, down}}, 0},
		"not the same one each time": {[]int{0, 0, 0}, [][]*path{{up(300 * ms), up(ms), up(2 * ms)}, {up(300 * ms), up(2 * ms), up(ms)}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var r route
			for i, measured := range test.measured {
				r.decide(test.paths[i%len(test.paths)], measured)
			}
			if r.path != test.want {
				t.Errorf("path %d, want %d", r.path, test.want)
			}
		})
	}
}

// At the start the quickest path is found, also of a master that does not serve; a reload keeps it.
func TestRouteAtTheStart(t *testing.T) {
	o := failover("a+b", "c+d")
	inWorld(t, o, map[string]behavior{"a": refuses}, func(w *world) {
		w.slow(time.Second, "c")
		if got := w.route(); got != "b:4506" {
			t.Errorf("requests take %s", got)
		}
		w.after(3*o.Interval, "a+b")
		served := len(w.served)
		if slices.Contains(w.served, "c+d") {
			t.Errorf("one that does not serve is said to: %v", w.served)
		}
		w.become(refuses, "b")
		w.Nudge(false)
		w.after(2*time.Second, "c+d")
		if got := w.route(); got != "d:4506" || len(w.served) != served+1 {
			t.Errorf("requests take %s; %v", got, w.served)
		}
		o.Interval *= 2
		w.Apply(o)
		if got := w.route(); got != "d:4506" {
			t.Errorf("requests take %s", got)
		}
	})
}
