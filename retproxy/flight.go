package retproxy

import (
	"time"

	"salt-broker/internal/reactor"
)

// ticket names a place at the master: its index in the upper half, its generation in the lower. A reply with the ticket
// of a place that was given up already frees nothing.
type ticket uint64

// flight is a request at the master.
type flight struct {
	minion     reactor.Ref
	link       *link // nil: free
	sent       time.Duration
	generation uint32
	owner      int32 // of the credit
	forgot     bool  // the broker above has been told that nobody waits for the reply
	below      name  // of the request at the broker that has asked
	prev, next int32 // on the link, in the order sent; -1: none. next also links free places
}

// flights are the requests that are at a master by one way. The table grows to what there are at most.
type flights struct {
	table []flight
	free  int32 // first free place, -1: none
}

// order is a link's flights, oldest first.
type order struct {
	first, last int32 // -1: none
	length      int
}

func (f *flights) add(k *link, minion reactor.Ref, now time.Duration, owner int, below name) ticket {
	i := f.free
	if i >= 0 {
		f.free = f.table[i].next
	} else {
		i = int32(len(f.table))
		f.table = append(f.table, flight{})
	}
	p := &f.table[i]
	p.minion, p.link, p.sent, p.owner, p.below = minion, k, now, int32(owner), below
	p.prev, p.next = k.order.last, -1
	if p.prev >= 0 {
		f.table[p.prev].next = i
	} else {
		k.order.first = i
	}
	k.order.last = i
	k.order.length++
	return f.ticket(i)
}

// ticket names a place that is taken.
func (f *flights) ticket(i int32) ticket {
	return ticket(uint64(i)<<32 | uint64(f.table[i].generation))
}

// find returns the place of the request that r is the answer to, -1 when it has been given up. The place must be one of
// this link and this minion: a master that garbles routing frames frees no other's.
func (f *flights) find(k *link, r route) int32 {
	i := uint64(r.ticket) >> 32
	if i >= uint64(len(f.table)) {
		return -1
	}
	if p := &f.table[i]; p.generation != uint32(r.ticket) || p.link != k || p.minion != r.minion {
		return -1
	}
	return int32(i)
}

// remove frees a place and returns what was there.
func (f *flights) remove(i int32) flight {
	p := &f.table[i]
	was := *p
	o := &p.link.order
	if p.prev >= 0 {
		f.table[p.prev].next = p.next
	} else {
		o.first = p.next
	}
	if p.next >= 0 {
		f.table[p.next].prev = p.prev
	} else {
		o.last = p.prev
	}
	o.length--
	*p = flight{generation: p.generation + 1, next: f.free}
	f.free = i
	return was
}
