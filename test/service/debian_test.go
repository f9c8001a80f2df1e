//go:build linux

package service_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salt-broker/test/internal/apart"
)

// What dpkg is to believe: the machine has the programs of this one, and none of its packages.
const dpkgStatus = `Package: systemd
Status: install ok installed
Maintainer: test/service
Architecture: all
Version: 239
Description: what the package of salt-broker depends on

`

// debian is the service in a machine with dpkg. Its steps follow each other.
type debian struct {
	*machine
	pid string
}

// The life of the Debian package, in a machine with a network of its own: TestLife has the ports.
func TestDebian(t *testing.T) {
	t.Parallel()
	if program := apart.Lacks(debianPrograms...); program != "" {
		if os.Getenv("SALT_BROKER_REQUIRE_TOOLS") == "1" {
			t.Fatal(program + " is not installed")
		}
		t.Skip(program + " is not installed: see .ci/run")
	}
	d := &debian{machine: boot(t, "--private-network")}
	if !d.exists("/var/lib/dpkg/status") {
		for _, name := range []string{"info", "updates", "triggers"} {
			makeDirs(t, d.path("/var/lib/dpkg/"+name))
		}
		d.write(t, "/var/lib/dpkg/status", dpkgStatus)
	}
	d.run("rm", "/etc/systemd/system-preset/99-default.preset") // on Debian everything is enabled
	d.run("rm", "-f", "/usr/sbin/policy-rc.d")                  // this machine may be one where nothing is to be started
	for to, version := range map[string]string{"old.deb": oldVersion, "new.deb": newVersion} {
		output(t, "cp", theDeb(t, version), d.path("/root/"+to))
	}
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := d.try("journalctl", "--no-pager", "--lines=60")
			t.Log(said)
		}
	})
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"contents", d.contents},
		{"install", d.install},
		{"upgrade", d.upgrade},
		{"disabled stays so", d.disabled},
		{"remove", d.remove},
		{"purge", d.purge},
	} {
		t.Run(step.name, func(t *testing.T) {
			d.t = t
			step.do()
		})
	}
}

// theDeb is what `make deb` makes.
func theDeb(t *testing.T, version string) string {
	t.Helper()
	return glob(t, os.Getenv(inside), "salt-broker_"+version+"_*.deb", "")
}

// It has the files of the rpm, but for what is elsewhere on Debian, with the same modes; all are root's until postinst.
func (d *debian) contents() {
	t := d.t
	deb := theDeb(t, newVersion)
	if again := glob(t, filepath.Join(os.Getenv(inside), "again"), "*.deb", ""); !same(t, deb, again) {
		t.Error("made twice it is not the same")
	}
	control := output(t, "dpkg-deb", "--field", deb)
	for _, want := range []string{"Package: salt-broker", "Version: " + newVersion, "Depends: systemd", "Recommends: logrotate"} {
		if !strings.Contains("\n"+control+"\n", "\n"+want+"\n") {
			t.Errorf("no %q in\n%s", want, control)
		}
	}
	in := map[string]string{}
	for line := range strings.Lines(output(t, "dpkg-deb", "--contents", deb)) {
		f := strings.Fields(line) // mode, owner, bytes, day, time, name
		in[strings.TrimPrefix(f[5], ".")] = f[0] + " " + f[1]
	}
	rpm, _ := theNew(t)
	owner := strings.NewReplacer(" root salt-broker", " root/root", " root root", " root/root")
	for line := range strings.Lines(output(t, "rpm", "-qp", "--queryformat=[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME}\\n]", rpm)) {
		name, want, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.HasPrefix(name, "/usr/share/licenses/"): // it is copyright
			continue
		case name == log: // tmpfiles makes it
			continue
		case strings.HasPrefix(name, "/usr/share/doc/"): // some rpms have the version in the name
			name = strings.Replace(name, "salt-broker-"+newVersion, "salt-broker", 1)
		case strings.HasPrefix(name, "/usr/share/man/"):
			name = strings.TrimSuffix(name, ".gz") + ".gz"
		}
		if strings.HasPrefix(want, "d") {
			name += "/"
		}
		if got := in[name]; got != owner.Replace(want) {
			t.Errorf("%s is %q, in the rpm %q", name, got, want)
		}
	}
	for _, name := range []string{"copyright", "THIRD-PARTY-LICENSES"} {
		if in["/usr/share/doc/salt-broker/"+name] == "" {
			t.Errorf("no %s", name)
		}
	}
}

// As all services on Debian, it runs when it is installed.
func (d *debian) install() {
	t := d.t
	d.run("dpkg", "--install", "/root/old.deb")
	d.expect(t, "UnitFileState=enabled", "ActiveState=active")
	for name, want := range map[string]string{
		config:          "640 root:salt-broker",
		config + ".d":   "750 root:salt-broker",
		log:             "640 salt-broker:salt-broker",
		"/var/log/salt": "755 root:root",
	} {
		if got := d.run("stat", "--format=%a %U:%G", name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if owner := d.run("stat", "--format=%U:%G", "/proc/"+d.property("MainPID")); owner != "salt-broker:salt-broker" {
		t.Errorf("it is %s", owner)
	}
	d.pid = d.property("MainPID")
}

func (d *debian) upgrade() {
	t := d.t
	d.write(t, config, "max_in_flight: 77\n")
	edited := d.read(t, config)
	d.run("dpkg", "--install", "/root/new.deb")
	if got := d.read(t, config); got != edited {
		t.Errorf("the edited configuration is now\n%s", got)
	}
	d.expect(t, "UnitFileState=enabled", "ActiveState=active")
	if d.property("MainPID") == d.pid {
		t.Error("the old process goes on")
	}
	if said := d.run("salt-broker", "version"); !strings.HasPrefix(said, "salt-broker "+newVersion+"\n") {
		t.Errorf("version says %s", said)
	}
	if text := d.read(t, log); !strings.Contains(text, " max_in_flight=77 ") {
		t.Errorf("the new process does not follow the edited configuration:\n%s", text)
	}
}

func (d *debian) disabled() {
	t := d.t
	d.run("systemctl", "disable", unit)
	d.run("dpkg", "--install", "/root/new.deb")
	d.expect(t, "UnitFileState=disabled", "ActiveState=active") // it ran
	d.run("systemctl", "enable", unit)
}

// What the operator has written stays, and nothing runs.
func (d *debian) remove() {
	t := d.t
	pid := d.property("MainPID")
	d.run("dpkg", "--remove", "salt-broker")
	if d.exists("/proc/" + pid) {
		t.Error("the process goes on")
	}
	if d.exists("/usr/bin/salt-broker") || d.exists("/usr/lib/systemd/system/"+unit) {
		t.Error("files stay")
	}
	if !d.exists(config) {
		t.Error("the configuration is gone")
	}
}

func (d *debian) purge() {
	t := d.t
	d.run("dpkg", "--purge", "salt-broker")
	links, err := filepath.Glob(d.path("/etc/systemd/system/*/" + unit))
	if err != nil || len(links) > 0 {
		t.Errorf("links stay: %q (%v)", links, err)
	}
	for _, name := range []string{config, log, "/etc/logrotate.d/salt-broker", "/etc/systemd/system/" + unit} {
		if d.exists(name) {
			t.Errorf("%s stays", name)
		}
	}
}
