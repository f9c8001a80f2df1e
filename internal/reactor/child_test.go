//go:build linux

package reactor

import (
	"os"
	"os/exec"
	"testing"
)

// childVariable is set in a process that a test started for itself.
const childVariable = "REACTOR_TEST_CHILD"

// alone runs the calling test again in a process of its own, where it may change limits of the process, and says
// whether this is that process.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childVariable) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	// Under the race detector a process would sleep for a second before it ends.
	cmd.Env = append(os.Environ(), childVariable+"="+t.Name(), "GORACE=atexit_sleep_ms=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in a process of its own: %v\n%s", err, out)
	}
	return false
}
