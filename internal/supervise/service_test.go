package supervise

import (
	"context"
	"errors"
	"slices"
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
