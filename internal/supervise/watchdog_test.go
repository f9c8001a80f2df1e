package supervise

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// patient is a channel whose loops turn as long as it is not stuck.
type patient struct {
	Service
	stuck atomic.Bool
}

func (p *patient) Turned(ctx context.Context) error {
	if !p.stuck.Load() {
		return nil
	}
	<-ctx.Done()
	return errors.New("one channel: loops [1] of 2 do not turn")
}

// There are signs of life, often enough, while all turn, and none while one does not.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, hook := journal()
		began := time.Now()
		var alive []time.Duration
		seen := 0
		var one, other patient
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			Watchdog{
				Interval: 8 * time.Second, Log: log,
				Alive: func() { alive = append(alive, time.Since(began)) },
			}.Run(ctx, &one, &other)
		}()
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		signs := func(when string, want ...float64) { // seconds
			t.Helper()
			var got []float64
			for _, at := range alive[seen:] {
				got = append(got, at.Seconds())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: signs at %v, want %v", when, got, want)
			}
			seen = len(alive)
		}
		wait(5 * time.Second)
		signs("all turn", 0, 2, 4)
		other.stuck.Store(true)
		wait(16 * time.Second) // 21 s
		signs("one is stuck")
		other.stuck.Store(false)
		wait(2 * time.Second) // 23 s; what was asked at 20 s is not answered any more
		signs("it turns again", 22)
		stop()
		<-ended
		if lines := texts(hook, logrus.ErrorLevel); len(lines) != 1 || lines[0] != "stuck: the process will be ended and started again if that lasts for 8s" {
			t.Errorf("%q", lines)
		}
		if lines := texts(hook, logrus.WarnLevel); len(lines) != 1 || lines[0] != "no longer stuck" {
			t.Errorf("%q", lines)
		}
	})
}

// clog holds the event loop up that logs of a peer that is no ZMTP.
type clog struct{ holds, release chan struct{} }

func (c *clog) Levels() []logrus.Level { return logrus.AllLevels }
func (c *clog) Fire(e *logrus.Entry) error {
	if e.Data["reason"] == "not_zmtp" {
		close(c.holds)
		<-c.release
	}
	return nil
}

// A loop that is stuck is seen from outside, whichever channel's it is; one that is idle is not stuck.
func TestStuckLoopIsSeen(t *testing.T) {
	for _, channel := range []string{"publish", "request"} {
		t.Run(channel, func(t *testing.T) {
			r := start(t, Options{})
			channels := []Service{r.publish, r.request}
			if err := turned(t.Context(), patience, channels); err != nil {
				t.Errorf("nothing is stuck: %v", err)
			}
			c := &clog{holds: make(chan struct{}), release: make(chan struct{})}
			r.log.AddHook(c)
			r.garbage(channel)
			<-c.holds
			err := turned(t.Context(), 100*time.Millisecond, channels)
			if want := channel + " channel: loops [0] of 2 do not turn"; err == nil || err.Error() != want {
				if other := channel + " channel: loops [1] of 2 do not turn"; err == nil || err.Error() != other {
					t.Errorf("error %v, want %s or the other one", err, want)
				}
			}
			close(c.release)
			if err := turned(t.Context(), patience, channels); err != nil {
				t.Errorf("nothing is stuck any more: %v", err)
			}
			if err := r.close(); err != nil {
				t.Error(err)
			}
			if err := turned(t.Context(), patience, channels); err != nil {
				t.Errorf("all has ended: %v", err)
			}
		})
	}
}
