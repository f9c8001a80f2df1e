package admission

import (
	"fmt"
	"net/netip"
	"sync"
)

// limits decide who may come in before anything is sent, and how many. Loops accept at the same time and a limit of n
// means n, so the counts stand under one lock; it is taken when a connection comes or goes, and only where there is a
// limit to keep.
type limits struct {
	// Not changed afterwards: a door gets others.
	allow, deny   []netip.Prefix
	most, mostOf  int // connections, and of one address; 0: any number
	tooMany       *Refusal
	tooManyOfHost *Refusal

	mu    sync.Mutex
	count int                // connections that are in
	of    map[netip.Addr]int // of them, by address; nil where mostOf is 0
}

var errDenied = &Refusal{EndDenied, "its address may not connect (allow, deny)"}

func newLimits(o Options) *limits {
	l := &limits{allow: o.Allow, deny: o.Deny, most: o.MaxConnections, mostOf: o.MaxPerAddress}
	// Made once: whoever is refused comes again, and often.
	l.tooMany = &Refusal{EndTooMany, fmt.Sprintf("%d connections are open already (max_connections)", l.most)}
	l.tooManyOfHost = &Refusal{
		EndTooManyFrom,
		fmt.Sprintf("its address has %d connections already (max_connections_per_address)", l.mostOf),
	}
	if l.mostOf > 0 {
		l.of = map[netip.Addr]int{}
	}
	return l
}

// enter counts a connection from addr, or says why it may not come in. Each that has entered leaves once.
func (l *limits) enter(addr netip.Addr) *Refusal {
	if !l.permits(addr) {
		return errDenied
	}
	if l.most == 0 && l.mostOf == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most > 0 && l.count >= l.most {
		return l.tooMany
	}
	if l.of != nil {
		n := l.of[addr]
		if n >= l.mostOf {
			return l.tooManyOfHost
		}
		l.of[addr] = n + 1
	}
	l.count++
	return nil
}

// inherit counts a connection that is in already, whatever the limits are.
func (l *limits) inherit(addr netip.Addr) {
	if l.most == 0 && l.mostOf == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	if l.of != nil {
		l.of[addr]++
	}
}

// leave takes back what enter has counted.
func (l *limits) leave(addr netip.Addr) {
	if l.most == 0 && l.mostOf == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count--
	if l.of == nil {
		return
	}
	if n := l.of[addr]; n > 1 {
		l.of[addr] = n - 1
	} else {
		delete(l.of, addr)
	}
}

// permits says whether addr may connect at all. Lists are what an operator writes, so they are short enough to be walked.
func (l *limits) permits(addr netip.Addr) bool {
	return !within(addr, l.deny) && (len(l.allow) == 0 || within(addr, l.allow))
}

func within(addr netip.Addr, networks []netip.Prefix) bool {
	for _, network := range networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}
