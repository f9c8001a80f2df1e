package main

import (
	"context"
	"time"

	"salt-broker/internal/status"
)

// openStatus opens the port where numbers and health are asked for; nil where the configuration has none.
func openStatus(ctx context.Context, b *broker) (*status.Server, error) {
	c := b.config()
	if c.StatusPort == 0 {
		return nil, nil
	}
	info := buildInfo()
	s, err := status.New(ctx, status.Options{
		Listen:      c.ListenStatus(),
		Pprof:       c.StatusPprof,
		Version:     versionOf(info),
		Commit:      commitOf(info),
		Started:     time.Now(),
		PublishAddr: b.publishAddr,
		RequestAddr: b.requestAddr,
		MaxInFlight: func() int { return b.config().MaxInFlight },
		Publish:     b.publishes.Stats,
		Request:     b.requests.Stats,
		Masters:     b.masters.State,
		Turned:      []func(context.Context) error{b.publishes.Turned, b.requests.Turned},
		Restarts:    func() (uint64, uint64) { return b.publishes.Restarts(), b.requests.Restarts() },
		Buffered:    func() (used, limit int64) { return b.budget.Used(), b.budget.Limit() },
		Log:         b.log.WithField("component", "status"),
	})
	if err != nil {
		return nil, cannotListen(err, "status_port", c.StatusPort, "status_interface", c.StatusInterface)
	}
	return s, nil
}
