package supervise

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/thejerf/suture/v4"

	"salt-broker/internal/reactor"
)

// When a channel starts again, and when that has happened too often. The zero values of Options mean these.
const (
	// defaultPause is what a channel that fails a second time waits. The first time it does not wait: its minions come
	// back within a second and should find the port open.
	defaultPause = time.Second
	// defaultLongestPause ends the doubling of pauses.
	defaultLongestPause = 8 * time.Second
	// defaultSettled is how long a life must be for the next pause to be the first one again.
	defaultSettled = time.Minute
	// defaultFailures and defaultHalfLife are suture's threshold: a failure counts one, half after the half-life, a
	// quarter after two of them. A channel that fails at once ends the process with its sixth failure, after 15 s; one
	// that fails every minute with its eighth; one that fails every two minutes or less often goes on for ever.
	defaultFailures = 5
	defaultHalfLife = 5 * time.Minute
)

// Logger is what the tree needs of a logger: levels by number too, because only so logrus logs what is critical without
// ending the process. *logrus.Logger and *logrus.Entry have it.
type Logger interface {
	logrus.FieldLogger
	Log(level logrus.Level, args ...any)
}

// Options of a tree.
type Options struct {
	// Log gets a line for each restart, at error, and the stack of each panic, at fatal (which Salt calls critical).
	Log Logger
	// GivenUp, when set, is told why the tree ends without having been told to, before the other channels are stopped.
	// It is called at most once and must not wait.
	GivenUp func(err error)

	// Pause before the second restart, doubled with each further one up to LongestPause, until a life has lasted Settled.
	// 0: 1 s, 8 s and a minute.
	Pause, LongestPause, Settled time.Duration
	// Failures is how many failures are too many when there is one more; each counts half after HalfLife. 0: 5 and five
	// minutes.
	Failures float64
	HalfLife time.Duration
}

// Service is what the tree runs: a [Channel], or a [Task] beside the channels.
type Service interface {
	// Name is what the service is called in the log.
	Name() string
	// Loss says what its failure means, in words that follow "has failed, ".
	Loss() string
	// Live runs until ctx ends and returns nil then; any other return, or a panic, is a failure, and it is called again.
	Live(ctx context.Context) error
	// Turned returns nil when every event loop of the service has turned since the call, an error when ctx ends before.
	Turned(ctx context.Context) error
}

// Outlasting is a service that goes on while the others end, and is stopped when they have ended: whoever looks on while
// requests under way are answered wants to know more than ever.
type Outlasting interface {
	Service
	// Stopping is called when the others are told to stop. It must not wait.
	Stopping()
}

// Tree runs services.
type Tree struct {
	options  Options
	root     *suture.Supervisor
	last     *suture.Supervisor // of those that outlast the others
	branches []*branch          // in the order of the services
	stop     context.CancelFunc // set by Run
	giveUp   sync.Once
}

// branch is a service in the tree. It is its supervisor's only service.
type branch struct {
	tree       *Tree
	service    Service
	supervisor *suture.Supervisor

	// Owned by Serve, whose calls follow each other, by the supervisor between them, and by Run when all have ended.
	failures int
	failed   error         // why the last life ended, as long as there is no other
	tooOften bool          // and there will be none
	pause    time.Duration // before the next life
}

// New makes a tree of services, which is started by Run.
func New(o Options, services ...Service) *Tree {
	set := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	set(&o.Pause, defaultPause)
	set(&o.LongestPause, defaultLongestPause)
	set(&o.Settled, defaultSettled)
	set(&o.HalfLife, defaultHalfLife)
	if o.Failures <= 0 {
		o.Failures = defaultFailures
	}
	t := &Tree{options: o}
	spec := suture.Spec{
		EventHook:        t.happened, // a supervisor takes over that of its root
		FailureThreshold: o.Failures,
		FailureDecay:     o.HalfLife.Seconds(),
		Timeout:          math.MaxInt64, // the channels bound their own end: drain_timeout
	}
	t.root, t.last = suture.New("salt-broker", spec), suture.New("salt-broker, to the last", spec)
	for _, s := range services {
		b := &branch{tree: t, service: s, supervisor: suture.New(s.Name(), spec)}
		b.supervisor.Add(b)
		t.branches = append(t.branches, b)
		if _, ok := s.(Outlasting); ok {
			t.last.Add(b.supervisor)
		} else {
			t.root.Add(b.supervisor)
		}
	}
	return t
}

// Run runs the channels until ctx ends, or one of them has failed too often, which stops the others in order. It returns
// when all of them have ended: nil when nothing failed but what could be started again. It runs once.
func (t *Tree) Run(ctx context.Context) error {
	ctx, t.stop = context.WithCancel(ctx)
	defer t.stop()
	defer context.AfterFunc(ctx, t.tellLast)()
	outlasting, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var last sync.WaitGroup
	last.Go(func() { _ = t.last.Serve(outlasting) }) // they say that ctx has ended
	_ = t.root.Serve(ctx)
	end()
	last.Wait()
	var all error
	for _, b := range t.branches {
		all = errors.Join(all, b.why())
	}
	return all
}

// tellLast tells the services that outlast the others that these are stopping.
func (t *Tree) tellLast() {
	for _, b := range t.branches {
		if s, ok := b.service.(Outlasting); ok {
			s.Stopping()
		}
	}
}

// happened is told by the supervisors what they do. Of that only one thing is not known here already: that a channel has
// failed too often. Suture would wait and go on; a broker ends.
func (t *Tree) happened(e suture.Event) {
	backoff, ok := e.(suture.EventBackoff)
	if !ok {
		return
	}
	for _, b := range t.branches {
		if b.supervisor == backoff.Supervisor {
			b.tooOften = true
			t.giveUp.Do(func() {
				if t.options.GivenUp != nil {
					t.options.GivenUp(b.why())
				}
				t.stop()
			})
		}
	}
}

// String is the channel's name.
func (b *branch) String() string { return b.service.Name() }

// Serve implements suture.Service: one life of the channel, after a pause when it is not the first.
func (b *branch) Serve(ctx context.Context) error {
	o := &b.tree.options
	if b.failures > 0 {
		b.announce()
		if !sleep(ctx, b.pause) {
			return suture.ErrDoNotRestart
		}
	}
	born := time.Now()
	err := b.live(ctx)
	if err != nil {
		logPanics(o.Log, b.service.Name(), err)
	}
	if ctx.Err() != nil {
		b.failed = err // while stopping; nil is as it should be
		return suture.ErrDoNotRestart
	}
	if err == nil {
		err = errEnded
	}
	switch {
	case b.failures == 0 || time.Since(born) >= o.Settled:
		b.pause = 0
	case b.pause == 0:
		b.pause = o.Pause
	default:
		b.pause = min(2*b.pause, o.LongestPause)
	}
	b.failures++
	b.failed = err
	return err
}

// live is one life of the service. A panic is a [*reactor.PanicError].
func (b *branch) live(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &reactor.PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return b.service.Live(ctx)
}

// announce says that a service starts again.
func (b *branch) announce() {
	when := "now"
	if b.pause > 0 {
		when = "in " + b.pause.String()
	}
	b.tree.options.Log.WithError(b.failed).WithField("failures", b.failures).Errorf(
		"the %s has failed, %s; it starts again %s", b.service.Name(), b.service.Loss(), when)
	b.failed = nil
}

// why is the reason that the channel has not ended as it should; nil when it has.
func (b *branch) why() error {
	switch {
	case b.failed == nil:
		return nil
	case b.tooOften:
		return fmt.Errorf("%s: failed %d times, too often to go on: %w", b.service.Name(), b.failures, b.failed)
	}
	return fmt.Errorf("%s: %w", b.service.Name(), b.failed)
}

// sleep returns true after d, or false when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
