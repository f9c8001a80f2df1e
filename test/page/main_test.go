//go:build linux

// Package page opens the page of the status port in a real browser, before the real program with stand-ins for a master
// and minions: that it comes up, that its numbers move with the load, that it says what is wrong, in light and dark, on a
// large screen and on a phone, and that the browser finds nothing to complain of.
//
// The browser is Debian's Chromium, driven over a pair of pipes (--remote-debugging-pipe) with the few calls of the
// DevTools protocol that this takes: https://chromedevtools.github.io/devtools-protocol.
package page

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long anything may take. Tests that fail take it, others never.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// chromium is the path of the browser. A test is skipped where there is none, unless SALT_BROKER_REQUIRE_TOOLS=1 makes that
// a failure.
func chromium(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("SALT_BROKER_REQUIRE_TOOLS") == "1" {
			t.Fatalf("chromium is required: %v", err)
		}
		t.Skipf("needs chromium: %v", err)
	}
	return path
}
