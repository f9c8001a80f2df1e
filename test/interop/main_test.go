// Package interop_test holds the broker against peers that it has no part in: real processes with libzmq, as Salt's
// masters and minions are, the library go-zeromq/zmq4, recorded conversations of Salt, and peers that behave badly in
// ways that occur.
//
// The two proxies run inside the test, on ports that the kernel chooses; the peers of testdata/peer.py are processes,
// told what to do step by step over their stdin.
package interop_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen before it says that it did not. It is longer than the peers'
// own, whose words are better.
const patience = 25 * time.Second

// eventually waits for a condition that nothing announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}
