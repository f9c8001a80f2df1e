package supervise

import (
	"context"
	"errors"
	"time"

	"github.com/sirupsen/logrus"
)

// looksAnInterval is how often a watchdog looks at the loops in an interval: one that is late once is not the end.
const looksAnInterval = 4

// Watchdog tells whoever has started the process, which is systemd, that it lives. It does so only while every event loop
// of every channel turns: a process that has one stuck loop serves some minions and not others, and does not mend itself.
type Watchdog struct {
	// Interval is how long systemd waits for a sign of life before it ends the process (WatchdogSec in the unit).
	Interval time.Duration
	// Alive is that sign.
	Alive func()
	// Log gets an error when a loop is stuck, and a warning when it turns again.
	Log logrus.FieldLogger
}

// Run gives signs of life until ctx ends. It gives the first at once.
func (w Watchdog) Run(ctx context.Context, channels ...Service) {
	pause := w.Interval / looksAnInterval
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	stuck := false
	for {
		err := turned(ctx, pause, channels)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && !stuck:
			w.Log.WithError(err).Errorf("stuck: the process will be ended and started again if that lasts for %v", w.Interval)
		case err == nil && stuck:
			w.Log.Warn("no longer stuck")
		}
		if stuck = err != nil; !stuck {
			w.Alive()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// turned returns nil when all channels have turned before timeout, else which have not.
func turned(ctx context.Context, timeout time.Duration, channels []Service) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	errs := make(chan error, len(channels))
	for _, c := range channels {
		go func() { errs <- c.Turned(ctx) }()
	}
	var all error
	for range channels {
		all = errors.Join(all, <-errs)
	}
	return all
}
