// Package hostile attacks the real program as strangers on its network can, on both ports, and checks that nobody but the
// attacker notices: healthy minions are answered as before, new ones get in, nothing of theirs is lost or doubled, and
// the program stays small and alive.
//
// What peers may send: RFC 23/ZMTP 3.0 and RFC 37/ZMTP 3.1. All traffic stays on loopback, and is bounded in number and
// time.
package hostile

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"salt-broker/test/internal/program"
)

// executable is the path of the program under test.
var executable string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		panic(err)
	}
	if executable, err = program.Build(dir); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code) //nolint:forbidigo // what goleak does otherwise
	}))
}
