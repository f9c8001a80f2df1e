package master

import (
	"context"
	"sync"
	"time"
)

// Herald tells the links of a process that one of them has got through. Those that pause after a failure try at once then:
// a master that is back is back for all, and each would sleep for up to [Backoff].Max without it. One that fails again begins
// its pauses anew: a Salt master opens its port for requests a second after that for publishes. When the first one gets
// through is still left to chance, so brokers that lost the same master do not come back in step. The zero value is ready;
// a nil Herald tells nobody. It is safe from any goroutine.
type Herald struct {
	mu      sync.Mutex
	last    time.Time                 // when the last one got through
	pausing map[*Link]chan<- struct{} // those to be told
}

// news is told by a link that has got through.
func (h *Herald) news(now time.Time) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = now
	for l, told := range h.pausing {
		close(told)
		delete(h.pausing, l)
	}
}

// listen returns what is closed when a link gets through, or has since an attempt of this link began. The link says
// ignore when its pause is over.
func (h *Herald) listen(l *Link, began time.Time) <-chan struct{} {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	told := make(chan struct{})
	if h.last.After(began) {
		close(told)
		return told
	}
	if h.pausing == nil {
		h.pausing = map[*Link]chan<- struct{}{}
	}
	h.pausing[l] = told
	return told
}

func (h *Herald) ignore(l *Link) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.pausing, l)
}

// mostHeard is how many pauses a link cuts short within Backoff.Max. A master that takes connections and ends them again
// would have links that tell each other dial all the time.
const mostHeard = 3

// hearing is how often a link has heard news of late. It belongs to Run.
type hearing struct {
	times int
	since time.Time
}

// may says whether it may once more.
func (h *hearing) may(now time.Time, within time.Duration) bool {
	if now.Sub(h.since) >= within {
		*h = hearing{since: now}
	}
	return h.times < mostHeard
}

// sleep returns after d, or when ctx ends, Apply is called, or another link has got through since an attempt began: heard
// says that it was that.
func (l *Link) sleep(ctx context.Context, d time.Duration, began time.Time) (heard bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	var news <-chan struct{}
	if l.heard.may(time.Now(), l.opts.Backoff.Max) {
		news = l.opts.Herald.listen(l, began)
		defer l.opts.Herald.ignore(l)
	}
	select {
	case <-timer.C:
	case <-l.changed:
	case <-news:
		l.heard.times++
		return true
	case <-ctx.Done():
	}
	return false
}
