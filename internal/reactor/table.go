//go:build linux

package reactor

// Ref names a connection of a loop for as long as it is open: its slot in the upper half, the slot's generation in the
// lower. A slot is used again, a Ref never is: [Loop.Lookup] of a closed connection's Ref finds nothing, even when
// another connection has its slot or its descriptor by then. The zero Ref names nothing.
type Ref uint64

func makeRef(slot, generation uint32) Ref { return Ref(slot)<<32 | Ref(generation) }

func (r Ref) slot() uint32       { return uint32(r >> 32) }
func (r Ref) generation() uint32 { return uint32(r) }

// table holds the connections of a loop by slot.
type table struct {
	slots       []*Conn
	generations []uint32 // of the connection that has the slot, or that will have it next; never 0
	free        []uint32
	count       int
}

func (t *table) add(c *Conn) {
	if n := len(t.free); n > 0 {
		c.slot = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		c.slot = uint32(len(t.slots))
		t.slots = append(t.slots, nil)
		t.generations = append(t.generations, 1)
	}
	c.generation = t.generations[c.slot]
	t.slots[c.slot] = c
	t.count++
}

func (t *table) remove(c *Conn) {
	t.slots[c.slot] = nil
	t.generations[c.slot]++
	if t.generations[c.slot] == 0 {
		t.generations[c.slot] = 1
	}
	t.free = append(t.free, c.slot)
	t.count--
}

func (t *table) lookup(r Ref) *Conn {
	slot := r.slot()
	if uint64(slot) >= uint64(len(t.slots)) || t.generations[slot] != r.generation() {
		return nil
	}
	return t.slots[slot]
}
