package retproxy

import (
	"net"
	"testing"
	"time"

	"salt-broker/internal/admission"
)

// TestMasterLoss: minions stay without a master and what they ask waits, or they are sent away until it is back.
func TestMasterLoss(t *testing.T) {
	for _, closes := range []bool{false, true} {
		t.Run(map[bool]string{false: "keep", true: "close"}[closes], func(t *testing.T) {
			m := newMaster(t)
			r := start(t, m, func(o *Options) { o.CloseOnMasterLoss, o.MasterLossAfter = closes, 20*time.Millisecond })
			minion := dial(t, r, as{})
			minion.asks("before")
			echo(m.next())
			minion.hears("before")
			m.stop()
			until(t, "no link is left", func() bool {
				for _, l := range r.Stats().Links {
					if l.Connected {
						return false
					}
				}
				return true
			})
			if !closes {
				minion.asks("without")
			}
			if closes {
				minion.gone()
				until(t, "the minion is counted", func() bool {
					s := r.Stats()
					return s.Minions == 0 && s.Ends[admission.EndMasterLost] == 1 && s.Waiting == 0
				})
				until(t, "the port is shut", func() bool { return !opens(r) })
			} else {
				until(t, "the request waits", func() bool { return r.Stats().Waiting == 1 })
			}
			m.open()
			if closes {
				until(t, "the port is open", func() bool { return opens(r) })
				minion = dial(t, r, as{})
				minion.asks("without")
			}
			echo(m.next())
			minion.hears("without")
		})
	}
}

// opens says whether somebody is let in at the port.
func opens(r *running) bool {
	nc, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		return false
	}
	_ = nc.Close()
	return true
}
