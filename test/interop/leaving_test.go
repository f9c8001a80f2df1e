package interop_test

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"salt-broker/internal/admission"
	"salt-broker/internal/zmtp"
	"salt-broker/retproxy"
)

func dialTCP(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc.(*net.TCPConn) // only TCP here
}

// awayMaster returns the address of a master that is not there yet.
func awayMaster(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", local(0))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestLeavingWhileTheMasterIsAway: a minion asks while there is no master. When one comes back, it gets the requests of
// those only who wait for a reply still. A half-closed connection is one of them.
func TestLeavingWhileTheMasterIsAway(t *testing.T) {
	t.Parallel()
	for _, size := range []int{540, 2 << 20} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			address := awayMaster(t)
			broker := startRequest(t, address)
			leave := map[string]func(w *wire){
				"stays":       func(*wire) {},
				"half-closes": func(w *wire) { _ = w.nc.CloseWrite() },
				"closes":      func(w *wire) { _ = w.nc.Close() },
				"resets": func(w *wire) {
					_ = w.nc.SetLinger(0)
					_ = w.nc.Close()
				},
			}
			const each = 3
			minions := make(map[string]*wire)
			for name := range leave {
				for i := range each {
					w := dial(t, broker.address(), zmtp.REQ, 1)
					body := filler(fmt.Sprint(name, i), size)
					w.send(t, nil, body)
					minions[digest(body)] = w
				}
			}
			eventually(t, "all requests wait", func() bool { return broker.Stats().Waiting == len(minions) })
			var left []string // whom the master must not hear of
			for name, l := range leave {
				for i := range each {
					key := digest(filler(fmt.Sprint(name, i), size))
					l(minions[key])
					if name == "closes" || name == "resets" {
						left = append(left, key)
					}
				}
			}
			eventually(t, "those who left are forgotten", func() bool {
				s := broker.Stats()
				return s.Forgotten == uint64(len(left)) && s.Waiting == len(minions)-len(left)
			})

			master := newStandIn(t, address, zmtp.ROUTER)
			for range len(minions) - len(left) {
				h := master.next(t)
				key := digest(h.frames[2])
				if slices.Contains(left, key) {
					t.Error("the master got a request of a minion that has left")
					continue
				}
				h.link.send(t, append(h.frames[:2], answered(h.frames[2])...)...)
				if got := minions[key].recv(t); digest(answered(got[1])[0]) != key {
					t.Error("a minion got the reply of another")
				}
				minions[key].leave(t)
				delete(minions, key)
			}
			if len(minions) != len(left) {
				t.Errorf("%d minions got no reply, want %d", len(minions), len(left))
			}
			late := dial(t, broker.address(), zmtp.REQ, 1) // whatever the broker had still would come before or with it
			late.send(t, nil, []byte("the last"))
			if h := master.next(t); string(h.frames[2]) != "the last" {
				t.Errorf("the master got one more request, of %d bytes", len(h.frames[2]))
			}
			s := broker.Stats()
			if want := uint64(2*each + 1); s.Requests-s.Replies != uint64(len(left))+1 || s.Replies != want-1 || s.Unwanted != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestLeavingWhileTheMasterWorks: the request is at the master when its minion leaves. The reply is for nobody then, or
// for the half-closed connection; and no other minion gets it, whichever connects next.
func TestLeavingWhileTheMasterWorks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		leave    func(w *wire)
		ends     []string
		answered bool
	}{
		{"half-closes", func(w *wire) { _ = w.nc.CloseWrite() }, []string{admission.EndLeft}, true},
		{"closes", func(w *wire) { _ = w.nc.Close() }, []string{admission.EndLeft, admission.EndReset}, false},
		{"resets", func(w *wire) {
			_ = w.nc.SetLinger(0)
			_ = w.nc.Close()
		}, []string{admission.EndReset}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			master := newStandIn(t, local(0), zmtp.ROUTER)
			broker := startRequest(t, master.address(), func(o *retproxy.Options) { o.Loops = 1 })
			minion := dial(t, broker.address(), zmtp.REQ, 1)
			minion.send(t, nil, []byte("question"))
			h := master.next(t)
			tt.leave(minion)
			if !tt.answered {
				eventually(t, "the broker sees it leave", func() bool { return broker.Stats().Minions == 0 })
			}
			next := dial(t, broker.address(), zmtp.REQ, 1) // takes the place of who left
			next.send(t, nil, []byte("another question"))
			h2 := master.next(t)
			h.link.send(t, h.frames[0], nil, []byte("answer"))
			if tt.answered {
				if got := minion.recv(t); string(got[1]) != "answer" {
					t.Errorf("the half-closed minion got %q", got)
				}
				minion.leave(t)
			}
			h2.link.send(t, h2.frames[0], nil, []byte("another answer"))
			if got := next.recv(t); string(got[1]) != "another answer" {
				t.Errorf("the next minion got %q", got)
			}
			eventually(t, "the first connection has ended", func() bool { return ended(broker.Stats().Ends) == 1 })
			s := broker.Stats()
			unwanted := uint64(1)
			if tt.answered {
				unwanted = 0
			}
			if ended(s.Ends, tt.ends...) != 1 || s.Unwanted != unwanted || s.Replies != 2 {
				t.Errorf("want an end as one of %v and %d unwanted replies: %+v", tt.ends, unwanted, s)
			}
			next.leave(t)
		})
	}
}

// TestLeavingSubscribers: whichever way a subscriber leaves, its topics go, and the others' publishes go on.
func TestLeavingSubscribers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		leave func(w *wire)
	}{
		{"half-closes", func(w *wire) { _ = w.nc.CloseWrite() }},
		{"closes", func(w *wire) { _ = w.nc.Close() }},
		{"resets", func(w *wire) {
			_ = w.nc.SetLinger(0)
			_ = w.nc.Close()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			master := newStandIn(t, local(0), zmtp.PUB)
			broker := startPublish(t, master.address())
			link := master.link(t)
			stays, leaves := dial(t, broker.address(), zmtp.SUB, 1), dial(t, broker.address(), zmtp.SUB, 1)
			stays.subscribe(t, true, "shared", "stays")
			master.hears(t, "+shared", "+stays")
			leaves.subscribe(t, true, "shared", "leaves")
			master.hears(t, "+leaves")
			tt.leave(leaves)
			master.hears(t, "-leaves")
			link.send(t, []byte("shared"), []byte("for all"))
			if got := stays.recv(t); string(got[1]) != "for all" {
				t.Errorf("got %q", got)
			}
			stays.leave(t)
			master.hears(t, "-shared", "-stays")
			eventually(t, "both are counted", func() bool { // after the master has been told
				s := broker.Stats()
				return s.Minions == 0 && s.Subscriptions == 0 && ended(s.Ends, "left", "reset") == 2
			})
		})
	}
}
