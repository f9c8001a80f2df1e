//go:build linux

package service_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The version is the tag's, and how far the tree is from it; rpm and dpkg sort it as it is meant.
func TestVersionComesFromTheTag(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeDirs(t, filepath.Join(dir, "pkg"))
	git := func(args ...string) string {
		t.Helper()
		return output(t, "git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false"}, args...)...)
	}
	output(t, "cp", "../../pkg/version", filepath.Join(dir, "pkg"))
	git("init", "--quiet")
	commit := func() string {
		t.Helper()
		git("commit", "--quiet", "--allow-empty", "--message=x")
		return git("rev-parse", "--short=10", "HEAD")
	}
	version := func(want string) string {
		t.Helper()
		got := output(t, filepath.Join(dir, "pkg/version"))
		if got != want {
			t.Errorf("version %q, want %q", got, want)
		}
		return got
	}
	version("0.0.0") // before the first commit
	git("add", ".")
	first := commit()
	sorted := []string{version("0.0.0+1.g" + first)}
	git("tag", "v1.2.3-rc1")
	sorted = append(sorted, version("1.2.3~rc1"))
	commit()
	git("tag", "v1.2.3")
	git("tag", "unrelated")
	sorted = append(sorted, version("1.2.3"))
	further := commit()
	sorted = append(sorted, version("1.2.3+1.g"+further))
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	version("1.2.3+1.g" + further + ".dirty")
	for i, later := range sorted[1:] {
		if said := output(t, "rpm", "--eval", `%{lua:print(rpm.vercmp("`+sorted[i]+`", "`+later+`"))}`); said != "-1" {
			t.Errorf("rpm sorts %s and %s by %s", sorted[i], later, said)
		}
		if dpkg, err := exec.LookPath("dpkg"); err == nil {
			output(t, dpkg, "--compare-versions", sorted[i], "lt", later)
		}
	}
}

// What systemd 239 (RHEL 8) does not know it leaves out with a line in its log. That may cost confinement there, and must not
// cost anything else.
func TestUnitForSystemd239(t *testing.T) {
	t.Parallel()
	const known = `
		Description Documentation Wants After StartLimitIntervalSec Type NotifyAccess ExecStart ExecReload WatchdogSec Restart
		RestartSec RestartPreventExitStatus Environment TimeoutStartSec TimeoutStopSec User Group LimitNOFILE LimitCORE
		OOMScoreAdjust UMask CapabilityBoundingSet AmbientCapabilities NoNewPrivileges ProtectSystem ReadWritePaths ProtectHome
		PrivateTmp PrivateDevices PrivateMounts PrivateUsers DevicePolicy ProtectKernelTunables ProtectKernelModules
		ProtectControlGroups RestrictNamespaces RestrictRealtime LockPersonality MemoryDenyWriteExecute RemoveIPC
		RestrictAddressFamilies SystemCallArchitectures SystemCallFilter SystemCallErrorNumber WantedBy `
	const confines = "ProtectKernelLogs ProtectClock ProtectHostname ProtectProc ProcSubset RestrictSUIDSGID" // 242 to 247
	text, err := os.ReadFile("../../pkg/rpm/salt-broker.service")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		lines++
		if !slices.Contains(strings.Fields(known+confines), name) {
			t.Errorf("%s is not of systemd 239", name)
		}
		if name == "Type" && value != "notify" {
			t.Errorf("Type is %s", value) // notify-reload is of 253
		}
	}
	if lines < 40 {
		t.Errorf("%d settings", lines)
	}
}
