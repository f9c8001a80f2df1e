package pubproxy

import (
	"bytes"
	"slices"
	"strings"
)

// tree holds the subscriptions of a loop's minions: which minions listen to which prefix. It is a radix tree over the
// bytes of the prefixes, so matching a topic costs the length of the topic, however many subscriptions there are
// (ZMTP 3.1, RFC 37 "Subscriptions"; RFC 29: a message is delivered when a prefix of its first frame is subscribed to).
type tree struct {
	root  node
	count int // prefixes that somebody has subscribed to
}

// node stands for the prefix that its edges from the root spell.
//
// With ten thousand topics none of this is in the processor's cache: what matching costs is how many nodes it looks at. So
// a node knows the first bytes of its children's edges, and looks at no child but the right one.
type node struct {
	firsts   []byte  // the first byte of each child's edge, no two the same
	children []*node // in the order of firsts
	edge     string  // what is between its parent and it: a piece of the first prefix that needed it
	members  []member
	only     [1]member // room for members while there is one, as there mostly is
	parent   *node
}

// member is one minion's subscription. entry is its place in the minion's own list, so that either finds the other.
type member struct {
	minion *minion
	entry  int
}

// entry is a minion's side of a subscription.
type entry struct {
	node   *node
	member int
}

// newNode makes a node without parent, children and members.
func newNode(edge string) *node {
	n := &node{edge: edge}
	n.members = n.only[:0]
	return n
}

// child returns the place of the child whose edge begins with b, -1 when there is none.
func (n *node) child(b byte) int { return bytes.IndexByte(n.firsts, b) }

// adopt adds a child.
func (n *node) adopt(c *node) {
	c.parent = n
	n.firsts = append(n.firsts, c.edge[0])
	n.children = append(n.children, c)
}

// disown removes a child; the last one takes its place.
func (n *node) disown(i int) {
	last := len(n.children) - 1
	n.firsts[i], n.children[i] = n.firsts[last], n.children[last]
	n.children[last] = nil
	n.firsts, n.children = n.firsts[:last], n.children[:last]
}

// find returns the node of a prefix, nil when there is none.
func (t *tree) find(prefix []byte) *node {
	n := &t.root
	for n != nil && len(prefix) > 0 {
		n, prefix = n.follow(prefix)
	}
	return n
}

// follow goes to the child that a topic leads to, nil when it leads to none, and returns what is left of the topic.
func (n *node) follow(topic []byte) (*node, []byte) {
	i := n.child(topic[0])
	if i < 0 {
		return nil, nil
	}
	c := n.children[i]
	if len(topic) < len(c.edge) || string(topic[:len(c.edge)]) != c.edge {
		return nil, nil
	}
	return c, topic[len(c.edge):]
}

// make returns the node of a prefix, and makes it if need be.
func (t *tree) make(prefix string) *node {
	n := &t.root
	for len(prefix) > 0 {
		i := n.child(prefix[0])
		if i < 0 {
			leaf := newNode(prefix)
			n.adopt(leaf)
			return leaf
		}
		c := n.children[i]
		same := commonPrefix(prefix, c.edge)
		if same < len(c.edge) { // split the edge
			middle := newNode(c.edge[:same])
			middle.parent = n
			c.edge = c.edge[same:]
			middle.adopt(c)
			n.children[i] = middle
			c = middle
		}
		n = c
		prefix = prefix[same:]
	}
	return n
}

// prune removes a node that stands for nothing any more, and joins edges that it kept apart.
func (n *node) prune() {
	for n.parent != nil && len(n.members) == 0 {
		p := n.parent
		i := p.child(n.edge[0])
		switch len(n.children) {
		case 0:
			p.disown(i)
			n = p
		case 1:
			c := n.children[0]
			c.edge = n.edge + c.edge
			c.parent = p
			p.children[i] = c
			return
		default:
			return
		}
	}
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// add subscribes a minion and says whether it had not been (a repeated subscription counts once: XSUB repeats them and
// cancels once), and whether it is the first of this tree with the prefix. The tree keeps the string.
func (t *tree) add(m *minion, prefix string) (added, first bool) {
	n := t.make(prefix)
	if n.has(m) >= 0 {
		return false, false
	}
	first = len(n.members) == 0
	n.members = append(n.members, member{m, len(m.entries)})
	m.entries = append(m.entries, entry{n, len(n.members) - 1})
	if first {
		t.count++
	}
	return true, first
}

// remove cancels a minion's subscription and says whether it had one, and whether it was the tree's last with the
// prefix.
func (t *tree) remove(m *minion, prefix []byte) (removed, last bool) {
	n := t.find(prefix)
	if n == nil {
		return false, false
	}
	e := n.has(m)
	if e < 0 {
		return false, false
	}
	return true, t.drop(m, e)
}

// removeSome cancels up to n of a minion's subscriptions; last is told the prefixes that nobody of the tree has any more.
func (t *tree) removeSome(m *minion, n int, last func(prefix string)) {
	end := max(0, len(m.entries)-n)
	for i := len(m.entries) - 1; i >= end; i-- {
		prefix := m.entries[i].node.prefix()
		if t.drop(m, i) {
			last(prefix)
		}
	}
}

// drop takes entry i of a minion out of its node and of the minion's list, the last of each moving to the free place.
func (t *tree) drop(m *minion, i int) (last bool) {
	e := m.entries[i]
	n := e.node

	end := len(n.members) - 1
	moved := n.members[end]
	n.members[e.member] = moved
	moved.minion.entries[moved.entry].member = e.member
	n.members[end] = member{}
	n.members = n.members[:end]

	end = len(m.entries) - 1
	m.entries[i] = m.entries[end]
	if i != end {
		m.entries[i].node.members[m.entries[i].member].entry = i
	}
	m.entries[end] = entry{}
	m.entries = m.entries[:end]

	if len(n.members) > 0 {
		return false
	}
	t.count--
	n.prune()
	return true
}

// has returns the place of the node in a minion's list, -1 when it is not there. The shorter of the two lists is
// searched: a minion has few prefixes, and a prefix of a broker that has many has few subscribers.
func (n *node) has(m *minion) int {
	if len(m.entries) <= len(n.members) {
		for i := range m.entries {
			if m.entries[i].node == n {
				return i
			}
		}
		return -1
	}
	for i := range n.members {
		if n.members[i].minion == m {
			return n.members[i].entry
		}
	}
	return -1
}

// prefix spells the prefix that a node stands for.
func (n *node) prefix() string {
	var edges []string
	for at := n; at != nil; at = at.parent {
		edges = append(edges, at.edge)
	}
	slices.Reverse(edges)
	return strings.Join(edges, "")
}

// match calls found for every subscription whose prefix the topic has. A minion with several of them is found several
// times.
func (t *tree) match(topic []byte, found func(m *minion)) {
	for n := &t.root; n != nil; n, topic = n.follow(topic) {
		for i := range n.members {
			found(n.members[i].minion)
		}
		if len(topic) == 0 {
			return
		}
	}
}

// wants says whether a minion has a subscription to the topic.
func (t *tree) wants(m *minion, topic []byte) bool {
	for n := &t.root; n != nil; n, topic = n.follow(topic) {
		if n.has(m) >= 0 {
			return true
		}
		if len(topic) == 0 {
			return false
		}
	}
	return false
}
