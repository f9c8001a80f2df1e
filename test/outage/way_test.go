package outage_test

import (
	"net/netip"
	"testing"
	"time"

	"salt-broker/internal/sim"
)

// startWay starts a long way to the master.
func startWay(t *testing.T, to netip.AddrPort, delay time.Duration) *sim.Way {
	t.Helper()
	w, err := sim.StartWay("", to, delay)
	must(t, err)
	t.Cleanup(w.Stop)
	return w
}
