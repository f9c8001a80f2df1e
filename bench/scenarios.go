//go:build linux

package main

import (
	"fmt"
	"iter"
	"slices"
	"time"
)

// scenario is one kind of work, in one size.
type scenario struct {
	name    string
	says    string
	minions int // that listen to publishes
	askers  int // that make requests
	// once is for what takes minutes and does not vary: one round is enough.
	once bool
	// topics says that the relay, or the master behind it, must sort publishes by topic.
	topics bool
	// leaves says that the relay must notice when minions leave.
	leaves bool
	// rest is how long minions leave a publish in the kernel, for each of them; see crowd. 0: nobody asks how long it took.
	rest time.Duration
	// more says that this size only shows how figures grow.
	more    bool
	metrics []metric
	work    func(w *worker) error
}

// metric is one of the figures that a scenario yields.
type metric struct {
	key, says, unit string
	more            bool // more is better
}

var (
	cpuDelivery = metric{"cpu", "CPU a delivery", "us", false}
	deliveries  = metric{"rate", "deliveries/s", "/s", true}
	lastP50     = metric{"p50", "until the last minion has it, p50", "ms", false}
	lastP99     = metric{"p99", "until the last minion has it, p99", "ms", false}
	cpuRequest  = metric{"cpu", "CPU a request", "us", false}
	requests    = metric{"rate", "requests/s", "/s", true}
	replyP50    = metric{"p50", "until the reply, p50", "ms", false}
	replyP99    = metric{"p99", "until the reply, p99", "ms", false}
)

const (
	smallBytes  = 400
	middleBytes = 16 << 10
	largeBytes  = 1 << 20
	// streamWindow is how many publishes of a stream are under way.
	streamWindow = 64
	// restEach is more than any relay takes for one minion with 400 B: what minions do is done when it has done its part.
	restEach = 20 * time.Microsecond
)

// scenarios is everything that is measured, in its order.
var scenarios = build()

func build() []*scenario {
	var all []*scenario
	for n, more := range sizes([]int{100, 1000}, growSizes) {
		all = append(all, &scenario{
			more: more, name: fmt.Sprintf("stream-%d", n), says: fmt.Sprintf("publishes in a stream: 400 B, %d minions, window of %d", n, streamWindow),
			minions: n, metrics: []metric{cpuDelivery, deliveries}, work: stream,
		})
	}
	for _, size := range []int{smallBytes, middleBytes} {
		for n, more := range sizes([]int{100, 2000, 15000}, growSizesOf(size)) {
			all = append(all, &scenario{
				more: more, name: fmt.Sprintf("single-%s-%d", sizeName(size), n), says: fmt.Sprintf("a single publish: %s, %d minions", sizeName(size), n),
				minions: n, rest: restEach, metrics: []metric{cpuDelivery, lastP50, lastP99},
				work: func(w *worker) error { return single(w, size) },
			})
		}
	}
	for _, n := range []int{100, 10000} {
		all = append(all, &scenario{
			name: fmt.Sprintf("filtered-%d", n), says: fmt.Sprintf("filtered publishes: %d minions, each its own topic; one publish touches one", n),
			minions: n, topics: true, work: filtered,
			metrics: []metric{{"cpu", "CPU a publish", "us", false}, {"rate", "publishes/s", "/s", true}},
		})
	}
	for _, size := range []int{smallBytes, middleBytes, largeBytes} {
		for n, more := range sizes([]int{200, 2000}, growSizesOf(size)) {
			all = append(all, &scenario{
				more: more, name: fmt.Sprintf("requests-%s-%d", sizeName(size), n), says: fmt.Sprintf("requests: %d minions in a closed loop, %s each way", n, sizeName(size)),
				askers: n, metrics: []metric{cpuRequest, requests, replyP50, replyP99}, once: n*size > 1<<30,
				work: func(w *worker) error { return closedLoop(w, size, false) },
			})
		}
	}
	for n, more := range sizes([]int{100, 1000}, growShort) {
		all = append(all, &scenario{
			more: more, name: fmt.Sprintf("short-%d", n), says: fmt.Sprintf("short requests: connect, handshake, request, reply, close; %d at a time, 400 B", n),
			askers: n, metrics: []metric{cpuRequest, requests, replyP50, replyP99},
			work: func(w *worker) error { return closedLoop(w, smallBytes, true) },
		})
	}
	// HAProxy has descriptors for the smaller number.
	for n, more := range sizes([]int{9000, 15000}, growSizes) {
		all = append(all, &scenario{
			more: more, name: fmt.Sprintf("rush-%d", n), says: fmt.Sprintf("the rush: %d minions connect, shake hands, subscribe, %d at a time", n, rushAtOnce),
			minions: n, work: rush,
			metrics: []metric{{"cpu", "CPU a connection", "us", false}, {"rate", "connections/s", "/s", true}},
		})
	}
	for _, n := range []int{9000, 15000} {
		all = append(all, &scenario{
			name: fmt.Sprintf("idle-%d", n), says: fmt.Sprintf("idle: resident memory after %d have subscribed, and after all have left", n),
			minions: n, once: true, leaves: true, work: idle,
			metrics: []metric{
				{"memory", "a connection, at once", "KB", false},
				{"later", "a connection, a minute later", "KB", false},
				{"left", "kept a minute after all have left", "MB", false},
			},
		})
	}
	return append(all,
		&scenario{
			name: "mixed", says: "a mixed day: a publish every second at 5000 minions, while 1000 make a request every 500 ms", minions: 5000, askers: 1000,
			rest: restEach,
			metrics: []metric{
				{"p50", "until the reply during a fan-out, p50", "ms", false},
				{"p99", "until the reply during a fan-out, p99", "ms", false},
				{"p99all", "until the reply at any time, p99", "ms", false},
				{"last", "until the last minion has the publish, p50", "ms", false},
			}, work: mixed,
		},
	)
}

// sizes are those of a scenario, and of the others those that only growth is shown with.
func sizes(usual, others []int) iter.Seq2[int, bool] {
	return func(yield func(n int, more bool) bool) {
		for _, n := range usual {
			if !yield(n, false) {
				return
			}
		}
		for _, n := range others {
			if !slices.Contains(usual, n) && !yield(n, true) {
				return
			}
		}
	}
}

func sizeName(bytes int) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%dM", bytes>>20)
	case bytes >= 1<<10:
		return fmt.Sprintf("%dK", bytes>>10)
	}
	return fmt.Sprintf("%dB", bytes)
}

// pace is how long and how much a round works.
type pace struct {
	stream   time.Duration // of publishes in a stream, of filtered ones, of requests
	warmUp   time.Duration // before requests are counted
	single   time.Duration // of single publishes, at least
	singles  int           // but not more of them
	rest     time.Duration // until idle memory is looked at again
	mixed    time.Duration
	look     time.Duration // between two looks whether all is quiet
	patience time.Duration // with what does not move
}

var (
	full = pace{
		stream: 2 * time.Second, warmUp: 500 * time.Millisecond, single: 2 * time.Second, singles: 50, rest: time.Minute,
		mixed: 10 * time.Second, look: 50 * time.Millisecond, patience: 30 * time.Second,
	}
	quick = pace{
		stream: 300 * time.Millisecond, warmUp: 100 * time.Millisecond, single: 300 * time.Millisecond, singles: 10,
		rest: 2 * time.Second, mixed: 3 * time.Second, look: 50 * time.Millisecond, patience: 20 * time.Second,
	}
)
