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
	golang := []string{"golang >= 1.26", "systemd-rpm-macros"}
	theirs := map[string]string{"post": "their post ", "preun": "their preun ", "postun": "their postun "}
	ours := map[string]string{
		"post":   "systemctl --no-reload preset ",
		"preun":  "systemctl --no-reload disable --now ",
		"postun": "systemctl try-restart ",
	}
	for _, test := range []struct {
		name     string
		defines  []string
		release  string
		requires []string
		at       string
		scripts  map[string]string
	}{
		{"Fedora 44", []string{"fedora 44", "dist .fc44"}, "1.fc44", golang, "/theirs/", theirs},
		{"RHEL 8", []string{"rhel 8", "dist .el8"}, "1.el8", golang, "/theirs/", theirs},
		{"RHEL 9", []string{"rhel 9", "dist .el9"}, "1.el9", golang, "/theirs/", theirs},
		{"RHEL 10", []string{"rhel 10", "dist .el10"}, "1.el10", golang, "/theirs/", theirs},
		{"Debian", nil, "1", nil, "/usr/lib/", ours},
	} {
		t.Run(test.name, func(t *testing.T) {
			defines := test.defines
			if len(defines) > 0 {
				defines = slices.Concat(defines, []string{
					"_unitdir /theirs/systemd/system", "_sysusersdir /theirs/sysusers.d", "_tmpfilesdir /theirs/tmpfiles.d",
					"systemd_post() their post %{*}", "systemd_preun() their preun %{*}",
					"systemd_postun_with_restart() their postun %{*}",
				})
			}
			var args []string
			for _, define := range defines {
				args = append(args, "-D", define)
			}
			query := func(what ...string) string { return output(t, "rpmspec", slices.Concat(args, what, []string{spec})...) }
			if got := strings.Fields(query("-q", "--srpm", "--queryformat=%{RELEASE}")); len(got) != 1 || got[0] != test.release {
				t.Errorf("release %q, want %s", got, test.release)
			}
			var requires []string
			for line := range strings.Lines(query("-q", "--srpm", "--requires")) {
				requires = append(requires, strings.TrimSpace(line))
			}
			requires = slices.DeleteFunc(requires, func(s string) bool { return strings.HasPrefix(s, "rpmlib(") })
			if !slices.Equal(requires, test.requires) {
				t.Errorf("it is built with %q, want %q", requires, test.requires)
			}
			expanded := query("-P")
			for _, name := range []string{
				"systemd/system/salt-broker.service", "sysusers.d/salt-broker.conf", "tmpfiles.d/salt-broker.conf",
			} {
				if !strings.Contains(expanded, "\n"+test.at+name+"\n") {
					t.Errorf("%s is not in %s", name, test.at)
				}
			}
			for name, want := range test.scripts {
				_, script, _ := strings.Cut(expanded, "\n%"+name+"\n")
				if script, _, _ = strings.Cut(script, "\n%"); !strings.Contains(script, want+"salt-broker.service") {
					t.Errorf("%%%s is %s, want %q", name, script, want)
				}
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
