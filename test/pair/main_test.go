//go:build linux

// Package pair_test has two brokers share one address by keepalived, as contrib/keepalived says it: real programs in
// network namespaces on a bridge, and stand-in minions across it. What an event costs a minion is measured and printed:
// go test -v ./test/pair.
package pair_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"salt-broker/test/internal/apart"
	"salt-broker/test/internal/program"
)

// inside is the environment variable that tells the second process that it has its namespaces, and where the program is.
const inside = "SALT_BROKER_PAIR_INSIDE"

// run is where everything lies that the test writes: in memory, and not in a folder that others may write to, which
// keepalived would take no script from.
const run = "/run/pair"

// patience is how long anything may take. Tests that fail take it, others never.
const patience = 30 * time.Second

// TestMain runs the tests in namespaces of their own, so that neither their networks nor their processes are anybody
// else's, and nothing of them stays whatever happens.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(outside()) //nolint:forbidigo // it stands for the tests
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // they wait more than they work
	if err := settle(); err != nil {
		fmt.Fprintln(os.Stderr, "test/pair:", err)
		os.Exit(1) //nolint:forbidigo // there is nowhere to test
	}
	goleak.VerifyTestMain(m)
}

// outside builds the program and runs this one again in new namespaces.
func outside() int {
	if why := missing(); why != "" {
		return apart.Skip("test/pair", why)
	}
	dir, err := os.MkdirTemp("", "salt-broker-pair")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary, err := program.Build(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/pair:", err)
		return 1
	}
	return apart.Run("test/pair", inside+"="+binary)
}

// missing says what this machine lacks; "" when there is all.
func missing() string {
	if os.Getuid() != 0 {
		return "makes network namespaces, which needs root"
	}
	if program := apart.Lacks("keepalived", "ip"); program != "" {
		return program + " is not installed (.ci/run has the packages)"
	}
	return ""
}

// settle makes the namespaces a place to be, in which /run is nobody else's.
func settle() error {
	if err := apart.Settle(); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount on /run: %w", err)
	}
	if err := os.Chmod("/run", 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(run, 0o755); err != nil {
		return err
	}
	binary, err := os.ReadFile(os.Getenv(inside))
	if err != nil {
		return err
	}
	return os.WriteFile(run+"/salt-broker", binary, 0o755)
}

// eventually waits for what nothing announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
