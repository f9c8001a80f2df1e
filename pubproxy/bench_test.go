package pubproxy

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"salt-broker/internal/zmtp"
)

// BenchmarkFanOut publishes 400 byte messages, as Salt's are, in a stream with a window of 64 through a whole proxy to
// minions that read as fast as they can. It reports the cost of one message to all of them. The reading side runs in the
// same process and costs more than the proxy.
func BenchmarkFanOut(b *testing.B) {
	for _, c := range []struct {
		minions int
		topic   string
	}{{1, ""}, {100, ""}, {1000, ""}, {100, "broadcast"}} {
		name := fmt.Sprintf("minions=%d/topic=%s", c.minions, c.topic)
		b.Run(name, func(b *testing.B) { fanOut(b, c.minions, c.topic, 1) })
	}
}

// BenchmarkRoads is the same with publishes that come over several roads.
func BenchmarkRoads(b *testing.B) {
	for _, roads := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("roads=%d", roads), func(b *testing.B) { fanOut(b, 1, "", roads) })
	}
}

func fanOut(b *testing.B, minions int, topic string, roads int) {
	const window = 64
	var listeners []net.Listener
	var paths []string
	for range roads {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		listeners, paths = append(listeners, ln), append(paths, ln.Addr().String())
	}
	p := start(b, "", func(o *Options) { o.Paths, o.Hold = paths, time.Second })
	var links []net.Conn
	for _, ln := range listeners {
		link, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = link.Close() }()
		if err := shake(link, zmtp.PUB, 1); err != nil {
			b.Fatal(err)
		}
		links = append(links, link)
	}
	var (
		received atomic.Int64
		readers  sync.WaitGroup
		conns    []net.Conn
	)
	for range minions {
		nc, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		conns = append(conns, nc)
		if err := shake(nc, zmtp.SUB, 1); err != nil {
			b.Fatal(err)
		}
		if _, err := nc.Write(zmtp.AppendSubscribe(nil, []byte(topic))); err != nil {
			b.Fatal(err)
		}
		readers.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := nc.Read(buf)
				received.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
	}
	for subscribed := 0; subscribed < minions; { // a PING each would be heard; counting is simpler
		subscribed = 0
		for _, f := range p.fanouts {
			done := make(chan int)
			f.loop.Post(func() {
				n := len(f.current)
				if node := f.tree.find([]byte(topic)); node != nil {
					n = max(n, len(node.members))
				}
				done <- n
			})
			subscribed += <-done
		}
	}
	msg := message(topic, 0, 400)
	var batch []byte
	for range window {
		batch = append(batch, msg...)
	}
	numbers := func(first int64) { // none twice
		for i := range int64(window) {
			binary.BigEndian.PutUint64(batch[(int(i)+1)*len(msg)-400:], uint64(first+i))
		}
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	start := received.Load()
	sent, used := int64(0), usedBy(p)
	for b.Loop() {
		if sent%window == 0 { // the window before this one has arrived everywhere
			for received.Load()-start < sent*int64(len(msg)*minions) {
				time.Sleep(5 * time.Microsecond) // not to wait for anything, but to leave the processors to the loops
			}
			numbers(sent)
			for _, link := range links {
				if _, err := link.Write(batch); err != nil {
					b.Fatal(err)
				}
			}
		}
		sent++
	}
	b.StopTimer()
	for received.Load()-start < (sent+window-1)/window*window*int64(len(msg)*minions) {
		yield()
	}
	b.ReportMetric(float64(usedBy(p)-used)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(minions), "ns/delivery")
	for _, nc := range conns {
		_ = nc.Close()
	}
	readers.Wait()
}

// usedBy is how much of the processor the loop with the links has used: for reading, merging, and its minions.
func usedBy(p *Proxy) time.Duration {
	used := make(chan time.Duration)
	p.upstream.loop.Post(func() {
		var u unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_THREAD, &u) // a loop has its thread for itself
		used <- time.Duration(u.Utime.Nano() + u.Stime.Nano())
	})
	return <-used
}

// BenchmarkMatch finds the minion of a topic, each topic in turn, as with zmq_filtering: the topics are hexadecimal sums.
func BenchmarkMatch(b *testing.B) {
	for _, topics := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			var subscriptions tree
			all := make([][]byte, topics)
			for i := range all {
				topic := fmt.Sprintf("%x", sha1.Sum(fmt.Append(nil, i)))
				subscriptions.add(&minion{}, topic)
				all[i] = []byte(topic)
			}
			found := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				subscriptions.match(all[i*7919%topics], func(*minion) { found++ })
			}
			if found != b.N {
				b.Errorf("%d found of %d", found, b.N)
			}
		})
	}
}
