package supervise

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// clerk is a service that is no channel. It fails once.
type clerk struct{ lives chan int }

func (c *clerk) Name() string                 { return "clerk" }
func (c *clerk) Loss() string                 { return "nobody writes" }
func (c *clerk) Turned(context.Context) error { return nil }
func (c *clerk) Live(ctx context.Context) error {
	life := <-c.lives
	if life == 0 {
		return errors.New("no ink")
	}
	return untilStopped(ctx)
}

func TestServiceThatIsNoChannel(t *testing.T) {
	log, hook := journal()
	c := &clerk{lives: make(chan int)}
	ended, stop := run(t, New(Options{Log: log, Pause: time.Millisecond}, script("one", untilStopped), c))
	c.lives <- 0
	c.lives <- 1 // it lives again
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want := []string{"the clerk has failed, nobody writes; it starts again now"}
	if lines := texts(hook, logrus.ErrorLevel); !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}

// watcher is a service that outlasts the others.
type watcher struct{ told, over chan struct{} }

func (w *watcher) Name() string                 { return "watcher" }
func (w *watcher) Loss() string                 { return "nobody looks" }
func (w *watcher) Turned(context.Context) error { return nil }
func (w *watcher) Stopping()                    { close(w.told) }
func (w *watcher) Live(ctx context.Context) error {
	defer close(w.over)
	return untilStopped(ctx)
}

// A service that outlasts the others is told that they stop, goes on until the last has ended, and ends with the tree.
func TestOutlasting(t *testing.T) {
	log, _ := journal()
	w := &watcher{told: make(chan struct{}), over: make(chan struct{})}
	ended, stop := run(t, New(Options{Log: log}, w, script("one", func(ctx context.Context) error {
		<-ctx.Done()
		<-w.told
		select {
		case <-w.over:
			t.Error("it has ended before the channel")
		case <-time.After(20 * time.Millisecond): // it would have ended by now
		}
		return nil
	})))
	select {
	case <-w.told:
		t.Error("told before anything stops")
	default:
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-w.over
}

// When a service that outlasts the others fails too often, the tree ends as with any other.
func TestOutlastingFailsTooOften(t *testing.T) {
	log, _ := journal()
	stopped := make(chan struct{})
	f := failingWatcher{&watcher{told: make(chan struct{})}}
	ended, _ := run(t, New(Options{Log: log, Pause: time.Millisecond}, f, script("one", func(ctx context.Context) error {
		defer close(stopped)
		return untilStopped(ctx)
	})))
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "watcher: failed 6 times, too often to go on") {
		t.Errorf("error %v", err)
	}
	<-stopped
	<-f.told
}

type failingWatcher struct{ *watcher }

func (failingWatcher) Live(context.Context) error { return errors.New("blind") }

func TestRestartsAreCounted(t *testing.T) {
	log, _ := journal()
	lives := make(chan struct{})
	channel := script("one", failing, func(ctx context.Context) error {
		close(lives)
		return untilStopped(ctx)
	})
	if n := channel.Restarts(); n != 0 {
		t.Errorf("%d restarts at first", n)
	}
	ended, stop := run(t, New(Options{Log: log}, channel))
	<-lives
	if n := channel.Restarts(); n != 1 {
		t.Errorf("%d restarts in its second life", n)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
