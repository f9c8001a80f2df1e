package interop_test

import (
	"fmt"
	"testing"
)

// publishTree is a tree of publish channels: a top broker, two below it, and one more below the second of these.
//
//	master - top - left
//	             - right - deep
type publishTree struct {
	top, left, right, deep publishBroker
}

func startPublishTree(t testing.TB, masterAddress string) publishTree {
	t.Helper()
	var p publishTree
	p.top = startPublish(t, masterAddress)
	p.left = startPublish(t, p.top.address())
	p.right = startPublish(t, p.top.address())
	p.deep = startPublish(t, p.right.address())
	return p
}

// TestPublishThroughBrokers: brokers behind brokers. The master hears the union of all topics, each minion gets its own
// publishes, and one that leaves silences nobody else, wherever it is.
func TestPublishThroughBrokers(t *testing.T) {
	t.Parallel()
	for _, filtering := range []bool{false, true} {
		t.Run(fmt.Sprint("zmq_filtering ", filtering), func(t *testing.T) {
			master := startProcess(t)
			tree := startPublishTree(t, local(master.listen("pub", "XPUB", 0, nil)))
			brokers := map[string]publishBroker{"top": tree.top, "left": tree.left, "right": tree.right, "deep": tree.deep}

			// Two minions at each broker.
			minions := startProcess(t)
			topics := make(map[string][]string)
			heads := [][]string{{"for nobody"}}
			var names []string
			shared := "" // what all are subscribed to; each has a topic of its own beside
			if filtering {
				shared = "broadcast"
				heads = append(heads, []string{shared})
			}
			heard := []string{"+" + shared}
			for _, at := range []string{"deep", "left", "right", "top"} {
				for i := range 2 {
					name := fmt.Sprint(at, i)
					own := topicOf(name)
					names = append(names, name)
					minions.join(name, "SUB", brokers[at].address(), nil)
					minions.subscribe(name, shared, own)
					topics[name] = []string{shared, own}
					heads = append(heads, []string{own})
					heard = append(heard, "+"+own)
				}
			}
			master.hears("pub", heard...)
			for _, name := range names {
				settle(master, "pub", minions, name, "SUB")
			}

			next := 0
			publish := func(who []string) {
				t.Helper()
				all := series{heads: heads, first: next, count: 40 * len(heads), parts: 1, size: 440}
				next += all.count
				master.stream("pub", all)
				for _, name := range who {
					want := all.digests(subscribedTo(topics[name]))
					same(t, name, minions.recv(name, len(want)), want)
				}
			}
			publish(names)

			left := make(map[string]bool)
			for _, leaving := range []string{"deep0", "left1", "top0", "deep1", "right1", "left0", "right0"} {
				minions.close(leaving)
				left[leaving] = true
				// Its own topic goes last: when the master hears of that all brokers have done what is to be done.
				master.hears("pub", "-"+topicOf(leaving))
				var rest []string
				for _, name := range names {
					if !left[name] {
						rest = append(rest, name)
					}
				}
				publish(rest)
			}
			minions.close("top1")
			master.hears("pub", "-"+shared, "-"+topicOf("top1"))
			for name, b := range brokers {
				eventually(t, name+" wants nothing any more", func() bool { return b.Stats().Subscriptions == 0 })
				if s := b.Stats(); s.Lost != 0 || ended(s.Ends) != ended(s.Ends, "left", "reset") {
					t.Errorf("%s: %+v", name, s)
				}
			}
		})
	}
}

// TestRequestsThroughBrokers asks through up to three brokers, from all levels at the same time.
func TestRequestsThroughBrokers(t *testing.T) {
	t.Parallel()
	master, top := startMaster(t)
	middle := startRequest(t, top.address())
	bottom := startRequest(t, middle.address())

	var minions []*process
	var wantAsks []string
	var wantReplies [][]string
	for i, b := range []requestBroker{top, middle, bottom, bottom} {
		m := startProcess(t)
		minions = append(minions, m)
		var requests []seeded
		for k, size := range []int{0, 1, 255, 256, 65536, 1 << 20, 3 << 20} {
			requests = append(requests, seeded{fmt.Sprintf("minion %d, size %d", i, k), size})
		}
		for k := range 100 {
			requests = append(requests, seeded{fmt.Sprintf("minion %d asks %d", i, k), 540})
		}
		asks, replies := answers(requests)
		wantAsks, wantReplies = append(wantAsks, asks...), append(wantReplies, replies)
		m.beginAsk(b.address(), requests, i != 3, nil)
	}
	for i, m := range minions {
		same(t, fmt.Sprint("minion ", i), m.finish().Messages, wantReplies[i])
	}
	sameSet(t, "master", master.served(), wantAsks)
	for _, b := range []requestBroker{top, middle, bottom} {
		if s := b.Stats(); s.Unroutable+s.Late+s.Unwanted+s.LostWithLink != 0 || s.InFlight+s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	}
}
