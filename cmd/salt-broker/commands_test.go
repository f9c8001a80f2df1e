package main

import (
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

func TestCheckConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) { writeFile(t, filepath.Join(dir, name), text) }
	write("fine/broker", "master: salt.example.org\n")
	write("more/broker", "master: salt.example.org\nhash_type: sha256\n")
	write("more/broker.d/b.conf", "ret_port: '4516'\n")
	write("more/broker.d/a.conf", "ret_port: 4526\n")
	write("more/broker.d/c.txt", "nonsense")
	write("alone/broker", "default_include: ''\n")
	write("alone/broker.d/a.conf", "nonsense")
	write("faults/broker", "publish_port: 70000\nlog_lvl: info\n")
	write("faults/broker.d/a.conf", "max_in_flight: 0\n")

	for _, test := range []struct {
		name string
		code int
		says string
	}{
		{"fine", 0, "configuration is fine: {}/broker"},
		{"more", 0, "warning: hash_type: means something to Salt only and is ignored [{}/broker:2]\n" +
			"configuration is fine: {}/broker, {}/broker.d/a.conf, {}/broker.d/b.conf"},
		{"alone", 0, "configuration is fine: {}/broker"},
		{"faults", 2, "publish_port: 70000 is not a port (1 to 65535) [{}/broker:1]\n" +
			"log_lvl: is not known; is log_level meant? [{}/broker:2]\n" +
			"max_in_flight: 0 is not a whole number from 1 to 100000 [{}/broker.d/a.conf:1]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			own := filepath.Join(dir, test.name)
			p := launch(t, "check-config", "-c", own)
			p.expect(t, test.code, "")
			if got, want := p.stdout.String(), strings.ReplaceAll(test.says, "{}", own)+"\n"; got != want {
				t.Errorf("it says\n%swant\n%s", got, want)
			}
		})
	}
}

func TestCheckConfigTakesFlagsInFrontOfTheCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "broker"), "")
	launch(t, "-c", dir, "check-config").expect(t, 0, "")
	launch(t, "-c", dir, "-l", "info", "check-config", "--log-file", "/var/log/x").expect(t, 0, "")
	launch(t, "check-config", "-c", dir, "-d").expect(t, 2,
		"salt-broker: unknown shorthand flag: 'd' in -d; see salt-broker check-config --help")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	p := launch(t, "--version")
	p.expect(t, 0, "")
	if got, want := p.stdout.String(), "salt-broker "+testVersion+"\n"; got != want {
		t.Errorf("--version says %q, want %q", got, want)
	}
	p = launch(t, "version")
	p.expect(t, 0, "")
	want := regexp.MustCompile(`^salt-broker 1\.2\.3-test\ncommit: unknown\ngo: go1\.\S+ linux/\S+\nzmq4: v\d+\.\d+\.\d+\nZMTP: 3\.1 and 3\.0, mechanism NULL\n$`)
	if got := p.stdout.String(); !want.MatchString(got) {
		t.Errorf("version says %q", got)
	}
}

func TestVersionOfABuild(t *testing.T) {
	setting := func(pairs ...string) (all []debug.BuildSetting) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return all
	}
	for _, test := range []struct {
		name    string
		info    debug.BuildInfo
		version string
		commit  string
	}{
		{"nothing known", debug.BuildInfo{}, "devel", "unknown"},
		{
			"a work tree",
			debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: setting("vcs.revision", "abc", "vcs.time", "2026-11-21T10:00:00Z", "vcs.modified", "true")},
			"devel", "abc of 2026-11-21T10:00:00Z, with changes",
		},
		{"a module", debug.BuildInfo{Main: debug.Module{Version: "v1.0.0"}, Settings: setting("vcs.revision", "abc", "vcs.modified", "false")}, "v1.0.0", "abc"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := versionOf(&test.info); got != test.version {
				t.Errorf("version %q, want %q", got, test.version)
			}
			if got := commitOf(&test.info); got != test.commit {
				t.Errorf("commit %q, want %q", got, test.commit)
			}
		})
	}
	commit = "def of 2026-11-22T10:00:00Z" // as a package has it
	defer func() { commit = "" }()
	if got := commitOf(&debug.BuildInfo{}); got != commit {
		t.Errorf("commit %q, want %q", got, commit)
	}
	const path = "github.com/go-zeromq/zmq4"
	replaced := debug.BuildInfo{Deps: []*debug.Module{{Path: path, Version: "v0.1.0", Replace: &debug.Module{Version: "v0.2.0"}}}}
	if got := moduleOf(&replaced, path); got != "v0.2.0" {
		t.Errorf("a replaced module has version %s", got)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"help"}, {"run", "-h"}, {"check-config", "--help"}, {"version", "--help"}} {
		p := launch(t, args...)
		p.expect(t, 0, "")
		for line := range strings.Lines(p.stdout.String()) {
			if n := len(line) - 1; n > 120 {
				t.Errorf("%v: a line of %d characters: %q", args, n, line)
			}
		}
	}
}
