package masters

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
)

const (
	// again is the pause before an answer that speaks against what is known is checked, and the least between two
	// probes of one path.
	again = 300 * time.Millisecond
	// eager is how often all are asked while none is up.
	eager = 2 * time.Second
	// look is how often it is looked whether requests at the master are answered.
	look = time.Second
)

// Master is one of the list.
type Master struct {
	// Name is what the log, the status and the metrics call it. No two have the same.
	Name string
	// Paths are the roads to it, at least one. It is up when it answers by one of them.
	Paths []Path
}

// Path is a road to a master: host:port of both ports.
type Path struct{ Publish, Request string }

// Options of a Watch.
type Options struct {
	// Masters are the list, in order; at least one. Without Failover the first one serves, whatever becomes of it.
	Masters  []Master
	Failover bool
	// Cluster says that the masters are the peers of one cluster, of which none is preferred: see Serving.Peers. It
	// goes without Failover.
	Cluster bool
	// Random has the list shuffled once, with Failover or Cluster (Salt: random_master); with Failback the first one
	// stays the first, as with Salt.
	Random bool
	// Failback gives an earlier master its place back when it has been up for FailbackAfter (Salt: master_failback,
	// master_failback_interval). A peer of a cluster that went down gets its minions back after that in any case.
	Failback      bool
	FailbackAfter time.Duration
	// Interval is how often each path is asked; 0: never (Salt: master_alive_interval). Timeout is for each step of a
	// probe.
	Interval, Timeout time.Duration
	// Dial is how masters are reached: source address, keepalive. The rest is set here.
	Dial master.Options
}

// Traffic is what passes between minions and a master.
type Traffic struct {
	// Replies counts what it has answered to anybody. While it grows, the master is not dead, only busy.
	Replies uint64
	// InFlight is how many requests are at the master now. When nothing is answered to them, it is asked whether it
	// lives.
	InFlight int
	// Linked says that all links to it are there. Then it is of no account that its name does not resolve.
	Linked bool
}

// Serving says which masters serve.
type Serving struct {
	// Master is the one: the first of its paths is that which requests are to take. It says nothing where there are
	// Peers.
	Master Master
	// Peers are all masters, in the order of the list, where they are the peers of a cluster; else nil.
	Peers []Peer
	// Spare says that the master or the path which requests took is good enough to wait for replies that are due.
	Spare bool
}

// Peer is a master of a cluster, the path first that requests are to take.
type Peer struct {
	Master
	Healthy bool // it is not known to be down
	Trusted bool // it is healthy, and has been for long enough to have its minions
}

// Watch asks the masters and says which one serves. It is a service of the supervisor.
type Watch struct {
	log     logrus.FieldLogger
	serve   func(s Serving)
	traffic func(master string) Traffic
	ask     func(ctx context.Context, o master.Options, p Path, timeout time.Duration) (time.Duration, error)

	mu      sync.Mutex
	options Options // Masters in the order that holds
	paths   [][]*path
	routes  []route // by master
	choice  choice
	since   time.Time // when the one that serves began to
	moves   map[Reason]uint64
	keys    keys
	none    bool // it has been said that no master is up
	// replaced is closed when the list or the pace is another one. Which channel it is says which list an answer is of.
	replaced chan struct{}
}

// path is a road to a master, as it is followed.
type path struct {
	health
	wake chan struct{} // has room for one: it is to be asked at once
}

// New makes a Watch that does nothing until Live is called. serve is told which masters are to serve, and how, when
// that changes, and with every Apply. Calls follow each other, and it must neither wait nor call the Watch. traffic is
// asked for a master that serves, by its name, from any goroutine.
func New(o Options, log logrus.FieldLogger, serve func(s Serving), traffic func(master string) Traffic) *Watch {
	w := &Watch{
		log: log, serve: serve, traffic: traffic, ask: ask,
		since: time.Now(), moves: map[Reason]uint64{Failed: 0, FailedBack: 0, Configured: 0}, replaced: make(chan struct{}),
	}
	w.adopt(o, nil)
	return w
}

// Serving says which masters serve now. It is safe from any goroutine.
func (w *Watch) Serving() Serving {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said(false)
}

func (w *Watch) said(spare bool) Serving {
	s := Serving{Master: w.routed(w.choice.serving), Spare: spare}
	if w.options.Cluster {
		for i, c := range w.choice.candidates {
			s.Peers = append(s.Peers, Peer{Master: w.routed(i), Healthy: c.is != Down, Trusted: c.trusted()})
		}
	}
	return s
}

// serves says whether a master does.
func (w *Watch) serves(i int) bool { return w.options.Cluster || i == w.choice.serving }

func (w *Watch) routed(i int) Master { return w.options.Masters[i].by(w.routes[i].path) }

// Apply has the watch follow other options while it runs. The master that serves goes on serving as long as it is in
// the list; what is known of those that stay is kept. It is safe from any goroutine.
func (w *Watch) Apply(o Options) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.options
	was := before.Masters[w.choice.serving]
	w.adopt(o, &was)
	now := w.options.Masters[w.choice.serving]
	if !w.options.Cluster && !same(was, now) {
		w.moved(was, now, Configured, time.Time{})
	}
	w.release(time.Now()) // who had the minions may be gone
	w.serve(w.said(false))
	close(w.replaced)
	w.replaced = make(chan struct{})
}

// adopt makes o the options. What is known of masters that were there is kept.
func (w *Watch) adopt(o Options, serving *Master) {
	before, paths, routes, choice := w.options.Masters, w.paths, w.routes, w.choice
	o.Masters = order(o, before)
	w.options = o
	w.choice.candidates, w.choice.serving = make([]candidate, len(o.Masters)), 0
	w.choice.failback, w.choice.hold = o.Failback, o.FailbackAfter
	w.paths, w.routes = make([][]*path, len(o.Masters)), make([]route, len(o.Masters))
	for i, m := range o.Masters {
		for range m.Paths {
			w.paths[i] = append(w.paths[i], &path{wake: make(chan struct{}, 1)})
		}
		j := slices.IndexFunc(before, func(b Master) bool { return same(b, m) })
		if j < 0 || o.Interval == 0 {
			continue
		}
		w.paths[i], w.routes[i], w.choice.candidates[i] = paths[j], routes[j], choice.candidates[j]
	}
	if serving != nil && o.Failover {
		if i := slices.IndexFunc(o.Masters, func(m Master) bool { return same(m, *serving) }); i >= 0 {
			w.choice.serving = i
		} else if i := slices.IndexFunc(w.choice.candidates, func(c candidate) bool { return c.is == Up }); i >= 0 {
			w.choice.serving = i
		}
	}
}

// order is the list as it holds: as it is, or shuffled. Those that were there keep their order in a shuffled list, so
// it is shuffled once.
func order(o Options, before []Master) []Master {
	list := slices.Clone(o.Masters)
	if !o.Random || !o.Failover && !o.Cluster {
		return list
	}
	shuffled := list
	if o.Failback {
		shuffled = list[1:]
	}
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	place := func(m Master) int {
		if i := slices.IndexFunc(before, func(b Master) bool { return b.Name == m.Name }); i >= 0 {
			return i
		}
		return len(before)
	}
	slices.SortStableFunc(shuffled, func(a, b Master) int { return place(a) - place(b) })
	return list
}

func same(a, b Master) bool { return a.Name == b.Name && slices.Equal(a.Paths, b.Paths) }

// Name implements supervise.Service.
func (w *Watch) Name() string { return "watch over the masters" }

// Loss implements supervise.Service.
func (w *Watch) Loss() string { return "no master was asked meanwhile and nobody was moved" }

// Turned implements supervise.Service: there is no event loop.
func (w *Watch) Turned(context.Context) error { return nil }

// Live asks the masters until ctx ends, and returns nil then. It may be called again.
func (w *Watch) Live(ctx context.Context) error {
	for ctx.Err() == nil {
		w.mu.Lock()
		o, paths, replaced := w.options, w.paths, w.replaced
		w.mu.Unlock()
		life, end := context.WithCancel(ctx)
		all, life := errgroup.WithContext(life)
		if o.Interval > 0 {
			all.Go(func() error { return guarded(life, func(ctx context.Context) { w.attend(ctx, o.Timeout) }) })
			for i, roads := range paths {
				for j, p := range roads {
					all.Go(func() error { return guarded(life, follower{w, o, p, i, j, replaced}.run) })
				}
			}
		}
		select {
		case <-replaced:
		case <-life.Done():
		}
		end()
		if err := all.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// guarded turns a panic into an error: it ends the watch, which starts again, and not the process.
func guarded(ctx context.Context, run func(context.Context)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &reactor.PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	run(ctx)
	return nil
}

// Nudge has all masters asked at once: a link has ended or come about. It is safe from any goroutine and does not wait.
func (w *Watch) Nudge(bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake()
}

func (w *Watch) wake() {
	for _, roads := range w.paths {
		for _, p := range roads {
			select {
			case p.wake <- struct{}{}:
			default:
			}
		}
	}
}

// attend has all masters asked when requests are at one and it has answered nothing for a time-out: on a broker with
// minions one that has gone mute is found long before the next probe is due.
func (w *Watch) attend(ctx context.Context, timeout time.Duration) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	type seen struct {
		since   time.Time
		replies uint64
	}
	last := map[string]seen{}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, name := range w.names() {
				before, known := last[name]
				switch t := w.traffic(name); {
				case !known || t.InFlight == 0 || t.Replies != before.replies:
					last[name] = seen{now, t.Replies}
				case now.Sub(before.since) > timeout-look/2: // ticks come a bit sooner or later
					last[name] = seen{now, t.Replies}
					w.Nudge(false)
				}
			}
		}
	}
}

// names are those of the masters that requests go to.
func (w *Watch) names() (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, m := range w.options.Masters {
		if w.serves(i) {
			names = append(names, m.Name)
		}
	}
	return names
}

// follower asks by one path again and again.
type follower struct {
	watch         *Watch
	options       Options
	path          *path
	master, place int             // of the path, in the list and in the master
	replaced      <-chan struct{} // that of the list
}

func (f follower) run(ctx context.Context) {
	w, o := f.watch, &f.options
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time // when the last answer came
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.path.wake:
			timer.Reset(max(0, again-time.Since(last)))
			continue
		case <-timer.C:
		}
		m := &o.Masters[f.master]
		replies := w.traffic(m.Name).Replies
		took, err := w.ask(ctx, o.Dial, m.Paths[f.place], o.Timeout)
		if ctx.Err() != nil {
			return
		}
		last = time.Now()
		now := w.traffic(m.Name)
		timer.Reset(f.answered(took, err, excuses{silence: now.Replies != replies, name: now.Linked}))
	}
}

// excuses say what a bad answer is not to be held against a master that serves.
type excuses struct {
	silence bool // it has answered somebody meanwhile
	name    bool // that does not resolve: it is connected
}

// apply makes of an answer that is excused one that took as long as it was waited for: the master lives, and another
// path that is quicker than that is the better one. Of a name that does not resolve nothing is known of the path.
func (e excuses) apply(took time.Duration, err error, timeout time.Duration) (time.Duration, error) {
	switch {
	case e.silence && errors.As(err, new(silence)):
		return timeout, nil
	case e.name && errors.As(err, new(*net.DNSError)):
		return 0, nil
	}
	return took, err
}

// answered takes the outcome of a probe and returns when the next one is due.
func (f follower) answered(took time.Duration, err error, e excuses) time.Duration {
	w := f.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.replaced != f.replaced {
		return again // Apply has been here, and the end is near
	}
	if w.serves(f.master) && w.routes[f.master].path == f.place {
		took, err = e.apply(took, err, f.options.Timeout)
	}
	now := time.Now()
	before, was := w.up(), w.choice.candidates[f.master].is
	changed := f.path.answered(now, took, err)
	w.judge(f.master, now)
	if before > 0 && w.up() == 0 {
		w.wake() // from now on all are asked more often
	}
	if changed {
		w.reportPath(f.master, f.place)
	}
	w.route(f.master, f.place)
	if w.serves(f.master) && f.path.against == 1 {
		w.wake() // who may have to serve is to be known
	}
	is, back := w.choice.candidates[f.master].is, w.release(now)
	if w.options.Cluster && (is == Down) != (was == Down) || back {
		w.serve(w.said(true)) // another peer may be left for a quicker path just now
	}
	if to, why, move := w.choice.decide(now); move && w.options.Failover {
		from := w.choice.serving
		w.choice.serving = to
		w.moved(w.options.Masters[from], w.options.Masters[to], why, w.trouble(from))
		w.serve(w.said(why == FailedBack))
	}
	w.reportNone()
	switch {
	case f.path.against > 0:
		return min(again, w.options.Interval)
	case w.routes[f.master].undecided():
		return min(curious, w.options.Interval)
	case w.up() == 0:
		return min(eager, w.options.Interval)
	}
	return w.options.Interval
}

// route looks for a better path for requests than the one that they take, after one has been measured.
func (w *Watch) route(i, measured int) {
	r := &w.routes[i]
	from := r.path
	before := r.undecided()
	moved, failed := r.decide(w.paths[i], measured)
	if r.undecided() && !before {
		w.wake()
	}
	if !moved {
		return
	}
	w.reportRoute(i, from, failed)
	if w.serves(i) {
		w.serve(w.said(!failed))
	}
}

// judge makes of what is known of the paths what the master is.
func (w *Watch) judge(i int, now time.Time) {
	is, doubt := Down, true
	for _, h := range w.paths[i] {
		switch {
		case h.is == Up:
			is, doubt = Up, doubt && h.against > 0
		case h.is == Unknown && is == Down:
			is = Unknown
		}
	}
	w.choice.candidates[i].doubt = doubt
	if before := w.choice.candidates[i].is; before != is {
		w.choice.judged(i, is, now)
		w.report(i, before, now)
	}
}

// release gives peers of a cluster their minions back, and says whether any got them.
func (w *Watch) release(now time.Time) bool {
	if !w.options.Cluster {
		return false
	}
	back := w.choice.release(now)
	for _, i := range back {
		w.reportBack(i, now)
	}
	return len(back) > 0
}

// up is how many masters are.
func (w *Watch) up() (n int) {
	for _, c := range w.choice.candidates {
		if c.is == Up {
			n++
		}
	}
	return n
}

// trouble is when the answers began that made a master down: the first of them by any of its paths.
func (w *Watch) trouble(i int) (first time.Time) {
	for _, h := range w.paths[i] {
		if first.IsZero() || h.first.Before(first) {
			first = h.first
		}
	}
	return first
}
