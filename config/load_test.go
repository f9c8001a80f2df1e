package config

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Who names the main file, from the strongest to the weakest.
func TestFilePrecedence(t *testing.T) {
	dir := directory(t, map[string]string{"flag/broker": "", "env/broker": "", "alone.conf": ""})
	all := map[string]string{
		"SALT_BROKER_CONFIG":    filepath.Join(dir, "env"),
		"SALT_BROKER_CONF_FILE": "/uyuni/broker.yaml",
		"SALT_CONFIG_DIR":       "/salt",
	}
	only := func(names ...string) map[string]string {
		some := maps.Clone(all)
		maps.DeleteFunc(some, func(name, _ string) bool { return !strings.Contains(strings.Join(names, " "), name) })
		return some
	}
	for _, test := range []struct {
		name string
		path string
		env  map[string]string
		want string
	}{
		{"-c, a directory", filepath.Join(dir, "flag"), all, filepath.Join(dir, "flag", "broker")},
		{"-c, a file", filepath.Join(dir, "alone.conf"), all, filepath.Join(dir, "alone.conf")},
		{"-c, nothing there", filepath.Join(dir, "none"), all, filepath.Join(dir, "none", "broker")},
		{"SALT_BROKER_CONFIG, a directory", "", all, filepath.Join(dir, "env", "broker")},
		{"SALT_BROKER_CONFIG, a file", "", map[string]string{"SALT_BROKER_CONFIG": filepath.Join(dir, "alone.conf")}, filepath.Join(dir, "alone.conf")},
		{"SALT_BROKER_CONF_FILE", "", only("SALT_BROKER_CONF_FILE", "SALT_CONFIG_DIR"), "/uyuni/broker.yaml"},
		{"SALT_CONFIG_DIR", "", only("SALT_CONFIG_DIR"), "/salt/broker"},
		{"empty variables", "", map[string]string{"SALT_BROKER_CONFIG": "", "SALT_BROKER_CONF_FILE": "", "SALT_CONFIG_DIR": ""}, "/etc/salt/broker"},
		{"nothing", "", nil, "/etc/salt/broker"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if file := (Options{Path: test.path, Env: variables(test.env)}).File(); file != test.want {
				t.Errorf("%s, want %s", file, test.want)
			}
		})
	}
	if file := (Options{}).File(); file != "/etc/salt/broker" {
		t.Errorf("without an environment: %s", file)
	}
}

// Who says a value, from the weakest to the strongest.
func TestValuePrecedence(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		env   string
		flag  string
		want  string
	}{
		{"default", map[string]string{"broker": ""}, "", "", "/var/log/salt/broker"},
		{"main file", map[string]string{"broker": "log_file: /main"}, "", "", "/main"},
		{"include", map[string]string{"broker": "log_file: /main", "broker.d/a.conf": "log_file: /include"}, "", "", "/include"},
		{"later include", map[string]string{"broker.d/b.conf": "log_file: /b", "broker": "log_file: /main", "broker.d/a.conf": "log_file: /a"}, "", "", "/b"},
		{"include without a value", map[string]string{"broker": "log_file: /main", "broker.d/a.conf": "log_file:"}, "", "", "/var/log/salt/broker"},
		{"environment", map[string]string{"broker": "log_file: /main", "broker.d/a.conf": "log_file: /include"}, "/env", "", "/env"},
		{"flag", map[string]string{"broker": "log_file: /main"}, "/env", "/flag", "/flag"},
		{"Uyuni's 0", map[string]string{"broker": "log_to_file: 0"}, "/env", "", ""},
		{"Uyuni's 1", map[string]string{"broker": "log_to_file: 1"}, "/env", "", "/env"},
		{"Uyuni's 0 and a flag", map[string]string{"broker": "log_to_file: 0"}, "/env", "/flag", "/flag"},
		{"not a .conf", map[string]string{"broker": "log_file: /main", "broker.d/a.conf.rpmsave": "log_file: /old"}, "", "", "/main"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := Options{Path: directory(t, test.files), Env: variables(map[string]string{"SALT_BROKER_LOGFILE": test.env})}
			if test.flag != "" {
				o.Flags = map[string]string{"log_file": test.flag}
			}
			c, _, err := Load(o)
			if err != nil || c.LogFile != test.want {
				t.Errorf("%q, want %q; %v", c.LogFile, test.want, err)
			}
		})
	}
}

func TestInclude(t *testing.T) {
	elsewhere := directory(t, map[string]string{"x.conf": "user: elsewhere"})
	for _, test := range []struct {
		name     string
		files    map[string]string
		want     string
		warnings []string
	}{
		{"in the order of names", map[string]string{"broker": "", "broker.d/10.conf": "user: ten", "broker.d/9.conf": "user: nine"}, "nine", nil},
		{"another pattern", map[string]string{"broker": "default_include: '*/*.yml'", "b/1.yml": "user: b", "a/2.yml": "user: a"}, "b", nil},
		{"absolute", map[string]string{"broker": "default_include: " + elsewhere + "/*.conf"}, "elsewhere", nil},
		{"none", map[string]string{"broker": "default_include: ''\nuser: main", "broker.d/a.conf": "user: a"}, "main", nil},
		{"not the main file again", map[string]string{"broker": "default_include: '*'\nuser: main", "a": "user: a"}, "a", nil},
		{"nothing there", map[string]string{"broker": "default_include: other.d/*.conf"}, "", []string{
			"default_include: other.d/*.conf names no file [DIR/broker:1]",
		}},
		{"in an include", map[string]string{"broker": "", "broker.d/a.conf": "default_include: c.d/*\nuser: a", "c.d/c": "user: c"}, "a", []string{
			"default_include: c.d/* has an effect in the main file only [DIR/broker.d/a.conf:1]",
		}},
		{"warnings in the order of files", map[string]string{"broker": "id: a", "broker.d/b.conf": "id: b", "broker.d/a.conf": "\nid: c\nlog_to_file:"}, "", []string{
			"id: means something to Salt only and is ignored [DIR/broker:1]",
			"id: means something to Salt only and is ignored [DIR/broker.d/a.conf:2]",
			"log_to_file: has no value and counts as not given [DIR/broker.d/a.conf:3]",
			"id: means something to Salt only and is ignored [DIR/broker.d/b.conf:1]",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := directory(t, test.files)
			c, warnings, err := Load(Options{Path: dir})
			if err != nil || c.User != test.want {
				t.Errorf("%q, want %q; %v", c.User, test.want, err)
			}
			for i := range warnings {
				warnings[i].File = strings.Replace(warnings[i].File, dir, "DIR", 1)
			}
			compare(t, warnings, test.warnings)
		})
	}
}

func TestLoadFaults(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		flags map[string]string
		want  []string
	}{
		{"no main file", map[string]string{"minion": ""}, nil, []string{
			"cannot read DIR/broker (from -c): no such file or directory; write it, it may be empty, or say with -c in which directory the file broker is",
		}},
		{"main file is a directory", map[string]string{"broker/x": ""}, nil, []string{"cannot read DIR/broker (from -c): is a directory"}},
		{"main file has no end", map[string]string{"broker": strings.Repeat("#\n", 1<<19+1)}, nil, []string{
			"cannot read DIR/broker (from -c): it has more than 1 MiB",
		}},
		{"include is a directory", map[string]string{"broker": "", "broker.d/a.conf/x": ""}, nil, []string{
			"cannot be read: is a directory [DIR/broker.d/a.conf]",
		}},
		{"every file, in order", map[string]string{"broker.d/b.conf": "ret_port: b", "broker": "user: /\nmaster: /", "broker.d/a.conf": "mastre: x\nloops: ["}, nil, []string{
			"user: / is not the name of a user [DIR/broker:1]",
			"master: / is not a host, host:port or [IPv6 address]:port [DIR/broker:2]",
			"broken YAML: did not find expected node content [DIR/broker.d/a.conf:2]",
			"ret_port: b is not a port (1 to 65535) [DIR/broker.d/b.conf:1]",
		}},
		{"a fault that a later file takes back", map[string]string{"broker": "ret_port: b", "broker.d/a.conf": "ret_port: 4506"}, nil, nil},
		{"the same of a map", map[string]string{"broker": "ret_port: {a: b}", "broker.d/a.conf": "ret_port: 4506"}, nil, nil},
		{"the same of a map of numbers", map[string]string{"broker": "ret_port: {1: 2}", "broker.d/a.conf": "ret_port: 4506"}, nil, nil},
		{"a map over a value", map[string]string{"broker": "ret_port: 4506", "broker.d/a.conf": "ret_port: {1: 2}"}, nil, []string{
			"ret_port: a map is not a port (1 to 65535) [DIR/broker.d/a.conf:1]",
		}},
		{"a list of nothing over a master", map[string]string{"broker": "master: a", "broker.d/a.conf": "master: [~]"}, nil, []string{
			"master: a list of 1 is not a host, host:port or [IPv6 address]:port [DIR/broker.d/a.conf:1]",
		}},
		{"flags", map[string]string{"broker": "log_level: info"}, map[string]string{"log_level": "loud", "colors": "red", "pidfile": "pid"}, []string{
			"colors: is not known; is color meant? [command line]",
			"pidfile: pid is not the absolute path of a file [command line]",
			"log_level: loud is not a log level (all, garbage, trace, debug, profile, info, warning, error, critical, quiet) [command line]",
		}},
		{"two files that contradict each other", map[string]string{"broker": "publish_port: 4600", "broker.d/a.conf": "\nret_port: 4600"}, nil, []string{
			"ret_port: 4600 is the publish_port as well [DIR/broker.d/a.conf:2]",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := directory(t, test.files)
			_, _, err := Load(Options{Path: dir, Flags: test.flags})
			var faults Faults
			if errors.As(err, &faults) != (test.want != nil) {
				t.Fatalf("%v", err)
			}
			if is, want := strings.ReplaceAll(faults.Error(), dir, "DIR"), strings.Join(test.want, "\n"); is != want {
				t.Errorf("%s\nwant\n%s", is, want)
			}
		})
	}
}

// What a directory that cannot be read has in it is not left out in silence: who may connect may be said there.
func TestUnreadableDirectory(t *testing.T) {
	dir := directory(t, map[string]string{"broker": "user: main"})
	// Nobody can read it, not even root, to whom permissions mean nothing.
	if err := os.Symlink("broker.d", filepath.Join(dir, "broker.d")); err != nil {
		t.Fatal(err)
	}
	_, _, err := Load(Options{Path: dir})
	if want := "cannot be read: too many levels of symbolic links [" + dir + "/broker.d]"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

// The fault says who named a file that is not there, and nothing when nobody did.
func TestMissingFile(t *testing.T) {
	for name, want := range map[string]string{
		"SALT_BROKER_CONFIG":    "cannot read /none/broker (from SALT_BROKER_CONFIG): no such file",
		"SALT_BROKER_CONF_FILE": "cannot read /none (from SALT_BROKER_CONF_FILE): no such file",
		"SALT_CONFIG_DIR":       "cannot read /none/broker (from SALT_CONFIG_DIR): no such file",
	} {
		_, _, err := Load(Options{Env: variables(map[string]string{name: "/none"})})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	nobody := missing("/etc/salt/broker", "", &fs.PathError{Op: "open", Path: "/etc/salt/broker", Err: syscall.EACCES})
	if want := "cannot read /etc/salt/broker: permission denied"; nobody != want {
		t.Errorf("%s\nwant %s", nobody, want)
	}
}

// SALT_BROKER_LOGFILE is judged as a value of log_file.
func TestFaultInEnvironment(t *testing.T) {
	dir := directory(t, map[string]string{"broker": ""})
	_, _, err := Load(Options{Path: dir, Env: variables(map[string]string{"SALT_BROKER_LOGFILE": "log"})})
	if want := "log_file: log is not the absolute path of a file [SALT_BROKER_LOGFILE]"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}
