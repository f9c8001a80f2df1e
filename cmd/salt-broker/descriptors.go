package main

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// A warning comes before descriptors run out, at nearly percent of the limit, and again only when there were fewer than
// relaxed percent meanwhile: connections come and go all the time.
const (
	nearly  = 90
	relaxed = 80
)

// lookEvery is how often they are counted. It takes microseconds.
const lookEvery = time.Second

// descriptors watches how many of them are in use. A connection takes one; all else takes a number that hardly changes.
type descriptors struct {
	limit             int // the soft limit of the process
	others            int // of files, event loops and links to the master
	publish, requests func() int
	log               logrus.FieldLogger
	told              bool
}

// look counts, and warns where it is time to.
func (d *descriptors) look() {
	publish, requests := d.publish(), d.requests()
	switch inUse := publish + requests + d.others; {
	case !d.told && inUse*100 >= d.limit*nearly:
		d.told = true
		d.log.WithFields(logrus.Fields{"open_files": inUse, "limit": d.limit}).Warnf(
			"%d of %d file descriptors are in use, %d by minions on publish_port and %d on ret_port: when there are none left, "+
				"those that come wait until others leave; raise max_open_files and the unit's LimitNOFILE",
			inUse, d.limit, publish, requests)
	case d.told && inUse*100 < d.limit*relaxed:
		d.told = false
	}
}

// watch looks with every tick until ctx ends.
func (d *descriptors) watch(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
			d.look()
		}
	}
}

// start watches until the function that it returns is called, which waits for the end.
func (d *descriptors) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ticker := time.NewTicker(lookEvery)
	var ended sync.WaitGroup
	ended.Go(func() { d.watch(ctx, ticker.C) })
	return func() {
		cancel()
		ended.Wait()
		ticker.Stop()
	}
}

// openDescriptors counts what the process has open now; 0 when the system does not say (proc(5), /proc/pid/fd).
func openDescriptors() int {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	return max(0, len(names)-1) // without dir
}
