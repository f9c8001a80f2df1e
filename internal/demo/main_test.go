//go:build linux

package demo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// program is the salt-broker that demonstrations of the tests start.
var program string

func TestMain(m *testing.M) { goleak.VerifyTestMain(withProgram{m}) }

// withProgram builds the program before the tests.
type withProgram struct{ m *testing.M }

func (w withProgram) Run() int {
	dir, err := os.MkdirTemp("", "salt-broker-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "salt-broker")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "salt-broker/cmd/salt-broker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %v\n%s", build, err, out)
		return 1
	}
	return w.m.Run()
}
