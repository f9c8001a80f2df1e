package main

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"salt-broker/internal/supervise"
)

// serving is the time between the ports' opening and the end of the last connection.
type serving struct {
	log    *logging
	drain  func() time.Duration // what stopping may take
	reload func()               // has the configuration read again, and does not wait for that
	twins  time.Duration        // a signal that comes so soon after the first to stop is the same one
	since  time.Time            // when stopping began

	restarts supervise.Options // Log and GivenUp are set here
}

// twinSignals is shorter than anybody presses a key twice. timeout(1) and others signal a process and then its group,
// so what was meant to be one signal arrives as two.
const twinSignals = 100 * time.Millisecond

// errTwice ends a process whose operator does not want to wait.
var errTwice = errors.New("told to stop twice: ended at once, without waiting for requests under way")

// run runs the services until a signal asks to stop, or one of them fails again and again, which stops the others. A
// second signal does not wait for them.
func (s *serving) run(ctx context.Context, signals <-chan os.Signal, services ...supervise.Service) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer func() {
		if s.since.IsZero() {
			s.since = time.Now()
		}
	}()
	givenUp := make(chan struct{})
	o := s.restarts
	o.Log = s.log
	o.GivenUp = func(err error) {
		s.log.WithError(err).Error("one service fails again and again, and so the others are stopped") // draining may take long
		close(givenUp)
	}
	tree := supervise.New(o, services...)
	ended := make(chan error, 1)
	go func() { ended <- tree.Run(ctx) }()

	told, failed := ctx.Done(), (<-chan struct{})(givenUp)
	stopping := func() {
		told, failed = nil, nil
		s.since = time.Now()
		notify(stops, "waiting for requests under way to be answered")
		s.log.WithField("drain_timeout", s.drain()).Info("stopping: no new connections; requests under way may still be answered")
	}
	var first time.Time // when the first signal to stop came
	for {
		select {
		case err := <-ended:
			return err
		case <-told:
			stopping()
		case <-failed:
			stopping()
		case sig := <-signals:
			switch sig {
			case syscall.SIGUSR1:
				s.log.stacks()
			case syscall.SIGUSR2:
				s.log.debugging()
			case syscall.SIGHUP:
				s.reload()
			default:
				switch {
				case first.IsZero():
					first = time.Now()
					s.log.Infof("told to stop: %v", sig)
					stop()
				case time.Since(first) >= s.twins:
					return errTwice
				}
			}
		}
	}
}
