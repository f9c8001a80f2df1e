package retproxy

import (
	"time"

	"salt-broker/internal/master"
)

// move has the link follow other options. With spare, a connection that leads to another address than theirs is left when
// the replies that are due have come, or after that time; it is sent nothing more meanwhile, what waits is for the next. The
// caller dispatches.
func (k *link) move(o master.Options, spare time.Duration) {
	k.then = nil
	if k.conn == nil || o.Address == k.master {
		k.leaving = false
		k.road.Apply(o)
		return
	}
	k.leaving = true
	if spare <= 0 || k.order.length == 0 {
		k.road.Apply(o)
		return
	}
	k.then = &o
	if k.spared == nil {
		k.spared = k.lane.loop.After(spare, k.leaveNow)
	} else {
		k.spared.Reset(spare)
	}
}

// leaveNow ends the waiting for replies.
func (k *link) leaveNow() {
	if o := k.then; o != nil {
		k.then = nil
		k.road.Apply(*o)
	}
}
