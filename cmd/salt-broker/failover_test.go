package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

// listener is a minion as far as on_master_loss goes: it holds a connection to the publish port of the first broker in its
// list that takes it. Salt's looks at nothing else (status.master).
type listener struct {
	brokers []int // ports
	nc      net.Conn
	left    time.Time // when the first broker has ended the connection
	arrived time.Time // at another one
}

// connect goes to the first broker of those from i on that takes it, and waits until that has read its subscription.
func (m *listener) connect(i int) error {
	var failed error
	for _, port := range m.brokers[i:] {
		nc, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			failed = err
			continue
		}
		_ = nc.SetReadDeadline(time.Now().Add(2 * patience))
		hello := zmtp.AppendSubscribe(zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.SUB), nil)
		answer := zmtp.AppendPong(zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.PUB), []byte("there"))
		if _, err := nc.Write(zmtp.AppendPing(hello, 0, []byte("there"))); err != nil {
			return errors.Join(err, nc.Close())
		}
		if _, err := io.ReadFull(nc, make([]byte, len(answer))); err != nil {
			return errors.Join(err, nc.Close())
		}
		m.nc = nc
		return nil
	}
	return failed
}

// stay returns when the broker has ended the connection.
func (m *listener) stay() error {
	for buf := make([]byte, 1024); ; {
		switch _, err := m.nc.Read(buf); {
		case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
			m.left = time.Now()
			return m.nc.Close()
		case err != nil:
			return errors.Join(err, m.nc.Close())
		}
	}
}

// TestMinionsMoveToTheOtherBroker: with on_master_loss: close, minions that list two brokers go to the second when the first
// one's master has gone: not before on_master_loss_after, evenly over 10 s, all of them. With keep nobody is sent away.
func TestMinionsMoveToTheOtherBroker(t *testing.T) {
	t.Parallel()
	const minions, after, over = 200, time.Second, 10 * time.Second
	lost, whole := startSimMaster(t), startSimMaster(t)
	closing := brokerOf(t, lost, "on_master_loss: close", fmt.Sprint("on_master_loss_after: ", after.Seconds()))
	keeping := brokerOf(t, lost, "on_master_loss: keep", fmt.Sprint("on_master_loss_after: ", after.Seconds()))
	other := brokerOf(t, whole)

	moving, staying := make([]listener, minions), make([]listener, minions)
	for i := range minions {
		moving[i].brokers, staying[i].brokers = []int{closing.publish, other.publish}, []int{keeping.publish, other.publish}
		for _, m := range []*listener{&moving[i], &staying[i]} {
			if err := m.connect(0); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := lost.AwaitSubscribed(ctx, "", 2); err != nil { // both brokers have told the master
		t.Fatal(err)
	}
	stood := watchStandstill(t)
	gone := time.Now()
	if err := lost.Leave(); err != nil {
		t.Fatal(err)
	}
	var move, stay sync.WaitGroup
	for i := range minions {
		move.Go(func() {
			m := &moving[i]
			if err := errors.Join(m.stay(), m.connect(0)); err != nil {
				t.Error(err)
			}
			m.arrived = time.Now()
		})
		stay.Go(func() { _ = staying[i].stay() })
	}
	move.Wait()
	var at []time.Duration
	for _, m := range moving {
		if m.nc == nil || m.nc.RemoteAddr().(*net.TCPAddr).Port != other.publish {
			t.Fatal("one has not come to the other broker")
		}
		at = append(at, m.arrived.Sub(gone))
	}
	slices.Sort(at)
	first, middle, last := at[0], at[minions/2], at[minions-1]
	t.Logf("%d minions have moved from %v to %v after the master went, half of them until %v", minions,
		first.Round(time.Millisecond), last.Round(time.Millisecond), middle.Round(time.Millisecond))
	slack := 2*time.Second + stood.Sum() // of this machine, and a quarter of a second of the broker's
	if first < after || last > after+over+slack || last < after+over/2 {
		t.Errorf("they move from %v to %v, not from %v to %v", first, last, after, after+over)
	}
	for i := range at[minions/4:] { // evenly they are 2.5 s; after a pause some go together
		if burst := at[i+minions/4] - at[i]; burst < over/8-stood.Sum() {
			t.Fatalf("%d of them move within %v", minions/4, burst)
		}
	}
	if nc, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", closing.publish)); err == nil {
		_ = nc.Close()
		t.Error("the port is open without a master")
	}

	for i := range staying { // all this time nobody has been sent away: they still have a connection to end
		_ = staying[i].nc.(*net.TCPConn).CloseWrite()
	}
	stay.Wait()
	for i := range staying {
		if left := staying[i].left.Sub(gone); left < last {
			t.Fatalf("one was sent away %v after the master went, although the broker is to keep it", left)
		}
	}
	for i := range moving {
		_ = moving[i].nc.Close()
	}
}

func startSimMaster(t *testing.T) *sim.Master {
	t.Helper()
	m, err := sim.StartMaster(sim.MasterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// brokerOf starts a broker of this master.
func brokerOf(t *testing.T, m *sim.Master, further ...string) *place {
	t.Helper()
	l, _ := launchReady(t, nil, append([]string{
		"max_open_files: 2000",
		fmt.Sprint("master_publish_port: ", m.PublishAddr().Port()), fmt.Sprint("master_port: ", m.RequestAddr().Port()),
	}, further...)...)
	return l
}
