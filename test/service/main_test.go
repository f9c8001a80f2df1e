//go:build linux

// Package service_test takes the rpm through its life under a real systemd: installed, started, hung, crashed, upgraded
// and erased, while stand-in minions ask through it. README.rst says how, and what each line of it has been seen to find.
package service_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"salt-broker/test/internal/apart"
)

// inside is the environment variable that tells the second process where the packages are.
const inside = "SALT_BROKER_SERVICE_INSIDE"

// patience is how long anything may take. Tests that fail take it, others never.
const patience = 30 * time.Second

// TestMain runs the tests in namespaces of their own, so that there are no other mounts, processes and ports than theirs,
// and nothing of them stays whatever happens: when their first process ends, the kernel ends the rest.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(outside()) //nolint:forbidigo // it stands for the tests
	}
	if err := settle(); err != nil {
		fmt.Fprintln(os.Stderr, "test/service:", err)
		os.Exit(1) //nolint:forbidigo // there is nowhere to test
	}
	goleak.VerifyTestMain(m)
}

// outside builds the packages, which may need a network, and runs this program again in new namespaces.
func outside() int {
	if why := missing(); why != "" {
		return apart.Skip("test/service", why)
	}
	dir, err := os.MkdirTemp("", "salt-broker-service")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "test/service:", err)
		return 1
	}
	groups := controlGroups(filepath.Base(dir))
	defer func() {
		for _, g := range groups {
			removeGroup(g)
		}
	}()
	return apart.Run("test/service", inside+"="+dir)
}

// build makes the packages in dir: rpm and src.rpm of the new version, and Debian packages of both, of the new one twice.
func build(dir string) error {
	var tasks errgroup.Group
	run := func(what, version, to string) error {
		c := exec.Command("make", "-C", "../..", what, "DIST="+to)
		c.Env = append(os.Environ(), "VERSION="+version, "TOPDIR="+filepath.Join(dir, "top"))
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("make %s: %w\n%s", what, err, out)
		}
		return nil
	}
	tasks.Go(func() error { return run("rpm", newVersion, dir) })
	if apart.Lacks(debianPrograms...) == "" {
		tasks.Go(func() error {
			if err := run("deb", oldVersion, dir); err != nil {
				return err
			}
			if err := run("deb", newVersion, dir); err != nil {
				return err
			}
			return run("deb", newVersion, filepath.Join(dir, "again"))
		})
	}
	return tasks.Wait()
}

// missing says what this machine lacks; "" when there is all.
func missing() string {
	if os.Getuid() != 0 {
		return "boots a system, which needs root"
	}
	if program := apart.Lacks(programs...); program != "" {
		return program + " is not installed (.ci/run has the packages)"
	}
	if _, err := os.Stat("/usr/lib/systemd/systemd"); err != nil {
		return "systemd is not installed"
	}
	return ""
}

// What the tests run; TestDebian runs some more.
var (
	programs = []string{
		"make", "rpmbuild", "rpm", "rpmspec", "rpmlint", "rpm2cpio", "cpio", "systemd-nspawn", "logrotate", "nsenter", "git", "tar",
	}
	debianPrograms = []string{"dpkg", "dpkg-deb", "deb-systemd-helper"}
)

// settle makes the namespaces a place to be, with control groups of their own.
func settle() error {
	if err := apart.Settle(); err != nil {
		return err
	}
	for _, g := range controlGroups(filepath.Base(os.Getenv(inside))) {
		if err := os.Mkdir(g, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(g, "cgroup.procs"), []byte("0"), 0); err != nil { // 0 is who writes
			return err
		}
	}
	return nil
}

// controlGroups are the groups for the test in the hierarchies that systemd uses: systemd-nspawn puts its own below the
// one that it is in, and two tests at a time must not have the same.
func controlGroups(name string) []string {
	var groups []string
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err == nil {
			groups = append(groups, filepath.Join(root, name))
		}
	}
	return groups
}

// removeGroup removes a control group and those below it. The kernel keeps those that still have processes, which are
// about to end.
func removeGroup(group string) {
	deadline := time.Now().Add(5 * time.Second)
	for {
		var below []string
		_ = filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				below = append(below, path)
			}
			return nil
		})
		for i := len(below) - 1; i >= 0; i-- {
			_ = os.Remove(below[i])
		}
		if _, err := os.Stat(group); errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// output runs a program here and returns what it says.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
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
