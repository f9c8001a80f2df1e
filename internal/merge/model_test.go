package merge

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world is what happens to the paths of a model, and what it breaks.
type world struct {
	name   string
	paths  int  // at most
	cuts   bool // paths are cut and come back
	silent int  // so many paths lose publishes in silence
	stalls bool // a path stands still for longer than the hold, and goes on where it was
	window int  // 0: as ever

	// In how many of a thousand histories order and completeness may be lost, since nobody could know better; anything
	// means that they are not asked for. Nothing is ever repeated or unaccounted for, or held for too long.
	disorder, missing int
}

const anything = 1000

var worlds = []world{
	{name: "quiet", paths: 4},
	{name: "stalls", paths: 4, stalls: true, missing: 3},
	// Two paths that return and are cut again before they have brought anything in common.
	{name: "two paths and cuts", paths: 2, cuts: true, missing: 3},
	{name: "cuts", paths: 4, cuts: true, missing: 8},
	// One that loses in silence what the other has and is cut with.
	{name: "one loses in silence", paths: 4, silent: 1, disorder: 2, missing: anything},
	{name: "cuts, and one loses in silence", paths: 4, cuts: true, silent: 1, disorder: 8, missing: anything},
	// Two that lose in silence different ones of the same moment.
	{name: "all lose in silence", paths: 4, silent: 4, disorder: 100, missing: anything},
	{name: "everything", paths: 4, cuts: true, silent: 4, stalls: true, disorder: anything, missing: anything},
	{name: "a small window", paths: 4, cuts: true, silent: 4, stalls: true, window: 8, disorder: anything, missing: anything},
}

const (
	modelHold = time.Second
	modelEnd  = 20 * time.Second
)

// event is something that a path tells the merge.
type event struct {
	at    time.Duration
	order int // of those at the same time, on the same path
	path  int
	begin bool
	end   bool
	msg   uint64
}

// model is a master and its paths, in virtual time.
type model struct {
	random *rand.Rand
	world  world
	sent   []time.Duration // by message, from 1
	events []event
}

// imagine makes a model out of a seed.
func imagine(w world, seed uint64) *model {
	d := &model{random: rand.New(rand.NewPCG(seed, 1)), world: w, sent: []time.Duration{0}}
	pace := time.Duration(1+d.random.IntN(200)) * time.Millisecond
	for at := time.Duration(0); at < modelEnd; {
		for range 1 + d.random.IntN(4)*d.random.IntN(2) { // often several at a time
			d.sent = append(d.sent, at)
		}
		at += time.Duration(d.random.Int64N(int64(2 * pace)))
		if d.random.IntN(30) == 0 {
			at += 2 * modelHold
		}
	}
	for i := range 1 + d.random.IntN(w.paths) {
		d.path(i)
	}
	slices.SortStableFunc(d.events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.path, b.path), cmp.Compare(a.order, b.order))
	})
	return d
}

func (d *model) paths() int {
	n := 0
	for _, e := range d.events {
		n = max(n, e.path+1)
	}
	return n
}

// upTo draws a time, small ones as often as large ones.
func (d *model) upTo(most time.Duration) time.Duration {
	return time.Duration(d.random.Int64N(int64(most)>>d.random.IntN(12) + 1))
}

// path makes what one path brings.
func (d *model) path(i int) {
	delay := d.upTo(modelHold * 9 / 10) // one way, either way
	jitter := d.upTo(modelHold - delay)
	loses := 0
	if i < d.world.silent {
		loses = 1 + d.random.IntN(40) // in 100
	}
	order := 0
	add := func(e event) {
		order++
		e.path, e.order = i, order
		d.events = append(d.events, e)
	}
	next := 1 // message
	for at := d.upTo(modelHold); at < modelEnd; {
		add(event{at: at, begin: true})
		until := modelEnd + 10*modelHold
		if d.world.cuts && d.random.IntN(4) > 0 {
			until = at + d.upTo(modelEnd/2)
		}
		from := at + d.upTo(delay+jitter) // the master knows of the subscription
		for next < len(d.sent) && d.sent[next] < from {
			next++
		}
		last := at
		stall := time.Duration(-1)
		if d.world.stalls && d.random.IntN(2) == 0 {
			stall = at + d.upTo(modelEnd)
		}
		for ; next < len(d.sent) && d.sent[next] < until; next++ {
			arrives := max(last, d.sent[next]+delay+d.upTo(jitter))
			if stall >= 0 && arrives > stall {
				arrives = max(arrives, stall+d.upTo(5*modelHold))
				stall = -1
			}
			if arrives >= until {
				break
			}
			last = arrives
			if d.random.IntN(100) >= loses {
				add(event{at: arrives, msg: uint64(next)})
			}
		}
		if until >= modelEnd {
			return
		}
		add(event{at: until, end: true})
		at = until + d.upTo(2*modelHold) + 1
	}
}

// witness sees what goes out, and when.
type witness struct {
	now     time.Duration
	out     []uint64
	when    []time.Duration
	by      []int
	astray  []int
	corrupt bool
}

func (w *witness) Publish(path int, msg []byte) {
	if len(msg) != 24 || string(msg[:8]) != string(msg[16:]) {
		w.corrupt = true
	}
	w.out = append(w.out, binary.BigEndian.Uint64(msg))
	w.when = append(w.when, w.now)
	w.by = append(w.by, path)
}

func (w *witness) Astray(path int) { w.astray = append(w.astray, path) }

func modelMessage(n uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	b = append(b, "payload "...)
	return binary.BigEndian.AppendUint64(b, n)
}

// arrivals is when a message came, by path; 0: never.
type arrivals [4]time.Duration

func (a *arrivals) first() (at time.Duration) {
	for _, t := range a {
		if t > 0 && (at == 0 || t < at) {
			at = t
		}
	}
	return at
}

// play is a model under way.
type play struct {
	*model
	witness
	merge   *Merge
	live    []bool
	came    map[uint64]*arrivals
	brought []uint64
}

// run plays a model. The error is what must not be in any world.
func (d *model) run() (disorder, missing bool, err error) {
	paths := d.paths()
	p := &play{model: d, live: make([]bool, paths), came: map[uint64]*arrivals{}, brought: make([]uint64, paths)}
	p.merge = New(paths, modelHold, p)
	if d.world.window > 0 {
		p.merge.most = d.world.window
	}
	for _, e := range d.events {
		if err := p.advance(e.at); err != nil {
			return false, false, err
		}
		p.tell(e)
		held := 0
		for i := range p.merge.paths {
			held += p.merge.paths[i].queue.len()
		}
		if held != p.merge.held {
			return false, false, fmt.Errorf("at %v it has %d and thinks that it has %d", e.at, held, p.merge.held)
		}
	}
	if err := p.advance(2 * modelEnd); err != nil {
		return false, false, err
	}
	if err := p.check(); err != nil {
		return false, false, err
	}
	return !slices.IsSorted(p.out), p.missing(), nil
}

func (p *play) advance(to time.Duration) error {
	for range 1_000_000 {
		at, ok := p.merge.Next(p.now)
		if !ok || at > to {
			p.now = to
			return nil
		}
		if at <= p.now {
			return fmt.Errorf("at %v it wants to be told that it is %v", p.now, at)
		}
		p.now = at
		p.merge.Advance(at)
	}
	return errors.New("it never comes to rest")
}

func (p *play) tell(e event) {
	switch {
	case e.begin:
		p.live[e.path] = true
		p.merge.Begin(e.path, e.at)
	case e.end:
		p.live[e.path] = false
		p.merge.End(e.path, e.at)
	default:
		p.brought[e.path]++
		if p.came[e.msg] == nil {
			p.came[e.msg] = &arrivals{}
		}
		p.came[e.msg][e.path] = e.at
		p.merge.Deliver(e.path, modelMessage(e.msg), e.at)
	}
	for _, i := range p.astray { // as the owner does it
		if p.live[i] {
			p.merge.End(i, p.now)
			p.merge.Begin(i, p.now)
		}
	}
	p.astray = nil
}

// check looks for what must not be in any world.
func (p *play) check() error {
	if p.corrupt {
		return errors.New("a publish is damaged")
	}
	seen := map[uint64]bool{}
	for i, n := range p.out {
		came := p.came[n]
		switch {
		case came == nil:
			return fmt.Errorf("message %d has come from nowhere", n)
		case seen[n] && p.world.window == 0:
			return fmt.Errorf("message %d goes out twice, at %v over path %d", n, p.when[i], p.by[i])
		case p.when[i]-came[p.by[i]] > 2*modelHold:
			return fmt.Errorf("message %d came at %v and was held until %v", n, came[p.by[i]], p.when[i])
		}
		seen[n] = true
	}
	dropped := 0
	for i := range p.brought {
		c := p.merge.Counts(i)
		dropped += int(c.Late + c.Unknown)
		if got := c.First + c.Repeated + c.Late + c.Unknown; got != p.brought[i] || c.Held != 0 {
			return fmt.Errorf("path %d brought %d, of which %+v became", i, p.brought[i], c)
		}
	}
	if missed := len(p.came) - len(seen); missed > dropped {
		return fmt.Errorf("%d are missed and only %d dropped", missed, dropped)
	}
	return nil
}

// missing says whether anything has not gone out that came within the hold of whatever was published after it.
func (p *play) missing() bool {
	seen := map[uint64]bool{}
	for _, n := range p.out {
		seen[n] = true
	}
	soonest := time.Duration(math.MaxInt64) - modelHold // that anything later has come
	for n := uint64(len(p.sent)) - 1; n > 0; n-- {
		if came := p.came[n]; came != nil {
			if !seen[n] && came.first() <= soonest+modelHold {
				return true
			}
			soonest = min(soonest, came.first())
		}
	}
	return false
}

// TestModel plays thousands of histories of a master and one to four paths.
func TestModel(t *testing.T) {
	seeds := 1000
	if raced || testing.Short() {
		seeds = 100
	}
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			var disorder, missing []int
			for seed := range seeds {
				disordered, missed, err := imagine(w, uint64(seed)).run()
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if disordered {
					disorder = append(disorder, seed)
				}
				if missed {
					missing = append(missing, seed)
				}
			}
			t.Logf("%d of %d histories are out of order, %d miss something", len(disorder), seeds, len(missing))
			if len(disorder) > (w.disorder*seeds+999)/1000 {
				t.Errorf("out of order, with seeds %v", disorder[:min(9, len(disorder))])
			}
			if len(missing) > (w.missing*seeds+999)/1000 {
				t.Errorf("something is missed, with seeds %v", missing[:min(9, len(missing))])
			}
		})
	}
}
