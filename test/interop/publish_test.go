package interop_test

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"salt-broker/internal/zmtp"
)

// topicOf is what Salt publishes to a minion under, with zmq_filtering.
func topicOf(minion string) string {
	sum := sha1.Sum([]byte(minion))
	return hex.EncodeToString(sum[:])
}

// settle returns when a broker below the master has handled all that a subscriber has asked for so far: one more topic,
// which nobody else has, makes its way up behind it, and is canceled. The master must be an XPUB.
func settle(master *process, name string, subscriber *process, subscriberName, kind string) {
	master.t.Helper()
	marker := "marker " + subscriberName
	ask(subscriber, subscriberName, kind, marker)
	master.hears(name, "+"+marker)
	forgo(subscriber, subscriberName, kind, marker)
	master.hears(name, "-"+marker)
}

// shapes are messages that a codec may stumble over, each with the first frame that subscribers look at.
func shapes(topic string) [][][]byte {
	all := [][][]byte{
		{{}},
		{{}, {}},
		{{}, {}, {}, []byte("after empty ones")},
		{[]byte("a PING?"), []byte("\x04PING\x00\x00")},
		{{0}},
		{{1}},
		{[]byte("\x01looks like a subscription")},
	}
	for _, size := range []int{1, 253, 254, 255, 256, 257, 8191, 8192, 65535, 65536, 300_000, 5 << 20} {
		all = append(all, [][]byte{filler(fmt.Sprint("shape ", size), size)})
	}
	many := make([][]byte, 300)
	for i := range many {
		many[i] = filler(fmt.Sprint("many ", i), i)
	}
	all = append(all, many)
	for i := range all {
		all[i] = slices.Concat([][]byte{[]byte(topic)}, all[i])
	}
	return all
}

// TestPublish has a libzmq master publish to libzmq minions of all kinds and to one that speaks ZMTP 3.0, and checks what
// each gets to the last frame.
func TestPublish(t *testing.T) {
	master := startProcess(t)
	broker := startPublish(t, local(master.listen("pub", "PUB", 0, nil)))
	minions := startProcess(t)
	m1, m2, m3 := topicOf("m1"), topicOf("m2"), topicOf("m3")
	subscribers := []struct {
		name, kind string
		topics     []string
	}{
		{"everything", "SUB", []string{""}},
		{"first", "SUB", []string{m1, "broadcast"}},
		{"second", "SUB", []string{m2, "broadcast"}},
		{"everything and more", "SUB", []string{m1, "", m1}},
		{"prefixes", "SUB", []string{m3[:7], m3[:3], m3}}, // once, although three match
		{"relay", "XSUB", []string{m2, "broadcast", m2}},
		{"relay of everything", "XSUB", []string{""}},
		{"of no interest", "SUB", []string{"nothing is published here"}},
	}
	topics := map[string]bool{"for all": true}
	for _, s := range subscribers {
		minions.join(s.name, s.kind, broker.address(), nil)
		for _, topic := range slices.Concat(s.topics, []string{"for all"}) {
			ask(minions, s.name, s.kind, topic)
			topics[topic] = true
		}
	}
	union := func(size int) {
		t.Helper()
		eventually(t, fmt.Sprintf("the union has %d topics", size), func() bool {
			return broker.Stats().Subscriptions == size
		})
	}
	union(len(topics))
	for _, s := range subscribers { // what comes behind all that a minion has asked for
		ask(minions, s.name, s.kind, "marker")
		union(len(topics) + 1)
		forgo(minions, s.name, s.kind, "marker")
		union(len(topics))
	}
	old := dial(t, broker.address(), zmtp.SUB, 0)
	old.subscribe(t, false, m1, "broadcast", "for all", "probe")
	for heard := false; !heard; { // a PUB does not say what it has heard
		master.send("pub", []byte("probe"))
		heard = old.has(t)
	}
	master.send("pub", []byte("probe"), []byte("the last"))
	for len(old.recv(t)) == 1 {
	}

	all := series{
		heads: [][]string{{m1}, {m2}, {"broadcast"}, {m3}, {"unknown"}}, count: 2500, parts: 2, size: 437,
	}
	master.stream("pub", all)
	var special []string
	for _, frames := range shapes("for all") {
		special = append(special, digest(frames...))
		master.send("pub", frames...)
	}
	for _, s := range subscribers {
		want := slices.Concat(all.digests(subscribedTo(s.topics)), special)
		if slices.Contains(s.topics, "") {
			want = slices.Insert(want, 0, digest([]byte("probe"), []byte("the last")))
		}
		same(t, s.name, minions.recv(s.name, len(want)), want)
	}
	want := slices.Concat(all.digests(subscribedTo([]string{m1, "broadcast"})), special)
	same(t, "ZMTP 3.0", old.recvDigests(t, len(want)), want)
	old.leave(t)

	s := broker.Stats()
	if s.Lost != 0 || s.Minions > len(subscribers)+1 || ended(s.Ends) != ended(s.Ends, "left") {
		t.Errorf("the broker lost publishes or cut minions: %+v", s)
	}
}

// subscribedTo says which heads of a series somebody with these topics gets.
func subscribedTo(topics []string) func(head []string) bool {
	return func(head []string) bool {
		return slices.ContainsFunc(topics, func(topic string) bool { return strings.HasPrefix(head[0], topic) })
	}
}

// ask and forgo subscribe in the way of the kind of socket.
func ask(p *process, name, kind, topic string) {
	p.t.Helper()
	if kind == "XSUB" {
		p.send(name, []byte("\x01"+topic))
	} else {
		p.subscribe(name, topic)
	}
}

func forgo(p *process, name, kind, topic string) {
	p.t.Helper()
	if kind == "XSUB" {
		p.send(name, []byte("\x00"+topic))
	} else {
		p.unsubscribe(name, topic)
	}
}

// TestSubscriptionsAreCounted: an XSUB sends each subscription as often as it was asked for and cancels once; several
// minions share one. The master hears of the first and of the last.
func TestSubscriptionsAreCounted(t *testing.T) {
	master := startProcess(t)
	broker := startPublish(t, local(master.listen("pub", "XPUB", 0, nil)))
	minions := startProcess(t)

	minions.join("relay", "XSUB", broker.address(), nil)
	for range 3 {
		ask(minions, "relay", "XSUB", "topic")
	}
	ask(minions, "relay", "XSUB", "other")
	master.hears("pub", "+topic", "+other")
	settle(master, "pub", minions, "relay", "XSUB")

	minions.join("minion", "SUB", broker.address(), nil)
	minions.subscribe("minion", "topic", "topic", "own")
	master.hears("pub", "+own")

	for range 3 {
		forgo(minions, "relay", "XSUB", "topic")
	}
	settle(master, "pub", minions, "relay", "XSUB")
	for _, topic := range []string{"topic", "own", "other"} {
		master.send("pub", []byte(topic), []byte("once"))
	}
	same(t, "relay", minions.recv("relay", 1), []string{digest([]byte("other"), []byte("once"))})
	same(t, "minion", minions.recv("minion", 2),
		[]string{digest([]byte("topic"), []byte("once")), digest([]byte("own"), []byte("once"))})

	minions.unsubscribe("minion", "topic") // of two
	settle(master, "pub", minions, "minion", "SUB")
	minions.unsubscribe("minion", "topic")
	master.hears("pub", "-topic")
	minions.close("minion")
	master.hears("pub", "-own")
	minions.kill()
	master.hears("pub", "-other")
	eventually(t, "the broker knows of no minion", func() bool { return broker.Stats().Minions == 0 })

	// By the wire, where libzmq cannot keep the count for us: one cancel ends it all.
	raw := dial(t, broker.address(), zmtp.XSUB, 1)
	raw.subscribe(t, false, "topic", "topic")
	raw.subscribe(t, true, "topic")
	master.hears("pub", "+topic")
	raw.write(t, zmtp.AppendSubscription(nil, []byte("topic"), true))
	master.hears("pub", "-topic")
	raw.write(t, zmtp.AppendSubscription(nil, []byte("topic"), true)) // of nothing
	raw.subscribe(t, true, "more")
	master.hears("pub", "+more")
	master.send("pub", []byte("topic"))
	master.send("pub", []byte("more"))
	same(t, "raw", raw.recvDigests(t, 1), []string{digest([]byte("more"))})
	raw.leave(t)
}
