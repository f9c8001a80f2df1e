package retproxy

// claim is what a minion has of the places at one master.
type claim struct {
	way            *way
	beyond         *request // the first of its requests, in its list, that is beyond its share and so not in the queue
	queued, flying int32    // in the queue, and at the master
}

// allows says whether one more request may be in the queue.
func (c *claim) allows(share int32) bool { return c.beyond == nil && c.queued+c.flying < share }

func (c *claim) empty() bool { return c.beyond == nil && c.queued+c.flying == 0 }

// claim is what the minion has at one master. It is valid until the minion's claim at another one is asked for.
func (m *minion) claim(w *way) *claim {
	if m.own.way == w {
		return &m.own
	}
	return m.claimElsewhere(w)
}

// claimElsewhere is for who has requests at several masters: a broker below, or a minion that has been moved.
func (m *minion) claimElsewhere(w *way) *claim {
	claims := m.lane.claims
	free := &m.own
	if !free.empty() {
		free = nil
	}
	for _, c := range claims[m] {
		if c.way == w {
			return c
		}
		if c.empty() {
			free = c
		}
	}
	if free == nil {
		free = new(claim)
		claims[m] = append(claims[m], free)
	}
	free.way = w
	return free
}

// flying is how many requests hold a place at any master.
func (m *minion) flying() int32 {
	n := m.own.flying
	if len(m.lane.claims) > 0 {
		for _, c := range m.lane.claims[m] {
			n += c.flying
		}
	}
	return n
}

// nextBeyond is the next request in the minion's list that is for the same master and not in the queue.
func (r *request) nextBeyond() *request {
	w := r.link.way
	for r = r.after; r != nil && (r.queued || r.link.way != w); {
		r = r.after
	}
	return r
}
