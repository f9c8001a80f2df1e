//go:build linux

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"salt-broker/internal/sim"
)

const (
	// jobInterval is how often the master publishes.
	jobInterval = 250 * time.Millisecond
	// warmUpInterval is how often it does until all minions are known to listen.
	warmUpInterval = 50 * time.Millisecond
	// requestsPerSecond is what all minions together ask for at most; each asks once a second otherwise.
	requestsPerSecond = 2000

	// What nobody waits for longer.
	startPatience = 15 * time.Second
	endPatience   = 10 * time.Second

	lineInterval    = time.Second            // between two lines
	refreshInterval = 200 * time.Millisecond // of the block on a terminal
)

// Options of a demonstration.
type Options struct {
	// Program is the salt-broker to start.
	Program string
	// Minions is how many stand-in minions there are, Duration how long they work.
	Minions  int
	Duration time.Duration
	// Output gets the report. Live: it is a terminal, and figures are refreshed in their place.
	Output io.Writer
	Live   bool
}

// ErrFailed says that the broker, or the demonstration, did not do what it should. The report says what.
var ErrFailed = errors.New("the demonstration failed")

// Run shows a broker at work. When ctx ends, the demonstration is cut short and what there is until then is judged. The
// error is ErrFailed when something was lost, and another when the demonstration could not be held at all. The child and
// its files are gone when it returns.
func Run(ctx context.Context, o Options) error {
	if err := allow(o); err != nil {
		return err
	}
	// A loop that wakes up must find a processor of Go's scheduler, or what is measured is the wait for one.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 4))
	master, err := sim.StartMaster(sim.MasterOptions{}) //nolint:contextcheck // it is stopped below, after what ctx ends
	if err != nil {
		return err
	}
	defer func() { _ = master.Stop() }()
	b, err := startBroker(ctx, o.Program, master)
	if err != nil {
		return err
	}
	defer b.clear()

	d := &demonstration{options: o, master: master, broker: b, screen: newScreen(o.Output, o.Live)}
	return d.hold(ctx)
}

// allow says early that a machine does not allow so many connections.
func allow(o Options) error {
	if o.Minions < 1 || o.Duration <= 0 {
		return errors.New("there must be a minion, and time for it to work")
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	// Asked for by name, so that the child gets it too: Go gives children the limit that it was started with otherwise.
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	const others = 64
	if need := uint64(2*o.Minions + others); need > limit.Max {
		return fmt.Errorf("%d minions with two connections each need %d open files, and the limit is %d: raise it (ulimit -Hn), or have fewer minions",
			o.Minions, need, limit.Max)
	}
	return nil
}

// demonstration is one that is being held.
type demonstration struct {
	options Options
	master  *sim.Master
	broker  *broker
	minions *sim.Minions
	screen  *screen

	before usage  // of the broker, without minions
	rest   sample // with all of them, before the first request: later there is garbage, which is not theirs
	began  time.Time
	last   sample
	jobs   int // since the beginning
	order  uint64
	open   []uint64        // jobs that have not reached everyone
	spread []time.Duration // until the last minion had a job
}

// hold goes through it from the first minion to the verdict.
func (d *demonstration) hold(ctx context.Context) error {
	d.screen.line("salt-broker demo: %s minions on loopback, for %s", grouped(d.options.Minions), d.options.Duration)
	d.screen.line("  master    stand-in, publishes on %s, answers on %s", d.master.PublishAddr(), d.master.RequestAddr())
	d.screen.line("  broker    process %d, minions connect to %s and %s", d.broker.pid, d.broker.publish, d.broker.request)
	d.screen.line("            watch it: %s status --watch -c %s", called(d.options.Program), d.broker.dir)
	if err := d.gather(ctx); err != nil {
		return d.abort(err)
	}
	defer func() { _ = d.minions.Stop() }()
	if err := d.work(ctx); err != nil {
		return d.abort(err)
	}
	unanswered := d.settle(context.WithoutCancel(ctx))
	final := d.sample()
	_ = d.minions.Stop()
	exit := d.broker.stop()
	return d.judge(final, unanswered, exit)
}

// abort ends a demonstration that cannot go on, and says what the broker said.
func (d *demonstration) abort(err error) error {
	_ = d.broker.stop()
	d.screen.end()
	d.screen.said(d.broker.said.String())
	return err
}

// called is what to type for a program: its name where a shell finds it by that, else its path, which go run makes up.
func called(program string) string {
	name := filepath.Base(program)
	if found, err := exec.LookPath(name); err == nil && found == program {
		return name
	}
	return program
}

// gather connects all minions and makes sure that the broker knows all their subscriptions.
func (d *demonstration) gather(ctx context.Context) error {
	d.before = d.broker.usage()
	interval := max(time.Second, time.Duration(d.options.Minions)*time.Second/requestsPerSecond)
	var err error
	d.minions, err = sim.StartMinions(sim.MinionsOptions{ //nolint:contextcheck // they are stopped after what ctx ends
		Count: d.options.Minions, Publish: d.broker.publish, Request: d.broker.request,
		Shape: sim.Mixed, Interval: interval, Resting: true,
	})
	if err != nil {
		return err
	}
	// As many handshakes in a second as a small machine does, and the same time for everybody's first job.
	patience := startPatience + time.Duration(d.options.Minions)*time.Second/500
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	refresh := time.NewTicker(refreshInterval)
	defer refresh.Stop()
	publish := time.NewTicker(warmUpInterval)
	defer publish.Stop()
	var listening int // when the last job was published
	var published time.Time
	for !d.reached(d.options.Minions) {
		select {
		case <-refresh.C:
			s := d.minions.Stats()
			d.screen.progress("  minions   %s connected, %s have had a publish", grouped(s.Subscribed), grouped(s.Reached))
		case <-publish.C:
			// Not before the last one has got round, or a slow machine never gets to the end of them.
			if d.reached(listening) || time.Since(published) > time.Second {
				listening, published = d.minions.Stats().Subscribed, time.Now()
				d.order = d.master.PublishJob(nil).Order
			}
		case <-d.broker.done:
			err = errEnded
		case <-ctx.Done():
			err = fmt.Errorf("%d of %d minions connected, %d have had a publish: %w",
				d.minions.Stats().Subscribed, d.options.Minions, d.minions.Stats().Reached, context.Cause(ctx))
		}
		if err != nil {
			_ = d.minions.Stop()
			return err
		}
	}
	return nil
}

// reached says whether the last job has reached so many minions.
func (d *demonstration) reached(minions int) bool {
	n, _ := d.minions.Arrived(d.order)
	return n >= minions
}

var errEnded = errors.New("the broker has ended by itself")

// work publishes jobs and lets minions make requests for the time that was asked for, and shows how it goes.
func (d *demonstration) work(ctx context.Context) error {
	d.began = time.Now()
	d.rest = d.sample()
	d.last = d.rest
	d.minions.Work()
	end := time.NewTimer(d.options.Duration)
	defer end.Stop()
	publish := time.NewTicker(jobInterval)
	defer publish.Stop()
	every := lineInterval
	if d.options.Live {
		every = refreshInterval
	}
	refresh := time.NewTicker(every)
	defer refresh.Stop()
	d.publish()
	for {
		select {
		case <-publish.C:
			d.publish()
		case <-refresh.C:
			d.arrived()
			now := d.sample()
			d.screen.show(d.figures(d.last, now))
			if now.at.Sub(d.last.at) >= lineInterval { // rates are those of the last second
				d.last = now
			}
		case <-d.broker.done:
			_ = d.minions.Stop()
			return errEnded
		case <-end.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *demonstration) publish() {
	d.order = d.master.PublishJob(nil).Order
	d.jobs++
	d.open = append(d.open, d.order)
}

// arrived looks which jobs have reached everyone.
func (d *demonstration) arrived() {
	d.open = slices.DeleteFunc(d.open, func(order uint64) bool {
		minions, last := d.minions.Arrived(order)
		if minions < d.options.Minions {
			return false
		}
		d.spread = append(d.spread, last)
		return true
	})
}

// settle waits for what is under way and returns how many minions still wait for a reply.
func (d *demonstration) settle(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	d.minions.Rest()
	// What does not come shows in the figures.
	_ = d.minions.AwaitArrived(ctx, d.order, d.options.Minions)
	_ = d.minions.Await(ctx, func(s sim.MinionsStats) bool { return s.Waiting == 0 })
	d.arrived()
	return d.minions.Stats().Waiting
}
