package supervise

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/reactor"
)

// trap is a resolver that panics while it is set: a link that fails, in its own goroutine, between two connections.
type trap struct {
	set    atomic.Bool
	sprung atomic.Int64
}

func (r *trap) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	if r.set.CompareAndSwap(true, false) {
		r.sprung.Add(1)
		panic("a resolver fails")
	}
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// A link that panics starts again. No minion of either channel is cut, and no channel starts again.
func TestLinkPanics(t *testing.T) {
	for _, channel := range []string{"publish", "request"} {
		t.Run(channel, func(t *testing.T) {
			r := start(t, Options{})
			r.people(time.Second) // what was at the master is lost with the link
			r.traps[channel].set.Store(true)
			r.master.DropConnections()
			r.await("a link panics", func() bool { return r.traps[channel].sprung.Load() == 1 })
			r.served()

			s := r.minions.Stats()
			if s.Cut != 0 || s.Broken != 0 || s.Faults() != 0 {
				t.Errorf("minions have noticed it: %+v", s)
			}
			if p, q := r.publish.Restarts(), r.request.Restarts(); p+q != 0 {
				t.Errorf("channels have started again, %d and %d times", p, q)
			}
			if err := r.close(); err != nil {
				t.Error(err)
			}
			if lines := texts(r.hook, logrus.ErrorLevel); len(lines) != 1 || !strings.HasSuffix(lines[0], " has failed, the connection to the master was given up; it starts again now") {
				t.Errorf("%q", lines)
			}
			if lines := texts(r.hook, logrus.FatalLevel); len(lines) < 2 || !strings.HasSuffix(lines[0], ": panic: a resolver fails") {
				t.Errorf("%q", lines)
			}
		})
	}
}

// A link that fails again and again, after longer and longer pauses, is a failure of its channel.
func TestLinkFailingAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, hook := journal()
		o := Options{Log: log, GivenUp: func(error) { t.Error("the process is not to end for one link") }}
		lives := 0
		err := o.KeepLink(t.Context(), "publish link", func(context.Context) error {
			lives++
			panic("at night")
		})
		if lives != 6 || !errors.As(err, new(*reactor.PanicError)) || err.Error() != "publish link: failed 6 times, too often to go on: panic: at night" {
			t.Errorf("error %v after %d lives", err, lives)
		}
		if n := len(texts(hook, logrus.ErrorLevel)); n != 5 {
			t.Errorf("%d lines", n)
		}
	})
}
