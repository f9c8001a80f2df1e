package pubproxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

func TestEveryMinionGetsEveryMessageUnchangedOnceInOrder(t *testing.T) {
	for _, loops := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			master := newPublisher(t)
			p := start(t, master.address(), func(o *Options) { o.Loops = loops })
			var minions []*subscriber
			for i := range 24 {
				minions = append(minions, connect(t, p, byte(i%2), ""))
			}
			master.expect("link")
			master.expect("+")
			for _, m := range minions {
				m.settle()
			}
			var all []byte
			sizes := []int{0, 8, 200, 255, 256, 440, 16 << 10, 70 << 10, segmentBytes - 9, segmentBytes, 3 * segmentBytes}
			for i := range 600 {
				topic := ""
				if i%3 == 0 {
					topic = strings.Repeat("t", i%300+1)
				}
				size := sizes[i%7]
				if i%50 == 0 {
					size = sizes[i/50%len(sizes)]
				}
				all = append(all, message(topic, i, size)...)
			}
			go func() {
				r := rand.New(rand.NewPCG(1, uint64(loops)))
				for rest := all; len(rest) > 0; { // in pieces that have nothing to do with messages
					n := min(len(rest), 1+r.IntN(30000))
					master.send(rest[:n])
					rest = rest[n:]
				}
			}()
			for _, m := range minions {
				m.expect(all)
			}
			eventually(t, p, "all counted", func(s Stats) bool {
				return s.Publishes == 600 && s.Deliveries == 600*24 && s.Lost == 0 && s.PublishBytes == uint64(len(all))
			})
		})
	}
}

func TestCommandsOfTheMasterAreTakenOut(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), nil)
	m := connect(t, p, 1, "")
	master.expect("link", "+")
	one, two := message("topic", 1, 400), message("", 2, 20)
	half := 2 + len("topic") // between its frames, as libzmq does it
	ping := zmtp.AppendPing(nil, 0, []byte("context"))
	master.send(bytes.Join([][]byte{ping, one[:half], ping, one[half:], ping, two}, nil))
	m.expect(append(bytes.Clone(one), two...))
}

func TestFiltering(t *testing.T) {
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			master := newPublisher(t)
			p := start(t, master.address(), func(o *Options) { o.Loops = loops })
			master.expect("link")
			everything := connect(t, p, 1, "")
			everything.settle()
			both := connect(t, p, 0, "m1", "", "m") // '' beside others: once all the same
			both.settle()
			prefixes := connect(t, p, 1, "m1", "m", "m12")
			prefixes.settle()
			one := connect(t, p, 0, "m1", "broadcast")
			one.settle()
			two := connect(t, p, 1, "m2", "broadcast")
			two.settle()
			none := connect(t, p, 1, "m1x", "broadcastx")
			none.settle()
			eventually(t, p, "union", func(s Stats) bool { return s.Subscriptions == 8 })

			var all, wantOne, wantTwo, wantPrefixes []byte
			topics := []string{"m1", "m2", "broadcast", "m12", "x", "m1", "m1"}
			for i := range 700 {
				topic := topics[i%len(topics)]
				msg := message(topic, i, 300)
				all = append(all, msg...)
				if strings.HasPrefix(topic, "m1") || topic == "broadcast" {
					wantOne = append(wantOne, msg...)
				}
				if topic == "m2" || topic == "broadcast" {
					wantTwo = append(wantTwo, msg...)
				}
				if strings.HasPrefix(topic, "m") {
					wantPrefixes = append(wantPrefixes, msg...)
				}
			}
			master.send(all)
			everything.expect(all)
			both.expect(all)
			one.expect(wantOne)
			two.expect(wantTwo)
			prefixes.expect(wantPrefixes)
			none.settle() // the PONG is the first that it hears
		})
	}
}

// TestTopicsOfManyInOneTurn: what goes to more minions than one system call takes comes to each whose it is, of whatever
// size; who lags, or has left, does not shift the others.
func TestTopicsOfManyInOneTurn(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) { o.Loops = 1 })
	master.expect("link")
	const many, lags, leaves = 2*reactor.MaxBatch + 22, 7, 70
	minions := make([]*subscriber, many)
	topic := func(i int) string { return fmt.Sprintf("minion-%03d", i) }
	for i := range minions {
		minions[i] = connect(t, p, 1, topic(i))
	}
	for range minions {
		<-master.events
	}
	const flood = 16 << 20
	master.send(message(topic(lags), 1, flood))
	eventually(t, p, "one lags", func(s Stats) bool { return s.Behind == 1 })
	_ = minions[leaves].nc.Close()
	want := make([][]byte, many)
	for round := range 3 {
		var all []byte
		for i := range minions {
			msg := message(topic(i), round, 10+i)
			want[i] = append(want[i], msg...)
			all = append(all, msg...)
		}
		master.send(all)
	}
	for i, m := range minions {
		switch i {
		case leaves:
			continue
		case lags:
			m.expect(message(topic(lags), 1, flood))
		}
		m.expect(want[i])
	}
	if s := p.Stats(); s.Lost != 0 {
		t.Errorf("%d publishes are counted as lost", s.Lost)
	}
}

func TestSubscriptionsAreASetForEachMinionAndCountedForAll(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) { o.Loops = 4 })
	master.expect("link")

	first := connect(t, p, 1, "a")
	master.expect("+a")
	// XSUB repeats a subscription, also in the other form, and cancels once.
	first.subscribe(false, "a")
	first.subscribe(true, "a")
	second := connect(t, p, 0, "a")
	third := connect(t, p, 1, "a", "", "ab")
	got := []string{<-master.events, <-master.events}
	slices.Sort(got)
	if want := []string{"+", "+ab"}; !slices.Equal(got, want) {
		t.Fatalf("the master hears %q, want %q", got, want)
	}
	second.settle()
	first.write(zmtp.AppendCancel(nil, []byte("a")))
	first.write(zmtp.AppendCancel(nil, []byte("a"))) // one too many, and one that it never had
	first.write(zmtp.AppendSubscription(nil, []byte("never"), true))
	first.settle()
	master.nothing(p)

	msg := message("abc", 1, 100)
	master.send(msg)
	second.expect(msg)
	third.expect(msg)
	first.settle()

	third.write(zmtp.AppendSubscription(nil, nil, true))
	master.expect("-")
	_ = third.nc.Close()
	master.expect("-ab")
	_ = second.nc.Close()
	master.expect("-a")
	eventually(t, p, "all forgotten", func(s Stats) bool { return s.Subscriptions == 0 && s.Minions == 1 })
}

func TestNewLinkHearsTheWholeUnionAndMinionsStay(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), nil)
	master.expect("link")
	minions := []*subscriber{connect(t, p, 1, ""), connect(t, p, 0, "broadcast", "id1")}
	for _, m := range minions {
		m.settle()
	}
	eventually(t, p, "subscribed", func(s Stats) bool { return s.Subscriptions == 3 })
	for range 3 {
		<-master.events
	}
	for i := range 3 {
		msg := message("broadcast", i, 400)
		master.send(msg)
		for _, m := range minions {
			m.expect(msg)
		}
		master.send(message("broadcast", 99, 400)[:200]) // dies in the middle of a message
		master.drop()
		master.expect("link")
		var got []string
		for range 3 {
			got = append(got, <-master.events)
		}
		slices.Sort(got)
		if want := []string{"+", "+broadcast", "+id1"}; !slices.Equal(got, want) {
			t.Fatalf("after restart %d the master hears %q, want %q", i, got, want)
		}
	}
	msg := message("broadcast", 7, 400)
	master.send(msg)
	for _, m := range minions {
		m.expect(msg)
		m.settle()
	}
	if s := p.Stats(); s.Minions != 2 || s.Publishes != 4 {
		t.Errorf("after restarts: %+v", s)
	}
}

func TestJoiningAndLeavingUnderLoad(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), nil)
	steady := connect(t, p, 1, "")
	steady.settle()
	master.expect("link", "+")
	const count, size = 20000, 300
	var all []byte
	for i := range count {
		all = append(all, message("", i, size)...)
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		for rest := all; len(rest) > 0; {
			n := min(len(rest), 5000)
			master.send(rest[:n])
			rest = rest[n:]
		}
	}()
	guests := make(chan []int)
	for g := range 20 {
		go func() {
			var all []int
			defer func() { guests <- all }()
			nc, err := net.Dial("tcp", p.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = nc.Close() }()
			if err := shake(nc, zmtp.SUB, 1); err != nil {
				t.Error(err)
				return
			}
			if _, err := nc.Write(zmtp.AppendSubscribe(nil, nil)); err != nil {
				t.Error(err)
				return
			}
			head := len(message("", 0, size)) - size
			msg := make([]byte, head+size)
			for range 50 + g*7 {
				if _, err := io.ReadFull(nc, msg); err != nil {
					return // the last message has been published
				}
				number := int(binary.BigEndian.Uint64(msg[head:]))
				if !bytes.Equal(msg, message("", number, size)) {
					t.Errorf("message %d is not whole", number)
				}
				all = append(all, number)
				if number == count-1 {
					return
				}
			}
		}()
	}
	steady.expect(all)
	<-left
	master.send(message("", count-1, size)) // for a guest that came too late for the end
	for missing := 20; missing > 0; {
		select {
		case got := <-guests:
			missing--
			for i := 1; i < len(got); i++ {
				if got[i] != got[i-1]+1 && got[i] != count-1 {
					t.Fatalf("a guest got %d after %d", got[i], got[i-1])
				}
			}
		default:
			master.send(message("", count-1, size))
			yield()
		}
	}
}

func TestHandshakesThatAreRefused(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) { o.MaxSubscriptions = 2 })
	healthy := connect(t, p, 1, "")
	healthy.settle()
	master.expect("link", "+")
	hello := func(as zmtp.SocketType) []byte { return zmtp.AppendReady(zmtp.AppendGreeting(nil), as) }
	sub := func(b ...[]byte) []byte { return append(hello(zmtp.SUB), bytes.Join(b, nil)...) }
	subscribe := func(topic string) []byte { return zmtp.AppendSubscribe(nil, []byte(topic)) }
	cases := []struct {
		name   string
		send   []byte
		reason string
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), string(zmtp.ReasonNotZMTP)},
		{"a minion on the wrong port", hello(zmtp.REQ), string(zmtp.ReasonSocketType)},
		{"another publisher", hello(zmtp.PUB), string(zmtp.ReasonSocketType)},
		{"publishing", sub(zmtp.AppendFrame(nil, false, []byte("job"))), string(zmtp.ReasonSubscription)},
		{"publishing with a topic", sub(message("topic", 1, 40)), string(zmtp.ReasonTooManyFrames)},
		{"a topic of megabytes", sub(subscribe(strings.Repeat("x", 1<<20))), string(zmtp.ReasonCommandTooLarge)},
		{"a topic just too long", sub(subscribe(strings.Repeat("x", maxTopicBytes+1))), string(zmtp.ReasonSubscription)},
		{"a topic too long as a message", sub(zmtp.AppendSubscription(nil, make([]byte, 1<<20), false)), string(zmtp.ReasonMessageTooLarge)},
		{"too many topics", sub(subscribe("a"), subscribe("b"), subscribe("b"), subscribe("c")), "too_many_subscriptions"},
		{"ERROR", sub(zmtp.AppendError(nil, "no")), string(zmtp.ReasonPeerError)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := p.Stats().Ends[c.reason]
			nc, err := net.Dial("tcp", p.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			s := &subscriber{t, nc}
			defer func() { _ = nc.Close() }()
			_ = nc.SetDeadline(time.Now().Add(patience))
			_, _ = nc.Write(c.send) // may be cut short
			s.closed()
			eventually(t, p, "counted as "+c.reason, func(s Stats) bool { return s.Ends[c.reason] == before+1 })
		})
	}
	msg := message("", 5, 400)
	master.send(msg)
	healthy.expect(msg)
}

func TestTakenPortIsAnError(t *testing.T) {
	master := newPublisher(t)
	p := start(t, master.address(), nil)
	o := p.options
	o.Listen = p.Addr().String()
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("second proxy on the same port: %v", err)
	}
}
