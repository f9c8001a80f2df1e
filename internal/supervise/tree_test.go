package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"salt-broker/internal/reactor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tally are the numbers of an acting proxy.
type tally struct{ lives, here int }

func (t tally) After(former tally) tally { t.lives += former.lives; return t }
func (t tally) Ended() tally             { t.here = 0; return t }

// acting is a proxy that does what a test says.
type acting func(ctx context.Context) error

func (a acting) Run(ctx context.Context) error { return a(ctx) }
func (a acting) Stats() tally                  { return tally{lives: 1, here: 1} }
func (a acting) Turned(context.Context) error  { return nil }

func untilStopped(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// script makes a channel whose lives are what the test says, one after the other, the last one for ever.
func script(name string, lives ...acting) *Channel[tally, acting] {
	next := 1
	return NewChannel(name, lives[0], func() (acting, error) {
		life := lives[min(next, len(lives)-1)]
		next++
		return life, nil
	})
}

func failing(context.Context) error { return errors.New("no memory") }

func journal() (*logrus.Logger, *logtest.Hook) {
	log, hook := logtest.NewNullLogger()
	log.SetLevel(logrus.TraceLevel)
	return log, hook
}

// run runs a tree in the background; end stops it and returns its error.
func run(t *testing.T, tree *Tree) (ended <-chan error, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- tree.Run(ctx) }()
	return over, cancel
}

func texts(hook *logtest.Hook, level logrus.Level) (lines []string) {
	for _, e := range hook.AllEntries() {
		if e.Level == level {
			lines = append(lines, e.Message)
		}
	}
	return lines
}

func TestStopIsNoFailure(t *testing.T) {
	log, hook := journal()
	ended, stop := run(t, New(Options{Log: log}, script("one", untilStopped), script("other", untilStopped)))
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if lines := hook.AllEntries(); len(lines) != 0 {
		t.Errorf("%d lines", len(lines))
	}
}

// However long a channel takes to end, it is waited for.
func TestStopWaitsForTheChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := journal()
		var over atomic.Bool
		ended, stop := run(t, New(Options{Log: log}, script("one", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(24 * time.Hour)
			over.Store(true)
			return nil
		})))
		stop()
		if err := <-ended; err != nil || !over.Load() {
			t.Errorf("error %v, ended %v", err, over.Load())
		}
	})
}

func TestFailureStartsAgainAndTheOtherGoesOn(t *testing.T) {
	for _, tt := range []struct {
		name  string
		life  acting
		error string
		stack bool
	}{
		{"error", failing, "no memory", false},
		{"ends by itself", func(context.Context) error { return nil }, "ended by itself", false},
		{"canceled by nobody", func(context.Context) error { return context.Canceled }, "context canceled", false},
		{"panic", func(context.Context) error { panic("at night") }, "panic: at night", true},
		{
			"panic on two loops", func(context.Context) error {
				return errors.Join(
					&reactor.PanicError{Value: 1, Stack: []byte("goroutine 1:\n\tf()\n")},
					&reactor.PanicError{Value: 2, Stack: []byte("goroutine 2:\n\n\tg()\n")})
			}, "panic: 1\npanic: 2", true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, hook := journal()
			again := make(chan struct{})
			others := 0
			one := script("one", tt.life, func(ctx context.Context) error {
				close(again)
				return untilStopped(ctx)
			})
			other := script("other", func(ctx context.Context) error {
				others++
				return untilStopped(ctx)
			})
			ended, stop := run(t, New(Options{Log: log}, one, other))
			<-again
			if s := one.Stats(); s != (tally{lives: 2, here: 1}) {
				t.Errorf("%+v", s)
			}
			stop()
			if err := <-ended; err != nil {
				t.Errorf("a failure that was mended is no error: %v", err)
			}
			if s := one.Stats(); s != (tally{lives: 2}) {
				t.Errorf("in the end %+v", s)
			}
			if others != 1 {
				t.Errorf("the other channel has run %d times", others)
			}
			lines := texts(hook, logrus.ErrorLevel)
			if want := []string{"the one channel has failed, its minions were cut off and will connect again; it starts again now"}; !slices.Equal(lines, want) {
				t.Errorf("%q, want %q", lines, want)
			}
			for _, e := range hook.AllEntries() {
				if e.Level == logrus.ErrorLevel && fmt.Sprint(e.Data[logrus.ErrorKey]) != tt.error {
					t.Errorf("the reason is %v, want %s", e.Data[logrus.ErrorKey], tt.error)
				}
			}
			stacks := strings.Join(texts(hook, logrus.FatalLevel), "\n")
			if tt.stack != strings.Contains(stacks, "goroutine") || strings.Contains(stacks, "\t") || strings.Contains(stacks, "\n\n") {
				t.Errorf("stacks:\n%s", stacks)
			}
			if n := strings.Count(tt.error, "panic"); strings.Count(stacks, "one channel: panic") != n {
				t.Errorf("stacks of %d panics are not\n%s", n, stacks)
			}
		})
	}
}

// A port that somebody else has taken meanwhile is a failure like others.
func TestWhatCannotBeMadeIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, hook := journal()
		attempts, again := 0, make(chan struct{})
		c := NewChannel("one", acting(failing), func() (acting, error) {
			if attempts++; attempts < 3 {
				return nil, errors.New("taken")
			}
			return func(ctx context.Context) error { close(again); return untilStopped(ctx) }, nil
		})
		ended, stop := run(t, New(Options{Log: log}, c))
		<-again
		if s := c.Stats(); s != (tally{lives: 2, here: 1}) {
			t.Errorf("%+v", s)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if lines := texts(hook, logrus.ErrorLevel); len(lines) != 3 {
			t.Errorf("%q", lines)
		}
	})
}

func TestFailingAgainAndAgainEndsTheTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, hook := journal()
		drained := false
		var told error
		began := time.Now()
		tree := New(Options{Log: log, GivenUp: func(err error) { told = err }},
			script("one", failing),
			script("other", func(ctx context.Context) error {
				<-ctx.Done()
				if told == nil {
					t.Error("stopped before it was told why")
				}
				drained = true
				return nil
			}))
		ended, stop := run(t, tree)
		defer stop()
		err := <-ended
		if err == nil || err.Error() != "one channel: failed 6 times, too often to go on: no memory" || told.Error() != err.Error() {
			t.Errorf("error %v, told %v", err, told)
		}
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("after %v", took)
		}
		if !drained {
			t.Error("the other channel was not stopped in order")
		}
		var pauses []string
		for _, line := range texts(hook, logrus.ErrorLevel) {
			_, when, _ := strings.Cut(line, "starts again ")
			pauses = append(pauses, when)
		}
		if want := []string{"now", "in 1s", "in 2s", "in 4s", "in 8s"}; !slices.Equal(pauses, want) {
			t.Errorf("pauses %q, want %q", pauses, want)
		}
	})
}

// Failures are counted for each channel, and forgotten with time.
func TestFailuresAreForgotten(t *testing.T) {
	for _, tt := range []struct {
		every time.Duration
		lives int // 0: it goes on for ever
	}{
		{time.Second, 6}, {time.Minute, 8}, {2 * time.Minute, 0}, {time.Hour, 0},
	} {
		t.Run(tt.every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, hook := journal()
				lives, enough := 0, make(chan struct{})
				one := script("one", func(ctx context.Context) error {
					if lives++; lives == 100 {
						close(enough)
						return untilStopped(ctx)
					}
					time.Sleep(tt.every)
					return errors.New("x")
				})
				ended, stop := run(t, New(Options{Log: log}, one, script("other", failing, untilStopped)))
				select {
				case err := <-ended:
					if err == nil {
						t.Error("no error")
					}
				case <-enough:
					stop()
					if err := <-ended; err != nil {
						t.Error(err)
					}
					lives = 0
				}
				if lives != tt.lives {
					t.Errorf("given up after %d lives, want %d", lives, tt.lives)
				}
				if last := hook.LastEntry().Message; tt.every > defaultSettled && !strings.HasSuffix(last, "again now") {
					t.Errorf("a channel that worked for %v does not start at once: %s", tt.every, last)
				}
			})
		})
	}
}

func TestStopWhileAChannelPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := journal()
		lives := 0
		began := time.Now()
		ended, stop := run(t, New(Options{Log: log, Pause: time.Hour}, script("one", func(context.Context) error {
			lives++
			return errors.New("x")
		})))
		synctest.Wait()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if lives != 2 || time.Since(began) != 0 {
			t.Errorf("%d lives in %v", lives, time.Since(began))
		}
	})
}

// What goes wrong in the end is an error: nobody mends it.
func TestFailureWhileStopping(t *testing.T) {
	log, hook := journal()
	ended, stop := run(t, New(Options{Log: log}, script("one", func(ctx context.Context) error {
		<-ctx.Done()
		panic("late")
	}), script("other", untilStopped)))
	stop()
	if err := <-ended; err == nil || err.Error() != "one channel: panic: late" {
		t.Errorf("error %v", err)
	}
	if lines := texts(hook, logrus.FatalLevel); len(lines) < 2 || lines[0] != "one channel: panic: late" {
		t.Errorf("%q", lines)
	}
}

// What was applied last holds for the present proxy and for those after it.
func TestApplySurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := journal()
		fail, again := make(chan struct{}), make(chan struct{})
		c := script("one",
			func(context.Context) error { <-fail; return errors.New("no memory") },
			func(ctx context.Context) error { close(again); return untilStopped(ctx) })
		first, last := 0, 0
		c.Apply(func(acting) { first++ })
		c.Apply(func(acting) { last++ })
		if first != 1 || last != 1 {
			t.Errorf("applied %d and %d times before it runs", first, last)
		}
		ended, stop := run(t, New(Options{Log: log}, c))
		close(fail)
		<-again
		if first != 1 || last != 2 {
			t.Errorf("applied %d and %d times after the restart", first, last)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
