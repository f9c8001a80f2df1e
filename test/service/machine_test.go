//go:build linux

package service_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a system with systemd as its first process. Its /usr is this machine's, under a layer that takes the
// changes; /etc and /var are its own and nearly empty. So it takes no download and no time to make, and a package finds
// nothing that it has not brought or asked for, but for programs.
type machine struct {
	t      *testing.T
	root   string
	leader string // the process ID of its systemd
}

// boot starts a machine, with further options of systemd-nspawn. What it has is gone with the namespaces of the test.
func boot(t *testing.T, options ...string) *machine {
	t.Helper()
	m := &machine{t: t, root: furnish(t)}
	notify := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	console, err := os.Create(filepath.Join(t.TempDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("systemd-nspawn", append([]string{
		"--quiet", "--register=no", "--keep-unit", "--notify-ready=yes", "--boot", "--console=pipe", "--directory=" + m.root,
	}, options...)...)
	// A control group of its own version 2, whatever this machine has.
	c.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "NOTIFY_SOCKET="+notify)
	c.Stdout, c.Stderr = console, console
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	t.Cleanup(func() {
		_, _ = m.try("systemctl", "poweroff", "--force", "--force")
		<-ended
		console.Close()
	})
	if err := m.awaitReady(conn); err != nil {
		text, _ := os.ReadFile(console.Name())
		t.Fatalf("the machine does not start: %v\n%s", err, text)
	}
	return m
}

// awaitReady reads what systemd-nspawn says, which is the leader's number and that all is up.
func (m *machine) awaitReady(conn *net.UnixConn) error {
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(buf[:n])) {
			line = strings.TrimSpace(line)
			if leader, ok := strings.CutPrefix(line, "X_NSPAWN_LEADER_PID="); ok {
				m.leader = leader
			}
			if line == "READY=1" {
				return nil
			}
		}
	}
}

// furnish makes the machine's root. SALT_BROKER_SERVICE_TREE names another one, to be used under a layer as a whole, such
// as mmdebstrap makes of another release: with systemd, rpm, logrotate and procps in it.
func furnish(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	root := filepath.Join(dir, "root")
	layer := func(lower, name string) {
		t.Helper()
		upper, work, at := filepath.Join(dir, "upper-"+name), filepath.Join(dir, "work-"+name), filepath.Join(root, name)
		makeDirs(t, upper, work, at)
		if err := unix.Mount("overlay", at, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)); err != nil {
			t.Fatalf("overlay of %s: %v", lower, err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	}
	if tree := os.Getenv("SALT_BROKER_SERVICE_TREE"); tree != "" {
		layer(tree, "")
	} else {
		for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
			if to, err := os.Readlink("/" + name); err == nil {
				makeDirs(t, root)
				if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		layer("/usr", "usr")
		for _, name := range []string{"etc", "root", "var/lib/logrotate", "var/log"} {
			makeDirs(t, filepath.Join(root, name))
		}
		for _, name := range []string{"alternatives", "group", "ld.so.cache", "login.defs", "nsswitch.conf", "passwd", "shadow"} {
			if _, err := os.Lstat("/etc/" + name); err == nil {
				output(t, "cp", "-a", "/etc/"+name, filepath.Join(root, "etc"))
			}
		}
	}
	for name, text := range map[string]string{
		"etc/machine-id": "2ac5aaf1b6c04c8d9b2b4c1f2d6c7a55\n",
		"etc/hostname":   "broker\n",
		"etc/rpm/macros": "%_dbpath /var/lib/rpm\n", // Debian has it below the home directory
		// As on Fedora and RHEL; on Debian everything is enabled.
		"etc/systemd/system-preset/99-default.preset": "disable *\n",
	} {
		makeDirs(t, filepath.Dir(filepath.Join(root, name)))
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func makeDirs(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// path is where a file of the machine is for the test.
func (m *machine) path(name string) string { return filepath.Join("/proc", m.leader, "root", name) }

// try runs a program in the machine and returns what it says.
func (m *machine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if m.leader == "" {
		return "", errors.New("there is no machine")
	}
	c := exec.CommandContext(ctx, "nsenter", append([]string{"--all", "--target=" + m.leader, "--"}, args...)...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "SYSTEMD_COLORS=0"}
	out, err := c.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run runs a program that must not fail in the machine.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// property is what systemd says of the service.
func (m *machine) property(name string) string {
	m.t.Helper()
	return m.run("systemctl", "show", "--property="+name, "--value", "salt-broker")
}

// expect checks properties of the service, given as name=value.
func (m *machine) expect(t *testing.T, properties ...string) {
	t.Helper()
	for _, p := range properties {
		name, want, _ := strings.Cut(p, "=")
		if got := m.property(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// read is a file of the machine.
func (m *machine) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(m.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write makes what there is in a file of the machine longer. Its owner and mode stay.
func (m *machine) write(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(m.path(name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// exists says whether the machine has a file.
func (m *machine) exists(name string) bool {
	_, err := os.Lstat(m.path(name))
	return err == nil
}
