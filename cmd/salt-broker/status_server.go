package main

import (
	"context"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/config"
	"salt-broker/internal/buffers"
	"salt-broker/internal/masters"
	"salt-broker/internal/status"
	"salt-broker/internal/supervise"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

type (
	publishChannel = supervise.Channel[pubproxy.Stats, *pubproxy.Proxy]
	requestChannel = supervise.Channel[retproxy.Stats, *retproxy.Proxy]
)

// openStatus opens the port where numbers and health are asked for; nil where the configuration has none.
func openStatus(
	ctx context.Context, c config.Config, maxInFlight func() int, publishes *publishChannel, requests *requestChannel, overMasters *masters.Watch, publish, request netip.AddrPort,
	budget *buffers.Budget, log logrus.FieldLogger,
) (*status.Server, error) {
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
		PublishAddr: publish,
		RequestAddr: request,
		MaxInFlight: maxInFlight,
		Publish:     publishes.Stats,
		Request:     requests.Stats,
		Masters:     overMasters.State,
		Turned:      []func(context.Context) error{publishes.Turned, requests.Turned},
		Restarts:    func() (uint64, uint64) { return publishes.Restarts(), requests.Restarts() },
		Buffered:    func() (used, limit int64) { return budget.Used(), budget.Limit() },
		Log:         log.WithField("component", "status"),
	})
	if err != nil {
		return nil, cannotListen(err, "status_port", c.StatusPort, "status_interface", c.StatusInterface)
	}
	return s, nil
}
