// Package chaos_test puts a bad network, a bad master and bad minions around both proxies, and checks the whole time that
// nothing comes out of them that should not, and afterwards that everything works again.
//
// All faults follow from a seed: what happens to the n-th connection of a wire at which byte, and what the master and the
// minions do when (see plan). The same seed gives the same plan; what it meets is not the same, for connections are made
// and bytes come when a real machine gets to it. A seed that has found something may have to be run a few times:
//
//	SALT_BROKER_CHAOS_SEED=17 go test -race -count=20 ./test/chaos
//
// `make chaos` runs fresh seeds for CHAOSTIME and says each.
package chaos_test

import (
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Whatever the runtime opens for the first connection stays open: it is no leak of a run.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
	}
	goleak.VerifyTestMain(m)
}
