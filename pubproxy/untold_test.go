package pubproxy

import (
	"fmt"
	"io"
	"maps"
	"net"
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

// TestMasterThatReadsSlowly: more subscriptions than it has read yet do not end the link, or one minion could take the
// publishes of all others; what came and went meanwhile it need not hear; and in the end it knows what there is.
func TestMasterThatReadsSlowly(t *testing.T) {
	const topics = 60000
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	p := start(t, ln.Addr().String(), func(o *Options) { o.MaxSubscriptions = 4 * topics })
	link, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = link.Close() }()
	_ = link.SetDeadline(time.Now().Add(patience))
	if err := shake(link, zmtp.PUB, 0); err != nil {
		t.Fatal(err)
	}

	minion := connect(t, p, 1, "first")
	first := make([]byte, len(zmtp.AppendSubscription(nil, []byte("first"), false)))
	if _, err := io.ReadFull(link, first); err != nil { // then the link is in use
		t.Fatal(err)
	}

	long := fmt.Sprintf("%0200d", 0)
	want := map[string]bool{"last": true}
	var all []byte
	for i := range topics {
		topic := fmt.Sprintf("%d-%s", i, long)
		all = zmtp.AppendSubscription(all, []byte(topic), false)
		want[topic] = true
	}
	minion.write(all)
	minion.settle()
	for range 1000 {
		minion.write(zmtp.AppendSubscription(zmtp.AppendSubscription(nil, []byte("to and fro"), false), []byte("to and fro"), true))
	}
	minion.subscribe(true, "last")
	minion.settle()
	eventually(t, p, "all subscriptions", func(s Stats) bool { return s.Subscriptions == topics+2 })
	if s := p.Stats(); s.Master.Connections != 1 {
		t.Fatalf("the link has ended: %v", s.Master)
	}

	got := map[string]bool{}
	toAndFro := 0
	var stream zmtp.Stream
	stream.SkipHandshake(zmtp.Version{Major: 3})
	hear := sink{message: func(msg []byte) error {
		s, err := zmtp.ParseSubscription(msg)
		if err != nil {
			return err
		}
		topic := string(s.Topic)
		if got[topic] == !s.Cancel {
			t.Errorf("%.40q: cancel %t came twice", topic, s.Cancel)
		}
		if got[topic] = !s.Cancel; s.Cancel {
			delete(got, topic)
		}
		if topic == "to and fro" {
			toAndFro++
		}
		return nil
	}}
	buf := make([]byte, 64<<10)
	for !maps.Equal(got, want) {
		n, err := link.Read(buf)
		if err == nil {
			err = stream.Feed(buf[:n], testLimits(), hear)
		}
		if err != nil {
			t.Fatalf("after %d topics of %d: %v", len(got), len(want), err)
		}
	}
	if toAndFro > 100 {
		t.Errorf("it heard %d times of what came and went", toAndFro)
	}
}
