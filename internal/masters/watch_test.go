package masters

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"salt-broker/internal/master"
)

// world is a Watch on a virtual clock, and masters that are what the test says.
type world struct {
	*Watch
	t      *testing.T
	hook   *logtest.Hook
	count  atomic.Uint64 // replies to others
	flying atomic.Int64
	linked atomic.Bool
	mu     sync.Mutex
	is     map[string]behavior // by request address
	asked  map[string]int
	takes  map[string]time.Duration // an answer, by request address; others 1 ms
	at     map[string]Traffic       // what passes at a master, by name; others have what passes in all
	served []string
	spared []bool
	told   []Serving
	stop   func() error
}

type behavior uint8

const (
	good behavior = iota
	refuses
	mute
	wrong
	nameless
	panics
)

var errRefused = errors.New("request port: connection refused")

// listOf makes masters of names; a name with a plus has two paths.
func listOf(names ...string) (list []Master) {
	for _, name := range names {
		m := Master{Name: name}
		for path := range strings.SplitSeq(name, "+") {
			m.Paths = append(m.Paths, Path{Publish: path + ":4505", Request: path + ":4506"})
		}
		list = append(list, m)
	}
	return list
}

func failover(names ...string) Options {
	return Options{Masters: listOf(names...), Failover: true, FailbackAfter: time.Minute, Interval: 30 * time.Second, Timeout: 5 * time.Second}
}

// inWorld runs a test in a bubble with a clock of its own.
func inWorld(t *testing.T, o Options, before map[string]behavior, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log, hook := logtest.NewNullLogger()
		log.SetLevel(logrus.DebugLevel)
		w := &world{t: t, hook: hook, is: map[string]behavior{}, asked: map[string]int{}, takes: map[string]time.Duration{}, at: map[string]Traffic{}}
		for name, is := range before {
			w.is[name+":4506"] = is
		}
		w.Watch = New(o, log, func(s Serving) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.served, w.spared, w.told = append(w.served, s.Master.Name), append(w.spared, s.Spare), append(w.told, s)
		}, func(master string) Traffic {
			w.mu.Lock()
			defer w.mu.Unlock()
			if at, there := w.at[master]; there {
				return at
			}
			return Traffic{Replies: w.count.Load(), InFlight: int(w.flying.Load()), Linked: w.linked.Load()}
		})
		w.Watch.ask = w.answer
		ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // that of the test ends outside of the bubble
		ended := make(chan error, 1)
		go func() { ended <- w.Live(ctx) }()
		w.stop = sync.OnceValue(func() error {
			cancel()
			return <-ended
		})
		defer func() {
			if err := w.stop(); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		test(w)
	})
}

func (w *world) answer(ctx context.Context, _ master.Options, p Path, timeout time.Duration) (time.Duration, error) {
	w.mu.Lock()
	is, takes := w.is[p.Request], max(w.takes[p.Request], time.Millisecond)
	w.asked[p.Request]++
	w.mu.Unlock()
	switch is {
	case refuses:
		return 0, errRefused
	case wrong:
		return 0, errors.New("a ping is answered with something else")
	case nameless:
		return 0, fmt.Errorf("publish port: resolve: %w", &net.DNSError{Err: "server misbehaving", Name: p.Publish})
	case panics:
		panic("on purpose")
	case mute:
		select {
		case <-time.After(timeout):
			return 0, silence{errors.New("no answer")}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	default:
		return takes, nil
	}
}

// slow changes how long answers by a path take.
func (w *world) slow(takes time.Duration, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.takes[name+":4506"] = takes
}

// become changes what masters are, all at once.
func (w *world) become(is behavior, names ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		w.is[name+":4506"] = is
	}
}

// answering has the master that serves answer others, every second, until stop.
func (w *world) answering() (stop func()) {
	over := make(chan struct{})
	go func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Second):
				w.count.Add(1)
			}
		}
	}()
	return func() { close(over) }
}

// after lets time pass and wants a master to serve then.
func (w *world) after(d time.Duration, serves string) {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if got := w.Serving().Master.Name; got != serves {
		w.t.Fatalf("%s serves, want %s", got, serves)
	}
}

// within wants a master to serve before d has passed, and returns how long it took.
func (w *world) within(d time.Duration, serves string) time.Duration {
	w.t.Helper()
	began := time.Now()
	for w.Serving().Master.Name != serves {
		if time.Since(began) > d {
			w.t.Fatalf("%s serves after %v, want %s", w.Serving().Master.Name, d, serves)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
	}
	return time.Since(began)
}

// says wants so many lines of the log with a text.
func (w *world) says(level logrus.Level, text string, times int) {
	w.t.Helper()
	n := 0
	for _, e := range w.hook.AllEntries() {
		if e.Level == level && strings.Contains(e.Message, text) {
			n++
		}
	}
	if n != times {
		w.t.Errorf("%d lines say %q, want %d", n, text, times)
	}
}

// A link that ends has all masters asked at once, whatever the interval is.
func TestLostLink(t *testing.T) {
	inWorld(t, failover("a", "b", "c"), nil, func(w *world) {
		w.after(10*time.Second, "a")
		w.become(refuses, "a", "b")
		w.Nudge(false)
		if took := w.within(time.Second, "c"); took > 2*again+20*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		w.says(logrus.InfoLevel, "another master serves", 1)
		w.says(logrus.WarnLevel, "counts as down", 2)
		if s := w.State(); s.Serving != "c" || s.Moves[Failed] != 1 || s.Masters[0].Health != Down || !s.Masters[2].Serving {
			t.Errorf("%+v", s)
		}
		if !slices.Equal(w.served, []string{"c"}) {
			t.Errorf("served %q", w.served)
		}
	})
}

// However often links end, no master is asked all the time.
func TestNudgesAreRationed(t *testing.T) {
	inWorld(t, failover("a", "b"), nil, func(w *world) {
		time.Sleep(time.Second)
		before := w.asked["a:4506"]
		for range 1000 {
			w.Nudge(false)
			time.Sleep(time.Millisecond)
		}
		if n := w.asked["a:4506"] - before; n < 3 || n > 5 {
			t.Errorf("asked %d times within a second", n)
		}
	})
}

// A master that says nothing is left after a probe and three time-outs.
func TestMute(t *testing.T) {
	inWorld(t, failover("a", "b"), nil, func(w *world) {
		w.after(time.Second, "a")
		w.become(mute, "a")
		if took := w.within(time.Minute, "b"); took < 30*time.Second || took > 30*time.Second+3*5*time.Second+2*again {
			t.Errorf("it took %v", took)
		}
	})
}

// With requests at the master that nobody answers it does not take until the next probe is due. Requests that are
// answered, however slowly, have nobody asked.
func TestMuteWithRequests(t *testing.T) {
	o := failover("a", "b")
	o.Interval = time.Hour
	inWorld(t, o, nil, func(w *world) {
		w.flying.Store(1)
		for range 100 {
			w.after(4900*time.Millisecond, "a")
			w.count.Add(1)
		}
		if n := w.State().Masters[0].Paths[0].Probes; n != 1 {
			t.Errorf("%d probes although all are answered", n)
		}
		w.become(mute, "a")
		if took := w.within(time.Minute, "b"); took < 4*5*time.Second || took > 4*5*time.Second+look+2*again {
			t.Errorf("it took %v", took)
		}
	})
	inWorld(t, o, nil, func(w *world) { // nobody asks for anything
		w.after(50*time.Minute, "a")
		if n := w.State().Masters[0].Paths[0].Probes; n != 1 {
			t.Errorf("%d probes", n)
		}
	})
	o.Interval = 0
	inWorld(t, o, nil, func(w *world) {
		w.flying.Store(1)
		w.after(10*time.Minute, "a")
	})
}

// When all go mute at once nobody is moved: what was known of the others is from before.
func TestAllMute(t *testing.T) {
	inWorld(t, failover("a", "b", "c"), nil, func(w *world) {
		w.after(time.Second, "a")
		w.become(mute, "a", "b", "c")
		w.after(10*time.Minute, "a")
		if len(w.served) != 0 {
			t.Errorf("served %q", w.served)
		}
	})
}

// So it is when the others have been asked long before: the first bad answer of the one that serves has them asked.
func TestMuteSinceLongBefore(t *testing.T) {
	inWorld(t, failover("a", "b"), nil, func(w *world) {
		w.after(47*time.Second, "a")
		w.paths[1][0].wake <- struct{}{} // the next time is at 77 s, and a is asked at 60 s
		w.after(time.Second, "a")
		w.become(mute, "a", "b")
		w.after(10*time.Minute, "a")
		if len(w.served) != 0 {
			t.Errorf("served %q", w.served)
		}
	})
}

// A master that is too busy for a probe is not dead as long as it answers others. It is only the one that serves for
// which that counts, and only silence that it excuses.
func TestBusy(t *testing.T) {
	inWorld(t, failover("a", "b"), nil, func(w *world) {
		w.become(mute, "a", "b")
		stop := w.answering()
		w.after(10*time.Minute, "a")
		if s := w.State(); s.Masters[0].Health != Up || s.Masters[1].Health != Down || s.Masters[0].Paths[0].Failures != 0 {
			t.Errorf("%+v", s)
		}
		w.become(good, "b")
		w.become(wrong, "a")
		w.within(2*time.Minute, "b")
		stop()
	})
}

// A name server that is gone says nothing about a master that is connected. One whose links are gone as well is left,
// and nobody goes to one that cannot be found.
func TestNameless(t *testing.T) {
	inWorld(t, failover("a", "b", "c"), nil, func(w *world) {
		w.linked.Store(true)
		w.become(nameless, "a", "b")
		w.after(10*time.Minute, "a")
		if s := w.State(); s.Masters[0].Health != Up || s.Masters[1].Health != Down {
			t.Errorf("%+v", s)
		}
		w.linked.Store(false)
		w.Nudge(false)
		w.within(time.Second, "c")
		w.linked.Store(true)
		w.become(refuses, "c") // what it excuses is a name, and nothing else
		w.become(good, "a")
		w.Nudge(false)
		w.within(2*time.Second, "a")
	})
}

// One probe that fails, or two, move nobody.
func TestHiccup(t *testing.T) {
	inWorld(t, failover("a", "b"), nil, func(w *world) {
		for range 100 {
			w.become(wrong, "a")
			w.Nudge(false)
			time.Sleep(again + again/2) // two probes
			w.become(good, "a")
			w.after(2*time.Second, "a")
		}
		w.says(logrus.WarnLevel, "", 0)
		if s := w.State().Masters[0].Paths[0]; s.Failures < 100 {
			t.Errorf("%d failures", s.Failures)
		}
	})
}

// When none answers the last one keeps the minions, which is said once; all are asked more often, and the first that is
// back serves.
func TestNone(t *testing.T) {
	inWorld(t, failover("a", "b", "c"), nil, func(w *world) {
		w.after(time.Second, "a")
		w.become(refuses, "a", "b", "c")
		w.after(10*time.Minute, "a")
		w.says(logrus.WarnLevel, "no master answers", 1)
		w.become(good, "c")
		if took := w.within(time.Minute, "c"); took > eager+again+20*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		w.says(logrus.InfoLevel, "a master of the list answers again", 1)
	})
}

// So it is with one that was down before the others.
func TestNoneAndOneLongBefore(t *testing.T) {
	inWorld(t, failover("a", "b"), nil, func(w *world) {
		w.become(refuses, "b")
		w.after(5*time.Minute+29*time.Second, "a")
		w.become(refuses, "a")
		w.Nudge(false)
		w.after(time.Second, "a")
		w.become(good, "b")
		if took := w.within(time.Minute, "b"); took > eager+again+20*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// At the start nothing is known: the first answer decides.
func TestStart(t *testing.T) {
	inWorld(t, failover("a", "b"), map[string]behavior{"a": refuses}, func(w *world) {
		if s := w.Serving().Master.Name; s != "b" {
			t.Errorf("%s serves", s)
		}
		w.says(logrus.WarnLevel, "no master answers", 0)
	})
	inWorld(t, failover("a", "b"), map[string]behavior{"a": refuses, "b": mute}, func(w *world) {
		w.after(time.Second, "a")
		w.says(logrus.WarnLevel, "no master answers", 0) // b may yet
		w.after(10*time.Second, "a")
		w.says(logrus.WarnLevel, "no master answers", 1)
	})
}

// What several paths make of a master.
func TestJudge(t *testing.T) {
	up, doubtful, down, unknown := health{is: Up}, health{is: Up, against: 1}, health{is: Down}, health{}
	for _, test := range []struct {
		paths [2]health
		is    Health
		doubt bool
	}{
		{[2]health{up, up}, Up, false},
		{[2]health{up, doubtful}, Up, false},
		{[2]health{doubtful, up}, Up, false},
		{[2]health{doubtful, down}, Up, true},
		{[2]health{unknown, up}, Up, false},
		{[2]health{down, unknown}, Unknown, true},
		{[2]health{unknown, down}, Unknown, true},
		{[2]health{down, down}, Down, true},
	} {
		log, _ := logtest.NewNullLogger()
		w := New(failover("a+b"), log, nil, nil)
		for j, h := range test.paths {
			w.paths[0][j].health = h
		}
		w.judge(0, time.Now())
		if c := w.choice.candidates[0]; c.is != test.is || c.doubt != test.doubt {
			t.Errorf("%v: %v %v, want %v %v", test.paths, c.is, c.doubt, test.is, test.doubt)
		}
	}
}

func TestFailbackOfTheWatch(t *testing.T) {
	o := failover("a", "b")
	o.Failback = true
	inWorld(t, o, nil, func(w *world) {
		w.become(refuses, "a")
		w.Nudge(false)
		w.after(time.Second, "b")
		w.become(good, "a")
		w.after(time.Minute, "b")
		took := w.within(2*time.Minute, "a") + time.Minute
		if took > time.Minute+2*o.Interval {
			t.Errorf("it took %v", took)
		}
		if s := w.State(); s.Moves[FailedBack] != 1 || s.Moves[Failed] != 1 {
			t.Errorf("%v", s.Moves)
		}
		w.saysHeld()                                      // it says when minions go back
		if !slices.Equal(w.spared, []bool{false, true}) { // a master that is down owes nothing any more
			t.Errorf("%v", w.spared)
		}
	})
}

// A master is up as long as it answers by one of its paths.
func TestPaths(t *testing.T) {
	inWorld(t, failover("a+b", "c"), nil, func(w *world) {
		w.become(refuses, "a")
		w.Nudge(false)
		w.after(10*time.Second, "a+b")
		w.says(logrus.WarnLevel, "a path to a master is down", 1)
		w.become(refuses, "b")
		w.Nudge(false)
		w.after(10*time.Second, "c")
		w.become(good, "b")
		w.Nudge(true)
		time.Sleep(time.Second)
		w.says(logrus.InfoLevel, "a path to a master is up", 3) // two of them at the start
		s := w.State().Masters[0]
		if s.Health != Up || s.Paths[0].Health != Down || s.Paths[1].Health != Up || s.Paths[0].LastError == nil {
			t.Errorf("%+v", s)
		}
	})
}

// One master is asked as well, and there is nobody to move to. Without an interval nobody is asked.
func TestOneMaster(t *testing.T) {
	o := failover("a")
	o.Failover = false
	inWorld(t, o, nil, func(w *world) {
		w.become(refuses, "a")
		w.after(10*time.Minute, "a")
		if s := w.State(); !s.Asked || s.Masters[0].Health != Down {
			t.Errorf("%+v", s)
		}
		w.says(logrus.WarnLevel, "", 1)
	})
	o.Interval = 0
	inWorld(t, o, nil, func(w *world) {
		w.Nudge(false)
		w.after(10*time.Minute, "a")
		if s := w.State(); s.Asked || s.Masters[0].Health != Unknown || len(w.asked) != 0 {
			t.Errorf("%+v %v", s, w.asked)
		}
	})
}

// Without failover the first one serves, even when there are others.
func TestWithoutFailover(t *testing.T) {
	o := failover("a", "b")
	o.Failover = false
	inWorld(t, o, map[string]behavior{"a": refuses}, func(w *world) { w.after(time.Minute, "a") })
}

// Apply keeps who serves and what is known where it can. Probes of the old list count for nothing.
func TestApply(t *testing.T) {
	inWorld(t, failover("a", "b"), nil, func(w *world) {
		w.become(refuses, "a")
		w.Nudge(false)
		w.after(time.Second, "b")
		w.become(mute, "a")
		w.Nudge(false)
		time.Sleep(again + time.Second) // a probe is under way

		late := follower{watch: w.Watch, path: w.paths[1][0], master: 1, replaced: w.replaced}
		w.Apply(failover("c", "b"))
		if s := w.State(); s.Masters[0].Health != Unknown || s.Masters[1].Health != Up || s.Masters[1].Paths[0].Probes == 0 {
			t.Errorf("%+v", s)
		}
		before := w.State().Masters[1].Paths[0].Probes
		late.answered(0, errRefused, excuses{})
		if n := w.State().Masters[1].Paths[0].Probes; n != before {
			t.Error("an answer of the old list counts")
		}
		w.after(time.Second, "b")
		if s := w.State(); s.Masters[0].Name != "c" || s.Masters[1].Health != Up || s.Moves[Configured] != 0 {
			t.Errorf("%+v", s)
		}
		w.Apply(failover("c", "d"))
		w.after(0, "c")
		if s := w.State(); s.Moves[Configured] != 1 {
			t.Errorf("%+v", s)
		}
		w.become(refuses, "c")
		w.Nudge(false)
		w.after(time.Second, "d")

		w.Apply(failover("x")) // the one that serves is gone, and nothing is known of the other
		w.after(0, "x")
		if got := fmt.Sprint(w.served); got != "[b b c d x]" { // every Apply says it, also when nothing changes
			t.Errorf("served %s", got)
		}
	})
}

// A panic ends the watch with an error, and it can start again.
func TestPanic(t *testing.T) {
	inWorld(t, failover("a", "b"), map[string]behavior{"b": panics}, func(w *world) {
		if err := w.stop(); err == nil || !strings.Contains(err.Error(), "on purpose") {
			t.Errorf("%v", err)
		}
		w.become(good, "b")
		ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // as in inWorld
		ended := make(chan error, 1)
		go func() { ended <- w.Live(ctx) }()
		time.Sleep(time.Second)
		synctest.Wait()
		if s := w.State(); s.Masters[1].Health != Up {
			t.Errorf("%+v", s)
		}
		cancel()
		w.stop = func() error { return <-ended }
	})
}

func TestOrder(t *testing.T) {
	names := func(list []Master) (s string) {
		for _, m := range list {
			s += m.Name
		}
		return s
	}
	o := failover("a", "b", "c", "d", "e", "f")
	if got := names(order(o, nil)); got != "abcdef" {
		t.Errorf("%s", got)
	}
	o.Random = true
	seen, first := map[string]bool{}, map[byte]bool{}
	for range 200 {
		got := names(order(o, nil))
		seen[got], first[got[0]] = true, true
		if again := names(order(o, order(o, listOf(strings.Split(got, "")...)))); again != got {
			t.Fatalf("%s is shuffled again: %s", got, again)
		}
	}
	if len(seen) < 100 || len(first) != 6 {
		t.Errorf("%d orders, %d first ones", len(seen), len(first))
	}
	o.Failback = true
	for range 100 {
		if got := names(order(o, nil)); got[0] != 'a' {
			t.Fatalf("%s", got)
		}
	}
	if names(o.Masters) != "abcdef" {
		t.Error("the caller's list is shuffled")
	}
	o.Failover = false
	if got := names(order(o, nil)); got != "abcdef" {
		t.Errorf("without failover %s", got)
	}
}
