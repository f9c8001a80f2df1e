// Package hostile attacks the real program as strangers on its network can, on both ports, and checks that nobody but the
// attacker notices: healthy minions are answered as before, new ones get in, nothing of theirs is lost or doubled, and
// the program stays small and alive.
//
// What peers may send: RFC 23/ZMTP 3.0 and RFC 37/ZMTP 3.1. All traffic stays on loopback, and is bounded in number and
// time.
package hostile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// program is the path of the binary under test.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "salt-broker")
	build := exec.Command("go", "build", "-o", program, "salt-broker/cmd/salt-broker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code) //nolint:forbidigo // what goleak does otherwise
	}))
}
