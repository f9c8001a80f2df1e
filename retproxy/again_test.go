package retproxy

import "testing"

// TestAskingAgainOverTheSameConnection: a REQ that gives up and keeps its connection leaves one request here, not one for
// every time-out of an outage. A broker's DEALER asks for many, and keeps them all.
func TestAskingAgainOverTheSameConnection(t *testing.T) {
	for _, tt := range []struct {
		socket string
		want   []string
	}{
		{"REQ", []string{"third"}},
		{"DEALER", []string{"first", "second", "third"}},
	} {
		t.Run(tt.socket, func(t *testing.T) {
			m := absentMaster(t)
			r := start(t, m)
			p := dial(t, r, as{socket: tt.socket})
			for _, body := range []string{"first", "second", "third"} {
				p.asks(body)
			}
			until(t, "all to be read", func() bool {
				s := r.Stats()
				return s.Requests == 3 && s.Waiting == len(tt.want) && s.Forgotten == uint64(3-len(tt.want))
			})
			m.open()
			for _, want := range tt.want {
				a := m.next()
				if got := string(a.body()); got != want {
					t.Errorf("the master gets %q, want %q", got, want)
				}
				a.answer(a.body())
				p.hears(want)
			}
			if _, _, total := m.counts(); total != len(tt.want) {
				t.Errorf("the master got %d requests", total)
			}
			r.balanced()
			checkCredit(t, r)
		})
	}
}

// TestAskingAgainBeyondTheShare: what has been given up goes also where it waits for its minion's share.
func TestAskingAgainBeyondTheShare(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(2))
	p := dial(t, r, as{})
	p.asks("first") // is at the master, and that is the share
	first := m.next()
	for _, body := range []string{"second", "third"} {
		p.asks(body)
	}
	until(t, "the second to be forgotten", func() bool { return r.Stats().Forgotten == 1 })
	r.waiting(1)
	m.nothing()
	first.answer(first.body())
	p.hears("first")
	third := m.next()
	if got := string(third.body()); got != "third" {
		t.Errorf("the master gets %q", got)
	}
	third.answer(third.body())
	p.hears("third")
	r.balanced()
	checkCredit(t, r)
}
