package pubproxy

import (
	"fmt"
	"strings"
	"testing"

	"salt-broker/internal/zmtp"
)

// TestLongTopicsCountTogether: a minion with as many of the longest prefixes as it may have of usual ones would take
// memory that others need.
func TestLongTopicsCountTogether(t *testing.T) {
	const most = 1000
	const fit = (topicRoom + most*usualTopicBytes) / maxTopicBytes
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) { o.MaxSubscriptions = most })
	m := connect(t, p, 1)
	long := func(i int) string { return fmt.Sprintf("%04d", i) + strings.Repeat("x", maxTopicBytes-4) }
	for i := range fit {
		m.subscribe(true, long(i))
	}
	m.subscribe(true, long(0)) // has it
	m.settle()
	m.write(zmtp.AppendCancel(nil, []byte(long(0))))
	m.subscribe(true, long(fit)) // has room for it
	m.settle()
	m.subscribe(true, long(fit+1))
	m.closed()
	eventually(t, p, "its end", func(s Stats) bool { return s.Ends["too_many_subscriptions"] == 1 && s.Subscriptions == 0 })
}

// TestWhoLeavesWithManyTopics is forgotten by and by, and what is published meanwhile harms nobody.
func TestWhoLeavesWithManyTopics(t *testing.T) {
	const topics = 20*forgetPerTurn + 1
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) { o.MaxSubscriptions, o.Loops = topics, 2 })
	master.expect("link")
	stays := connect(t, p, 1, "topic-0")
	stays.settle()
	var many []*subscriber
	for range 3 {
		m := connect(t, p, 1)
		var all []byte
		for i := range topics {
			all = zmtp.AppendSubscribe(all, fmt.Appendf(nil, "topic-%d", i))
		}
		m.write(all)
		m.settle()
		many = append(many, m)
	}
	for _, m := range many {
		_ = m.nc.Close()
	}
	for i := range 100 {
		master.send(message("topic-0", i, 100))
		yield()
	}
	for i := range 100 {
		stays.expect(message("topic-0", i, 100))
	}
	eventually(t, p, "the end of the others", func(s Stats) bool { return s.Minions == 1 && s.Subscriptions == 1 })
}
