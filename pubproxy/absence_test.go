package pubproxy

import (
	"net"
	"testing"
	"time"

	"salt-broker/internal/admission"
	"salt-broker/internal/sim"
)

// TestMasterLoss: minions stay without a master, or are sent away until it is back.
func TestMasterLoss(t *testing.T) {
	for _, closes := range []bool{false, true} {
		t.Run(map[bool]string{false: "keep", true: "close"}[closes], func(t *testing.T) {
			m, err := sim.StartMaster(sim.MasterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Stop() })
			p := start(t, m.PublishAddr().String(), func(o *Options) {
				o.CloseOnMasterLoss, o.MasterLossAfter = closes, 20*time.Millisecond
			})
			minion := connect(t, p, 1, "")
			minion.settle()
			eventually(t, p, "the link is there", func(s Stats) bool { return s.Master.Connected })
			if err := m.Leave(); err != nil {
				t.Fatal(err)
			}
			eventually(t, p, "the link is gone", func(s Stats) bool { return !s.Master.Connected })
			if closes {
				minion.closed()
				eventually(t, p, "the minion is counted", func(s Stats) bool {
					return s.Minions == 0 && s.Ends[admission.EndMasterLost] == 1
				})
				eventually(t, p, "the port is shut", func(Stats) bool { return !opens(p) })
			}
			if err := m.Start(); err != nil {
				t.Fatal(err)
			}
			if closes {
				eventually(t, p, "the port is open", func(Stats) bool { return opens(p) })
				minion = connect(t, p, 1, "")
			}
			minion.settle()
			eventually(t, p, "the link is back", func(s Stats) bool { return s.Master.Connected && s.Master.Connections == 2 })
		})
	}
}

// opens says whether somebody is let in at the port.
func opens(p *Proxy) bool {
	nc, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		return false
	}
	_ = nc.Close()
	return true
}
