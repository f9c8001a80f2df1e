//go:build linux

package sim

import (
	"context"

	"salt-broker/internal/reactor"
)

// run is a group of loops that turns in the background until it is stopped.
type run struct {
	group  *reactor.Group
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, once ended is closed
}

func newRun(o reactor.Options) (*run, error) {
	g, err := reactor.New(o)
	if err != nil {
		return nil, err
	}
	return &run{group: g, ended: make(chan struct{})}, nil
}

func (r *run) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.ended)
		r.err = r.group.Run(ctx)
	}()
}

// stop closes everything and waits until nothing runs.
func (r *run) stop() error {
	r.cancel()
	<-r.ended
	return r.err
}
