package master

import "context"

// Apply gives the link other options; SocketType, Log, Changed, Herald and Resolver are the first ones' for good. With
// another Address or SourceAddress the link leaves its connection, or gives up its attempt, and dials anew at once;
// everything else is for the next attempt, which does not wait any longer. It is safe from any goroutine.
func (l *Link) Apply(o Options) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.wanted
	o.SocketType, o.Log, o.Resolver = before.SocketType, before.Log, before.Resolver
	o.Changed, o.Herald = before.Changed, before.Herald
	l.wanted, l.fresh = o.withDefaults(), true
	if l.leave != nil && (l.wanted.Address != before.Address || l.wanted.SourceAddress != before.SourceAddress) {
		l.leave()
	}
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// renew takes the newest options for an attempt, which leave ends, and says whether they are other ones.
func (l *Link) renew(leave context.CancelFunc) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave = leave
	if !l.fresh {
		return false
	}
	select { // the next pause is to last
	case <-l.changed:
	default:
	}
	l.fresh = false
	l.become(l.wanted)
	return true
}

// become makes o the options. Of another master nothing has been reported yet.
func (l *Link) become(o Options) {
	if o.Address != l.opts.Address {
		l.report = reporter{log: o.Log.WithField("master", o.Address)}
	}
	l.report.settled = o.Backoff.Max
	l.opts = o
}
