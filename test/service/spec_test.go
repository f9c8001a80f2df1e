//go:build linux

package service_test

import (
	"slices"
	"strings"
	"testing"
)

const spec = "../../pkg/rpm/salt-broker.spec"

// The spec asks each distribution for its packages and uses its macros; where there are none, as on Debian, it brings its own.
// The distributions are stood for by what rpm defines there: `make mock` has the real ones, and needs their repositories.
func TestSpecOfEachDistribution(t *testing.T) {
	t.Parallel()
	const ours = "systemctl --no-reload preset salt-broker.service"
	for _, test := range []struct {
		name     string
		defines  []string
		release  string
		requires []string
		unit     string
		post     string
	}{
		{"Fedora 44", []string{"fedora 44", "dist .fc44"}, "1.fc44", []string{"golang >= 1.26", "systemd-rpm-macros"}, "/theirs/", "their post salt-broker.service"},
		{"RHEL 8", []string{"rhel 8", "dist .el8"}, "1.el8", []string{"golang >= 1.26", "systemd-rpm-macros"}, "/theirs/", "their post salt-broker.service"},
		{"RHEL 9", []string{"rhel 9", "dist .el9"}, "1.el9", []string{"golang >= 1.26", "systemd-rpm-macros"}, "/theirs/", "their post salt-broker.service"},
		{"RHEL 10", []string{"rhel 10", "dist .el10"}, "1.el10", []string{"golang >= 1.26", "systemd-rpm-macros"}, "/theirs/", "their post salt-broker.service"},
		{"Debian", nil, "1", nil, "/usr/lib/systemd/system/", ours},
	} {
		t.Run(test.name, func(t *testing.T) {
			var args []string
			for _, define := range test.defines {
				args = append(args, "-D", define)
			}
			if len(args) > 0 {
				args = append(args, "-D", "_unitdir /theirs", "-D", "systemd_post() their post %{*}")
			}
			query := func(what ...string) string { return output(t, "rpmspec", slices.Concat(args, what, []string{spec})...) }
			if got := strings.Fields(query("-q", "--srpm", "--queryformat=%{RELEASE}")); len(got) != 1 || got[0] != test.release {
				t.Errorf("release %q, want %s", got, test.release)
			}
			var requires []string
			for line := range strings.Lines(query("-q", "--srpm", "--requires")) {
				requires = append(requires, strings.TrimSpace(line))
			}
			if got := slices.DeleteFunc(requires, func(s string) bool { return strings.HasPrefix(s, "rpmlib(") }); !slices.Equal(got, test.requires) {
				t.Errorf("it is built with %q, want %q", got, test.requires)
			}
			expanded := query("-P")
			if !strings.Contains(expanded, "\n"+test.unit+"salt-broker.service\n") {
				t.Errorf("the unit is not in %s", test.unit)
			}
			_, post, _ := strings.Cut(expanded, "\n%post\n")
			if post, _, _ = strings.Cut(post, "%preun"); !strings.Contains(post, test.post) {
				t.Errorf("%%post is %s, want %q", post, test.post)
			}
		})
	}
}

// What rpmlint finds, pkg/rpm/rpmlint.toml has a reason for.
func TestRpmlint(t *testing.T) {
	t.Parallel()
	rpm, source := theNew(t)
	said := output(t, "rpmlint", "-c", "../../pkg/rpm/rpmlint.toml", spec, rpm, source)
	if !strings.Contains(said, "2 packages and 1 specfiles checked; 0 errors, 0 warnings, 0 badness") {
		t.Error(said)
	}
}
