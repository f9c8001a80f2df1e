package interop_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/go-zeromq/zmq4"

	"salt-broker/internal/zmtp"
)

// zmq4Socket connects a socket of go-zeromq/zmq4, which shares no line with the broker's side towards minions. It greets
// ZMTP 3.0.
func zmq4Socket(t testing.TB, s zmq4.Socket, address string) zmq4.Socket {
	t.Helper()
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Dial("tcp://" + address); err != nil {
		t.Fatal(err)
	}
	return s
}

// within bounds what a socket of the library may take.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestZmq4Subscribers(t *testing.T) {
	t.Parallel()
	master := newStandIn(t, local(0), zmtp.PUB)
	broker := startPublish(t, master.address())
	link := master.link(t)
	topics := [][]string{{""}, {"a", "broadcast"}, {"b", "broadcast"}}
	var minions []zmq4.Socket
	for i, mine := range topics {
		s := zmq4Socket(t, zmq4.NewSub(within(t)), broker.address())
		for _, topic := range slices.Concat(mine, []string{fmt.Sprint("minion ", i)}) {
			if err := s.SetOption(zmq4.OptionSubscribe, topic); err != nil {
				t.Fatal(err)
			}
		}
		minions = append(minions, s)
	}
	master.hears(t, "+", "+a", "+b", "+broadcast", "+minion 0", "+minion 1", "+minion 2")

	all := series{heads: [][]string{{"a"}, {"b"}, {"broadcast"}, {"c"}}, count: 800, parts: 2, size: 440}
	for i := range all.count {
		link.send(t, all.message(i)...)
	}
	for i, s := range minions {
		var got []string
		want := all.digests(subscribedTo(topics[i]))
		for range want {
			m, err := s.Recv()
			if err != nil {
				t.Fatalf("minion %d: %v", i, err)
			}
			got = append(got, digest(m.Frames...))
		}
		same(t, fmt.Sprint("minion ", i), got, want)
	}
	if err := minions[1].Close(); err != nil {
		t.Fatal(err)
	}
	master.hears(t, "-a", "-minion 1")
}

func TestZmq4Requests(t *testing.T) {
	t.Parallel()
	master, broker := startMaster(t)
	sizes := []int{0, 1, 255, 256, 540, 65536, 1 << 20, 5 << 20}

	req := zmq4Socket(t, zmq4.NewReq(within(t), zmq4.WithID(zmq4.SocketIdentity("minion"))), broker.address())
	for i, size := range sizes {
		body := filler(fmt.Sprint("REQ ", i), size)
		if err := req.Send(zmq4.NewMsg(body)); err != nil {
			t.Fatal(err)
		}
		m, err := req.Recv()
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprint("REQ, ", size, " bytes"), []string{digest(m.Frames...)}, []string{digest(answered(body)...)})
	}

	dealer := zmq4Socket(t, zmq4.NewDealer(within(t), zmq4.WithID(zmq4.SocketIdentity("minion"))), broker.address())
	var got, want []string
	for i := range 200 {
		body := filler(fmt.Sprint("DEALER ", i), 100*i)
		if err := dealer.SendMulti(zmq4.NewMsgFrom([]byte("id"), nil, body, nil)); err != nil {
			t.Fatal(err)
		}
		want = append(want, digest([]byte("id"), nil, answered(body)[0], nil))
	}
	for range want {
		m, err := dealer.Recv()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, digest(m.Frames...))
	}
	sameSet(t, "DEALER", got, want)
	if n := len(master.served()); n != len(sizes)+len(want) {
		t.Errorf("the master served %d requests, want %d", n, len(sizes)+len(want))
	}
}
