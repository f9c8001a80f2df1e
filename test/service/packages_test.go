//go:build linux

package service_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The versions of the packages. There is no earlier release to upgrade from: the old one is made of the new one's source.
const (
	oldVersion = "0.0.1"
	newVersion = "0.0.2"
)

// theNew are the rpm and the src.rpm that `make rpm` makes.
func theNew(t *testing.T) (rpm, source string) {
	t.Helper()
	dir := os.Getenv(inside)
	return glob(t, dir, "salt-broker-"+newVersion+"-1*.rpm", ".src.rpm"), glob(t, dir, "salt-broker-"+newVersion+"-1*.src.rpm", "")
}

// glob is the only file of a name, but for those with another ending.
func glob(t *testing.T, dir, pattern, not string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range names {
		if not == "" || !strings.HasSuffix(name, not) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s is %q", pattern, found)
	}
	return found[0]
}

// rpmbuild runs rpmbuild without a network, with none of Go's modules at hand, in a place of its own.
func rpmbuild(t *testing.T, top string, args ...string) string {
	t.Helper()
	c := exec.Command("rpmbuild", append([]string{"--quiet", "--nodeps", "-D", "_topdir " + top}, args...)...)
	c.Env = append(os.Environ(), "GOMODCACHE="+t.TempDir(), "GOFLAGS=", "SOURCE_DATE_EPOCH="+epoch(t), "LC_ALL=C", "TZ=UTC")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("rpmbuild %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return filepath.Join(top, "RPMS")
}

// epoch is the time that the new package was built for.
func epoch(t *testing.T) string {
	t.Helper()
	rpm, _ := theNew(t)
	return output(t, "rpm", "-qp", "--queryformat=%{BUILDTIME}", rpm)
}

// makeOld makes an earlier version, with another example of a configuration, of the new one's src.rpm.
func makeOld(t *testing.T) string {
	t.Helper()
	_, source := theNew(t)
	top := t.TempDir()
	sources := filepath.Join(top, "SOURCES")
	makeDirs(t, sources)
	output(t, "sh", "-ec", `cd "$1"; rpm2cpio "$2" | cpio --quiet -id; mv salt-broker-$3.tar.gz salt-broker-$4.tar.gz
		mv salt-broker-$3-vendor.tar.gz salt-broker-$4-vendor.tar.gz
		sed -i -e "s/^%global version_of_tag .*/%global version_of_tag $4/" -e "s/^%setup -q -a 1/%setup -q -a 1 -n salt-broker-$3/" \
			-e "s/^%build/echo '# of the old version' >>pkg\/rpm\/broker.example\n&/" -e "s/^\(\* .*\) - .*/\1 - $4-1/" salt-broker.spec`,
		"sh", sources, source, newVersion, oldVersion)
	return glob(t, filepath.Join(rpmbuild(t, top, "-bb", filepath.Join(sources, "salt-broker.spec")), "*"), "salt-broker-"+oldVersion+"-1*.rpm", "")
}

// stands is a package that says it is what RHEL has and the machine does not.
const stands = `Name: stands-for-a-distribution
Version: 1
Release: 1
Summary: What the package of salt-broker requires
License: none
BuildArch: noarch
Provides: /bin/sh, systemd, shadow-utils, logrotate
%description
.
%files
`

func makeStand(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	spec := filepath.Join(top, "stands.spec")
	if err := os.WriteFile(spec, []byte(stands), 0o600); err != nil {
		t.Fatal(err)
	}
	return glob(t, filepath.Join(rpmbuild(t, top, "-bb", spec), "noarch"), "*.rpm", "")
}

// The src.rpm has all that is needed, and the same source makes the same bytes, in the same place: the src.rpm records it.
func TestSourceRebuildsOfflineAsTheSame(t *testing.T) {
	t.Parallel()
	rpm, source := theNew(t)
	top := filepath.Join(os.Getenv(inside), "top")
	output(t, "rpm", "-i", "-D", "_topdir "+top, source)
	rpmbuild(t, top, "-ba", filepath.Join(top, "SPECS/salt-broker.spec"))
	for _, pair := range [][2]string{
		{rpm, glob(t, filepath.Join(top, "RPMS/*"), "salt-broker-*.rpm", "")},
		{source, glob(t, filepath.Join(top, "SRPMS"), "salt-broker-*.rpm", "")},
	} {
		if !same(t, pair[0], pair[1]) {
			t.Errorf("%s and its rebuild are not the same", filepath.Base(pair[0]))
		}
	}
}

// link is one of a page to another, or to a picture or a file beside it.
var link = regexp.MustCompile(`(?m)<([^<>:#\s]+\.(?:rst|conf))(?:#[^<>]*)?>\x60|^__ (\S+\.rst)$|^\.\. (?:image|figure):: (\S+)$`)

// Who has the package has the documentation whole, with the dashboard and the alert rules: it is laid out as in the tree, and
// every link leads to a page of it.
func TestDocumentationIsWhole(t *testing.T) {
	t.Parallel()
	rpm, _ := theNew(t)
	dir := t.TempDir()
	output(t, "sh", "-ec", `cd "$1"; rpm2cpio "$2" | cpio --quiet -id`, "sh", dir, rpm)
	top := glob(t, dir, "usr/share/doc/*", "")
	for _, name := range []string{"contrib/grafana/salt-broker.json", "contrib/prometheus/salt-broker.rules.yml"} {
		if _, err := os.Stat(filepath.Join(top, name)); err != nil {
			t.Error(err)
		}
	}
	links := 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".rst" {
			return err
		}
		page, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range link.FindAllStringSubmatch(string(page), -1) {
			links++
			to := filepath.Join(filepath.Dir(path), strings.Join(found[1:], ""))
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s has a link to %s, which is not in the package", path, to)
			}
		}
		return nil
	})
	if err != nil || links < 50 {
		t.Errorf("%d links, %v", links, err)
	}
}

// The license of each module that is in the program goes along with it, and is among those that the package names.
func TestLicensesOfModules(t *testing.T) {
	t.Parallel()
	rpm, _ := theNew(t)
	dir := t.TempDir()
	output(t, "sh", "-ec", `cd "$1"; rpm2cpio "$2" | cpio --quiet -id`, "sh", dir, rpm)
	text, err := os.ReadFile(filepath.Join(glob(t, dir, "usr/share/licenses/*", ""), "THIRD-PARTY-LICENSES"))
	if err != nil {
		t.Fatal(err)
	}
	modules := regexp.MustCompile(`(?m)^\s*dep\s+(\S+)\s`).
		FindAllStringSubmatch(output(t, "go", "version", "-m", filepath.Join(dir, "usr/bin/salt-broker")), -1)
	if len(modules) < 20 {
		t.Errorf("the program has %d modules", len(modules))
	}
	for _, module := range modules {
		if !strings.Contains(string(text), "\n==== "+module[1]+": ") && !strings.HasPrefix(string(text), "==== "+module[1]+": ") {
			t.Errorf("no license of %s", module[1])
		}
	}
	license := output(t, "rpm", "-qp", "--queryformat=%{LICENSE}", rpm)
	for says, name := range map[string]string{
		"Apache License": "Apache-2.0", "Permission is hereby granted, free of charge": "MIT",
		"Neither the name of": "BSD-3-Clause",
	} {
		if strings.Contains(string(text), says) != strings.Contains(license, name) {
			t.Errorf("the package is under %q; does one of the modules say %q?", license, says)
		}
	}
}

// same says whether two files have the same bytes.
func same(t *testing.T, one, other string) bool {
	t.Helper()
	first, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(first, second)
}
