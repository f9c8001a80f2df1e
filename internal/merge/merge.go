package merge

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"
)

// Limits; docs/decisions/0017-several-roads.rst has why.
const (
	// Window is how many publishes are remembered after they went out. A path that lags further behind is astray: its
	// copies would not be recognized.
	Window = 1 << 16
	// HeldBytes and HeldMessages are from where on a path is full, and should not be read from until less of it is
	// held.
	HeldBytes    = 16 << 20
	HeldMessages = 1 << 16
)

// Sink gets what a Merge decides. It must not call back.
type Sink interface {
	// Publish gives out a publish, in its turn, that path has brought first. msg is valid during the call.
	Publish(path int, msg []byte)
	// Astray says that a path is so far behind that its copies will not be recognized. It should be cut: what a new
	// connection brings is newer than all that has gone out. Until End nothing of it goes out.
	Astray(path int)
}

// Merge is the state. Its methods belong to one goroutine, but for Counts. Times are on any clock that does not go
// back.
type Merge struct {
	sink  Sink
	seed  maphash.Seed
	hold  time.Duration
	most  int  // Window, but in tests
	gone  sums // what went out last
	past  sums // what did not, and whose turn is over
	paths []*path
	held  int // publishes that wait, on all paths

	counted atomic.Pointer[[]*path] // paths, for Counts
}

// path is what is known of a path.
type path struct {
	live   bool
	placed bool          // pos is where it stands: it has brought that, or all that goes before what it brings
	astray bool          // pos has fallen out of the window
	slow   bool          // others have waited for it for the hold, over this connection
	pos    uint64        // serial of the last that went out which the path will not bring any more
	began  time.Duration // its connection
	heard  time.Duration // when it last brought anything
	queue  queue

	// Of connections before this one.
	former uint64 // serial of the last in the queue
	passed uint64 // serial of the last that went out, 0: none of them has

	first, repeated, late, unknown atomic.Uint64
	waiting, behind                atomic.Int64
	shown                          atomic.Bool // placed, for Counts
}

// Counts of a path, since the Merge was made.
type Counts struct {
	First    uint64 // publishes that went out as this path brought them
	Repeated uint64 // another path's copy was first
	Late     uint64 // dropped: something had gone out that comes after it
	Unknown  uint64 // dropped: its place among what had gone out cannot be known
	Held     int    // wait now
	Behind   int    // have gone out and have not come this way yet, now
	Placed   bool   // its place in the sequence is known: what it brings waits for nobody
}

// After adds what a former Merge has counted.
func (c Counts) After(former Counts) Counts {
	c.First += former.First
	c.Repeated += former.Repeated
	c.Late += former.Late
	c.Unknown += former.Unknown
	return c
}

// New makes a Merge of so many paths, none of which is connected. hold is how long a publish may be held.
func New(paths int, hold time.Duration, s Sink) *Merge {
	m := &Merge{sink: s, seed: maphash.MakeSeed(), hold: hold, most: Window}
	m.Grow(paths)
	return m
}

// Grow makes it so many paths, if there are fewer.
func (m *Merge) Grow(paths int) {
	for len(m.paths) < paths {
		m.paths = append(m.paths, &path{})
	}
	counted := slices.Clone(m.paths)
	m.counted.Store(&counted)
}

// SetHold changes the hold, for what is held already too.
func (m *Merge) SetHold(hold time.Duration, now time.Duration) {
	m.hold = hold
	m.settle(now)
}

// Begin says that a path is connected. What it brings from here on is published later than anything that has gone out.
func (m *Merge) Begin(i int, now time.Duration) {
	p := m.paths[i]
	p.place(false)
	p.live, p.astray, p.slow, p.began = true, false, false, now
	p.pos = m.gone.last
	p.behind.Store(0)
}

// End says that a path is cut. What it has brought still goes out in its turn.
func (m *Merge) End(i int, now time.Duration) {
	p := m.paths[i]
	p.live = false
	if !p.left() {
		p.passed = 0
	}
	p.former = p.queue.last
	p.behind.Store(0)
	if p.placed || p.astray {
		m.drop(p, p.queue.last, &p.unknown)
	}
	p.place(false)
	m.settle(now)
}

// Deliver takes the next publish of a path, which stays the caller's.
func (m *Merge) Deliver(i int, msg []byte, now time.Duration) {
	p := m.paths[i]
	p.heard = now
	x := m.sumOf(msg)
	if serial, ok := m.gone.find(x); ok {
		m.recognized(p, serial)
		if m.held > 0 {
			m.settle(now)
		}
		return
	}
	switch {
	case p.astray:
		p.unknown.Add(1)
		return
	case m.isPast(x):
		p.late.Add(1)
		return
	case p.placed && p.pos == m.gone.last: // so it has nothing held
		m.out(i, x, msg, 0)
		m.reached(p, m.gone.last)
	default:
		if _, ok := p.queue.find(x); ok {
			p.repeated.Add(1)
			return
		}
		p.queue.add(x, msg, now)
		m.wait(p, 1)
	}
	if m.held > 0 {
		m.settle(now)
	}
}

func (m *Merge) sumOf(msg []byte) sum { return sum{maphash.Bytes(m.seed, msg), uint32(len(msg))} }

// Next is when Advance has something to do, if nothing comes before.
func (m *Merge) Next(now time.Duration) (at time.Duration, ok bool) {
	if m.held == 0 {
		return 0, false
	}
	for i := range m.paths {
		q := m.paths[i].queue
		if q.empty() {
			continue
		}
		_, came := q.head()
		due := came + m.hold
		if due <= now { // it waits for what came aside
			due += m.hold
		}
		if !ok || due < at {
			at, ok = due, true
		}
	}
	return at, ok
}

// Advance says what time it is.
func (m *Merge) Advance(now time.Duration) { m.settle(now) }

// Flush gives out all that is held, as if the hold was over.
func (m *Merge) Flush(now time.Duration) {
	hold := m.hold
	m.SetHold(0, now)
	m.hold = hold
}

// Full says that so much of a path is held that it should not be read from.
func (m *Merge) Full(i int) bool {
	q := m.paths[i].queue
	return q.held() >= HeldBytes || q.len() >= HeldMessages
}

// Counts of a path, none of one that there is not. It is safe from any goroutine.
func (m *Merge) Counts(i int) Counts {
	paths := *m.counted.Load()
	if i >= len(paths) {
		return Counts{}
	}
	p := paths[i]
	return Counts{
		First: p.first.Load(), Repeated: p.repeated.Load(), Late: p.late.Load(), Unknown: p.unknown.Load(),
		Held: int(p.waiting.Load()), Behind: int(p.behind.Load()), Placed: p.shown.Load(),
	}
}

// recognized is for a publish that has gone out already.
func (m *Merge) recognized(p *path, serial uint64) {
	p.repeated.Add(1)
	if p.placed && serial <= p.pos {
		return // its publisher repeats itself
	}
	m.pass(p, p.queue.last) // they are before it
	m.reached(p, serial)
	p.astray = false
}

// reached notes where a path is.
func (m *Merge) reached(p *path, serial uint64) {
	p.pos = serial
	if p.live {
		p.place(true)
		p.behind.Store(int64(m.gone.last - serial))
	}
}

func (p *path) place(known bool) {
	p.placed = known
	if p.shown.Load() != known {
		p.shown.Store(known)
	}
}

// out gives out a publish of a path, and before it what other paths have brought before it. The path itself holds
// nothing before it. deep counts how often it has called itself: orders that agree lead from one path to the next,
// never back.
func (m *Merge) out(i int, x sum, msg []byte, deep int) {
	if m.held > 0 {
		for j := range m.paths {
			q := m.paths[j]
			if j == i || q.queue.empty() {
				continue
			}
			if serial, ok := q.queue.find(x); ok {
				m.before(i, j, serial, deep+1)
			}
		}
		if _, ok := m.gone.find(x); ok { // orders that do not agree: it went out before itself
			m.paths[i].repeated.Add(1)
			return
		}
	}
	m.give(i, x, msg)
	if m.held == 0 {
		return
	}
	for j := range m.paths {
		q := m.paths[j]
		if q.queue.empty() {
			continue
		}
		if first, _ := q.queue.head(); first == x {
			left := q.left()
			q.queue.take()
			m.wait(q, -1)
			q.repeated.Add(1)
			m.moved(q, left)
		}
	}
}

// before gives out what path j holds before the publish with this serial in its queue, which path i brings now. Where
// the place of j is not known, that is what i has missed, and its turn is now. Otherwise both have missed something,
// and which was first nobody knows: it is dropped. So is what j brought over a connection that has ended, when i has
// been there all the time: other things have gone out since.
func (m *Merge) before(i, j int, serial uint64, deep int) {
	p, by := m.paths[j], m.paths[i]
	if p.placed || deep > len(m.paths) {
		m.pass(p, serial-1)
		return
	}
	for p.queue.gone < serial-1 {
		if _, came := p.queue.head(); p.left() && by.placed && by.began <= came {
			m.pass(p, p.queue.gone+1)
			continue
		}
		m.next(j, deep)
	}
}

// next gives out the first that a path holds.
func (m *Merge) next(i, deep int) {
	p := m.paths[i]
	left := p.left()
	x, msg := p.queue.take()
	m.wait(p, -1)
	if m.isPast(x) {
		p.late.Add(1)
		return
	}
	m.out(i, x, msg, deep)
	m.moved(p, left)
}

// moved notes that the last that went out was the first that a path had held.
func (m *Merge) moved(p *path, left bool) {
	if left {
		p.passed = m.gone.last
	} else {
		m.reached(p, m.gone.last)
	}
}

// give gives out a publish.
func (m *Merge) give(i int, x sum, msg []byte) {
	if m.gone.len() == m.most {
		m.forget()
	}
	m.gone.add(x)
	p := m.paths[i]
	p.first.Add(1)
	for j := range m.paths {
		if q := m.paths[j]; q.live && j != i {
			q.behind.Add(1)
		}
	}
	m.sink.Publish(i, msg)
}

// forget takes the oldest out of the window. Who has not passed it will not be recognized.
func (m *Merge) forget() {
	m.gone.take()
	for i := range m.paths {
		p := m.paths[i]
		if p.live && !p.astray && p.pos < m.gone.gone {
			p.astray = true
			p.place(false)
			m.drop(p, p.queue.last, &p.unknown)
			m.sink.Astray(i)
		}
	}
}

// pass drops what a path holds up to a serial of its queue, since something has gone out that is after it.
func (m *Merge) pass(p *path, serial uint64) {
	for at := p.queue.gone + 1; at <= serial; at++ {
		if x := p.queue.at(at); !m.isPast(x) {
			if m.past.len() == m.most {
				m.past.take()
			}
			m.past.add(x)
		}
	}
	m.drop(p, serial, &p.late)
}

func (m *Merge) isPast(x sum) bool {
	_, ok := m.past.find(x)
	return ok
}

// drop forgets what a path holds up to a serial of its queue, and counts it.
func (m *Merge) drop(p *path, serial uint64, reason *atomic.Uint64) {
	for p.queue.gone < serial {
		p.queue.take()
		m.wait(p, -1)
		reason.Add(1)
	}
}

func (m *Merge) wait(p *path, n int) {
	m.held += n
	p.waiting.Add(int64(n))
}

// settle gives out what need not wait any longer, or drops it.
func (m *Merge) settle(now time.Duration) {
	for m.held > 0 {
		next, verdict, since := -1, waits, time.Duration(0)
		for i := range m.paths {
			if m.paths[i].queue.empty() {
				continue
			}
			v := m.judge(i, now)
			_, came := m.paths[i].queue.head()
			if v != waits && (next < 0 || came < since) {
				next, verdict, since = i, v, came
			}
		}
		p := m.paths[max(next, 0)]
		switch verdict {
		case waits:
			return
		case tooLate:
			m.drop(p, p.queue.gone+1, &p.late)
		case overtakes:
			m.overtaken(next)
			fallthrough
		case goes:
			m.next(next, 0)
		}
	}
}

// verdict over the first publish that a path holds.
type verdict int

const (
	waits     verdict = iota
	goes              // it is its turn
	overtakes         // it has waited for the hold: who has not brought it by now comes too late with what is before it
	tooLate
)

func (m *Merge) judge(i int, now time.Duration) verdict {
	p := m.paths[i]
	x, came := p.queue.head()
	over := now-came >= m.hold
	if m.isPast(x) {
		return tooLate
	}
	aside := now-came < 2*m.hold && m.aside(i)
	if p.placed {
		switch {
		case p.pos == m.gone.last:
			return goes
		case !over, aside:
			return waits
		case m.contradicted(i, came):
			return tooLate
		}
		return overtakes
	}
	switch {
	case p.left() && p.passed == m.gone.last && p.passed > 0:
		return goes
	case over && !p.left() && p.slow && m.contradicted(i, came):
		return tooLate
	case over && (p.left() || !aside):
		return overtakes
	case p.pos == m.gone.last && !aside && m.agreed(i):
		return goes
	}
	return waits
}

// contradicted says whether another path, whose place is known, has brought something that this one should have brought
// before, and has gone on since without what this one brings.
func (m *Merge) contradicted(i int, since time.Duration) bool {
	p := m.paths[i]
	for j := range m.paths {
		if q := m.paths[j]; j != i && q.live && q.placed && q.pos > p.pos && q.heard > since {
			return true
		}
	}
	return false
}

// aside says whether something waits that another path has brought over a connection which has ended, and that is not
// known to be before or after a path's first publish.
func (m *Merge) aside(i int) bool {
	x, _ := m.paths[i].queue.head()
	for j := range m.paths {
		if j != i && m.paths[j].left() && !m.paths[j].has(x) {
			return true
		}
	}
	return false
}

func (p *path) has(x sum) bool {
	_, ok := p.queue.find(x)
	return ok
}

// left says whether the first that the path holds came over a connection that has ended.
func (p *path) left() bool { return p.queue.gone < p.former }

// agreed says whether all paths that could bring something before a path's first publish have brought that itself.
func (m *Merge) agreed(i int) bool {
	x, came := m.paths[i].queue.head()
	for j := range m.paths {
		q := m.paths[j]
		if j == i || !q.live || q.began > came {
			continue
		}
		if !q.has(x) {
			return false
		}
	}
	return true
}

// overtaken notes what goes out now without having met all others. Paths that have not brought it in all the time are
// behind it. What was left by others may have been before it or after, nobody knows.
func (m *Merge) overtaken(by int) {
	x, came := m.paths[by].queue.head()
	for j := range m.paths {
		q := m.paths[j]
		switch {
		case j == by || q.has(x):
		case q.left():
			m.drop(q, q.former, &q.unknown)
		case q.live && q.began <= came:
			q.slow = true
		}
	}
}
