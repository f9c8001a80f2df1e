//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"salt-broker/internal/sim"
)

// What minions do at a site.
const (
	siteMinions  = 200
	publishEvery = 20 * time.Millisecond
	askEvery     = 200 * time.Millisecond
	takes        = 10 * time.Millisecond // a worker, for a request
	workers      = 20
	giveUpAfter  = 5 * time.Second // then a minion asks again: auth_timeout of newer Salt
)

// site is masters, ways to them, brokers and minions, with something going to happen to one of them.
type site struct {
	tools   *tools
	masters []*sim.Master
	ways    [][2]*sim.Way // by path: to the publish port, to the request port
	brokers []*siteBroker // from the top
	minions *sim.Minions
	watch   *sim.Watch
	ends    []func() error

	mu   sync.Mutex // for publishing
	away []bool     // by master: it publishes nothing, however often it is told to
}

// siteBroker is the program, which may end and start again on the same ports.
type siteBroker struct {
	tools *tools
	dir   string
	ports Ports
	rest  string // of its configuration, but for the settings
	*process
}

// buildSite makes a site of so many masters, paths to the first of them where there are several, and brokers, one behind the
// other, the topmost with these settings. It returns when every minion is served.
func buildSite(ctx context.Context, t *tools, masters, paths, depth int, settings string) (s *site, err error) {
	s = &site{tools: t, watch: sim.NewWatch(siteMinions)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.end())
		}
	}()
	if err := s.findPorts(masters, paths); err != nil { //nolint:contextcheck // masters end with the site
		return s, err
	}
	above := Ports{Publish: s.masters[0].PublishAddr().Port(), Request: s.masters[0].RequestAddr().Port()}
	for level := range depth {
		if level > 0 {
			settings = "master: 127.0.0.1\n"
		}
		b, err := s.addBroker(above, settings)
		if err != nil {
			return s, err
		}
		above = b.ports
	}
	o := sim.MinionsOptions{
		Count: siteMinions, Publish: onLoopback(above.Publish), Request: onLoopback(above.Request),
		Interval: askEvery, Timeout: giveUpAfter, Insist: true,
	}
	s.watch.Minions(&o)
	if s.minions, err = sim.StartMinions(o); err != nil { //nolint:contextcheck // minions end with the site
		return s, err
	}
	s.ends = append(s.ends, s.minions.Stop)
	if err := errors.Join(s.minions.AwaitSubscribed(ctx, siteMinions), s.connected(ctx, 0, max(1, paths))); err != nil {
		return s, err
	}
	s.publish()
	s.watch.Begin(s.minions)
	_, err = s.watch.End(ctx)
	return s, err
}

// end stops everything, the last first.
func (s *site) end() error {
	var errs []error
	for i := len(s.ends) - 1; i >= 0; i-- {
		errs = append(errs, s.ends[i]())
	}
	s.ends = nil
	return errors.Join(errs...)
}

// findPorts starts masters at the same ports of 127.0.0.1 and so on, and paths behind them. Somebody may have one of those
// ports.
func (s *site) findPorts(masters, paths int) (err error) {
	for range 20 {
		if err = s.startMasters(masters, paths); err == nil {
			return nil
		}
		_ = s.end()
		s.masters, s.ways = nil, nil
	}
	return err
}

func (s *site) startMasters(masters, paths int) error {
	o := sim.MasterOptions{OnRequest: s.watch.Asked, ServiceTime: takes, Workers: workers}
	var publish, request uint16
	at := func(host int, port uint16) string {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(host)}), port).String()
	}
	for i := range masters {
		o.PublishAddress, o.RequestAddress = at(i+1, publish), at(i+1, request)
		m, err := sim.StartMaster(o)
		if err != nil {
			return err
		}
		s.masters, s.away, s.ends = append(s.masters, m), append(s.away, false), append(s.ends, m.Stop)
		publish, request = m.PublishAddr().Port(), m.RequestAddr().Port()
	}
	for i := range paths {
		var path [2]*sim.Way
		for j, to := range [...]netip.AddrPort{s.masters[0].PublishAddr(), s.masters[0].RequestAddr()} {
			w, err := sim.StartWay(at(masters+1+i, to.Port()), to, time.Millisecond)
			if err != nil {
				return err
			}
			path[j], s.ends = w, append(s.ends, func() error { w.Stop(); return nil })
		}
		s.ways = append(s.ways, path)
	}
	return nil
}

// addBroker starts the program behind those ports.
func (s *site) addBroker(above Ports, settings string) (*siteBroker, error) {
	dir, err := os.MkdirTemp(s.tools.dir, "site-")
	if err != nil {
		return nil, err
	}
	s.ends = append(s.ends, func() error { return os.RemoveAll(dir) })
	b := &siteBroker{tools: s.tools, dir: dir}
	if b.ports, err = freePorts(); err != nil {
		return nil, err
	}
	b.rest = fmt.Sprintf("default_include: ''\nmaster_publish_port: %d\nmaster_port: %d\ninterface: 127.0.0.1\npublish_port: %d\n"+
		"ret_port: %d\nstatus_port: 0\nlog_file: ''\nlog_level: warning\nmax_open_files: 5000\n",
		above.Publish, above.Request, b.ports.Publish, b.ports.Request)
	if err := write(dir, "broker", settings+b.rest); err != nil {
		return nil, err
	}
	if err := b.begin(); err != nil {
		return nil, err
	}
	s.ends = append(s.ends, func() error { b.stop(); return nil })
	s.brokers = append(s.brokers, b)
	return b, nil
}

// reload has it take over other settings, some time soon.
func (b *siteBroker) reload(settings string) error {
	return errors.Join(write(b.dir, "broker", settings+b.rest), b.cmd.Process.Signal(syscall.SIGHUP))
}

func (b *siteBroker) begin() (err error) {
	b.process, err = start(exec.Command(b.tools.saltBroker, "-c", filepath.Clean(b.dir))) //nolint:gosec // the program under test
	if err != nil {
		return err
	}
	one := &running{ports: b.ports, processes: []*process{b.process}}
	for deadline := time.Now().Add(startPatience); !one.listens(); time.Sleep(5 * time.Millisecond) {
		if err := one.ended(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not listen after %s: %w", b.tools.saltBroker, startPatience, b.said.err())
		}
	}
	return nil
}

// connected returns when the topmost broker has so many links for publishes to a master.
func (s *site) connected(ctx context.Context, master, links int) error {
	err := s.masters[master].AwaitSubscribed(ctx, "", links)
	if err != nil && len(s.brokers) > 0 {
		err = errors.Join(err, s.brokers[0].said.err())
	}
	return err
}

// asked returns when a master gets requests.
func (s *site) asked(ctx context.Context, master int) error {
	before := s.masters[master].Stats().Requests
	return s.masters[master].Await(ctx, func(is sim.MasterStats) bool { return is.Requests > before+siteMinions/10 })
}

// left returns when a master has no connections any more.
func (s *site) left(ctx context.Context, master int) error {
	return s.masters[master].Await(ctx, func(is sim.MasterStats) bool { return is.Subscribers+is.Requesters == 0 })
}

// publish has all masters publish the same numbers until the end.
func (s *site) publish() {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(publishEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.publishOne()
			case <-done:
				return
			}
		}
	}()
	s.ends = append(s.ends, func() error { close(done); <-ended; return nil })
}

func (s *site) publishOne() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var job sim.Job
	there := false
	for i, m := range s.masters {
		job = m.PublishJob(nil)
		there = there || !s.away[i]
	}
	if there {
		s.watch.Published(job)
	}
}

// kill ends a master.
func (s *site) kill(master int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[master] = true
	return s.masters[master].Leave()
}

// revive starts one again that was killed.
func (s *site) revive(master int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[master] = false
	return s.masters[master].Start()
}

// mute has a master take what comes and say nothing.
func (s *site) mute(master int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[master] = true
	s.masters[master].Mute(true)
}

// path does something to both ways of a path.
func (s *site) path(n int, do func(w *sim.Way)) {
	for _, w := range s.ways[n] {
		do(w)
	}
}

// pause lets time pass, of which an event is made.
func (s *site) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
