package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"salt-broker/config"
)

func TestWhatStopsAStart(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		writeFile(t, filepath.Join(dir, name), text)
		return filepath.Join(dir, name)
	}
	empty := file("empty", "log_file: ''\n")
	broken := file("broken", "master: salt\npublish_port: [4505\nret_port: 4506\n")
	typo := file("typo", "# one\npublish_prot: 4505\n")
	two := file("two", "publish_port: 0\nret_port: x\n")
	nobody := file("nobody", "log_file: ''\nuser: no-such-user\n")
	missing := filepath.Join(dir, "missing")
	noDir := filepath.Join(missing, "broker.log")

	for _, test := range []struct {
		name string
		args []string
		code int
		says string // {} is the temporary directory
	}{
		{"no configuration", []string{"-c", missing}, 2, "cannot read {}/missing/broker (from -c): no such file or directory; write it, it may be empty, or say with -c in which directory the file broker is"},
		{"a file that is a directory", []string{"-c", file("d/broker/x", "")[:len(dir)+2]}, 2, "cannot read {}/d/broker (from -c): is a directory"},
		{"broken YAML", []string{"-c", broken}, 2, "broken YAML: did not find expected ',' or ']' [{}/broken:2]"},
		{"unknown key", []string{"-c", typo}, 2, "publish_prot: is not known; is publish_port meant? [{}/typo:2]"},
		{"two faults", []string{"-c", two}, 2, "publish_port: 0 is not a port (1 to 65535) [{}/two:1]\nret_port: x is not a port (1 to 65535) [{}/two:2]"},
		{"bad value of a flag", []string{"-c", empty, "-l", "loud"}, 2, "log_level: loud is not a log level (all, garbage, trace, debug, profile, info, warning, error, critical, quiet) [command line]"},
		{"unknown flag", []string{"--config", "x"}, 2, "unknown flag: --config; see salt-broker --help"},
		{"flag without a value", []string{"-c"}, 2, "flag needs an argument: 'c' in -c; see salt-broker --help"},
		{"unknown command", []string{"start"}, 2, `unknown command "start" for "salt-broker"; see salt-broker --help`},
		{"a word too many", []string{"run", "now"}, 2, `unknown command "now" for "salt-broker run"; see salt-broker run --help`},
		{"log file without directory", []string{"-c", empty, "--log-file", noDir}, 1, "log_file {}/missing/broker.log cannot be opened: no such file or directory: make the directory {}/missing, or name another file with log_file ('' for none)"},
		{"log file that is a directory", []string{"-c", empty, "--log-file", dir}, 1, "log_file {} cannot be opened: is a directory: let the user of salt-broker write there, or name another with log_file ('' for none)"},
		{"unknown user", []string{"-c", nobody}, 2, "user: no-such-user is not a user of this system: make one or set user"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.Contains(test.name, "user") && os.Getuid() != 0 {
				t.Skip("only root becomes another user")
			}
			t.Parallel()
			var lines []string
			for line := range strings.SplitSeq(strings.ReplaceAll(test.says, "{}", dir), "\n") {
				lines = append(lines, "salt-broker: "+line)
			}
			launch(t, test.args...).expect(t, test.code, lines...)
		})
	}
}

func TestUnreadableConfiguration(t *testing.T) {
	name, why := "/proc/self/mem", "input/output error" // which not even root can read from its beginning
	if os.Getuid() != 0 {
		name, why = filepath.Join(t.TempDir(), "broker"), "permission denied"
		writeFile(t, name, "")
		if err := os.Chmod(name, 0); err != nil {
			t.Fatal(err)
		}
	}
	launch(t, "-c", name).expect(t, 2, "salt-broker: cannot read "+name+" (from -c): "+why)
}

func TestPortTaken(t *testing.T) {
	for _, key := range []string{"publish_port", "ret_port"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			port := ln.Addr().(*net.TCPAddr).Port
			l := newPlace(t, fmt.Sprint(key, ": ", port))
			launch(t, "-c", l.dir).expect(t, 1,
				fmt.Sprintf("salt-broker: %s %d is taken by another program (another salt-broker?): stop it or set %s", key, port, key))
		})
	}
}

func TestPortTakenByAnotherBroker(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	logFile := filepath.Join(t.TempDir(), "log")
	l, first := launchReady(t, []string{"--pid-file", pidFile})
	says := fmt.Sprintf("publish_port %d is taken by another program (another salt-broker?): stop it or set publish_port", l.publish)

	launch(t, "-c", l.dir, "--pid-file", pidFile, "-l", "quiet", "--log-file", logFile, "--log-file-level", "error").expect(t, 1, "salt-broker: "+says)

	if got := readFile(t, logFile); !strings.Contains(got, "[CRITICAL][") || !strings.HasSuffix(got, "] "+says+"\n") {
		t.Errorf("the log file has %q", got)
	}
	if got, want := readFile(t, pidFile), fmt.Sprintln(first.cmd.Process.Pid); got != want {
		t.Errorf("the second broker has left %q in the PID file of the first, which is %q", got, want)
	}
}

func TestPortOnAnAddressOfSomebodyElse(t *testing.T) {
	l := newPlace(t, "interface: 192.0.2.1") // RFC 5737: nobody has it
	launch(t, "-c", l.dir).expect(t, 1,
		fmt.Sprintf("salt-broker: publish_port %d cannot be opened: interface 192.0.2.1 is no address of this machine: set interface", l.publish))
}

func TestPIDFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pid")
	writeFile(t, name, "99999999\n") // of a process that has not ended well
	_, p := launchReady(t, []string{"--pid-file", name, "-l", "quiet"})
	if got, want := readFile(t, name), fmt.Sprintln(p.cmd.Process.Pid); got != want {
		t.Errorf("the file has %q, want %q", got, want)
	}
	p.signal(t, syscall.SIGTERM)
	p.expect(t, 0)
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("the file is left behind: %v", err)
	}
}

func TestPIDFileThatCannotBeWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "missing", "pid")
	l := newPlace(t, "pidfile: "+name)
	launch(t, "-c", l.dir).expect(t, 1,
		"salt-broker: pidfile "+name+" cannot be written: no such file or directory: let the user of salt-broker write there or set pidfile")
}

func TestBecomesTheUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root becomes another user")
	}
	dir, err := os.MkdirTemp("", "sb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	logFile := filepath.Join(dir, "log")
	_, p := launchReady(t, []string{"-u", "nobody", "--log-file", logFile})
	status := readFile(t, fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	owner, err := accountOf("nobody")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		strings.Repeat(fmt.Sprintf("\t%d", owner.uid), 4), strings.Repeat(fmt.Sprintf("\t%d", owner.gid), 4),
	} {
		if !strings.Contains(status, "id:"+want+"\n") {
			t.Errorf("the process is not %q:\n%s", want, status)
		}
	}
	info, err := os.Stat(logFile)
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != owner.uid || info.Mode().Perm() != 0o640 {
		t.Errorf("the log file belongs to %d with %v, want %d with 0640", uid, info.Mode(), owner.uid)
	}
}

// The start is five lines and the end one, at every level but quiet, on both outputs. Warnings come by their level.
func TestSaysWhatItIs(t *testing.T) {
	for _, level := range []string{"", "critical"} { // "": the default
		for _, status := range []bool{true, false} {
			t.Run(fmt.Sprintf("level %q, status port %v", level, status), func(t *testing.T) {
				t.Parallel()
				logFile := filepath.Join(t.TempDir(), "log")
				further := []string{"max_open_files: 1000000000", "hash_type: sha256", "log_file: " + logFile, "pub_hwm: 321"}
				if level != "" {
					further = append(further, "log_level: "+level)
				}
				if !status {
					further = append(further, "status_port: 0")
				}
				l, p := launchReady(t, nil, further...)
				p.notified.expect(t, fmt.Sprintf("STATUS=minions connect to 127.0.0.1:%d and 127.0.0.1:%d, master 127.0.0.1\n", l.publish, l.request), p.ended)
				p.signal(t, syscall.SIGTERM)
				if code := p.wait(t); code != 0 {
					t.Errorf("exit code %d", code)
				}

				port := fmt.Sprintf("metrics, health and status are at http://127.0.0.1:%d", l.status)
				if !status {
					port = "there is no status port (status_port: 0)"
				}
				want := []string{
					"salt-broker " + testVersion + " starts commit=",
					"the configuration is " + l.dir + "/broker component=main\n",
					fmt.Sprintf("minions connect to 127.0.0.1:%d for publishes and to 127.0.0.1:%d for requests; %s component=main\n", l.publish, l.request, port),
					fmt.Sprintf("the master is at 127.0.0.1:%d for publishes and at 127.0.0.1:%d for requests component=main\n", l.masterPub, l.masterReq),
					"limits component=main max_buffered_bytes=1073741824 ",
					"stopped component=main ",
				}
				file := fmt.Sprintf(" [salt.broker      :0   ][INFO    ][%d] ", p.cmd.Process.Pid)
				for output, said := range map[string]struct{ text, before string }{
					"standard error": {p.stderr.String(), "[INFO    ] "}, "the file": {readFile(t, logFile), file},
				} {
					var got []string
					for line := range strings.Lines(said.text) {
						if _, line, found := strings.Cut(line, said.before); found {
							got = append(got, line)
						}
					}
					if !slices.EqualFunc(got, want, strings.HasPrefix) {
						t.Errorf("%s has\n%q\nwant\n%q", output, got, want)
					}
					if !strings.Contains(said.text, " pub_hwm=321 ") {
						t.Errorf("%s does not have the limits that hold", output)
					}
					for _, warning := range []string{
						"[WARNING ] hash_type: means something to Salt only and is ignored [" + l.dir + "/broker:",
						"[WARNING ] max_open_files is 1000000000 and the system allows ",
					} {
						if output == "standard error" && strings.Contains(said.text, warning) != (level == "") {
							t.Errorf("%s and the level %q: %q", output, level, warning)
						}
					}
				}
			})
		}
	}
}

func TestRaisesTheSoftLimit(t *testing.T) {
	for _, test := range []struct {
		name       string
		soft, hard int
		want       int // max_open_files
		after      int
		warning    string
	}{
		{"as far as wanted or further", 100, 400, 300, 300, ""},
		{"no further than the hard limit", 100, 200, 300, 200, "max_open_files is 300 and the system allows 200"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newPlace(t, fmt.Sprint("max_open_files: ", test.want))
			script := fmt.Sprintf(`ulimit -S -n %d && ulimit -H -n %d && exec "$0" -c "$1"`, test.soft, test.hard)
			p := launchIn(t, nil, exec.Command("sh", "-c", script, program, l.dir))
			p.ready(t)
			var soft, hard int
			for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))) {
				if rest, found := strings.CutPrefix(line, "Max open files"); found {
					if _, err := fmt.Sscan(rest, &soft, &hard); err != nil {
						t.Fatal(err)
					}
				}
			}
			if soft < test.after || hard != test.hard {
				t.Errorf("the limits are %d and %d, want at least %d and %d", soft, hard, test.after, test.hard)
			}
			if test.warning != "" {
				p.stderr.expect(t, test.warning, p.ended)
			}
		})
	}
}

func TestJournalGetsPriorities(t *testing.T) {
	l := newPlace(t, "hash_type: sha256", "publish_port: 1", "interface: 192.0.2.1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var pipe syscall.Stat_t
	if err := syscall.Fstat(int(w.Fd()), &pipe); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", l.dir)
	cmd.Env = append(cleanEnvironment(), fmt.Sprintf("JOURNAL_STREAM=%d:%d", pipe.Dev, pipe.Ino))
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	w.Close()
	buf := make([]byte, 4096)
	var text string
	for n, err := 0, error(nil); err == nil; n, err = r.Read(buf) {
		text += string(buf[:n])
	}
	if !strings.HasPrefix(text, "<4>[WARNING ] hash_type: ") {
		t.Errorf("the journal gets %q", text)
	}
	if last := text[strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n")+1:]; !strings.HasPrefix(last, "<2>salt-broker: publish_port 1 ") {
		t.Errorf("the error goes to the journal as %q", last)
	}
}

func TestMastersText(t *testing.T) {
	path := func(address string) config.Path {
		return config.Path{Publish: address + ":4505", Request: address + ":4506"}
	}
	one := config.Master{Name: "a", Paths: []config.Path{path("a")}}
	other := config.Master{Name: "b", Paths: []config.Path{path("b"), path("b2")}}
	for _, test := range []struct {
		masters []config.Master
		want    string
	}{
		{[]config.Master{one}, "the master is at a:4505 for publishes and at a:4506 for requests"},
		{
			[]config.Master{one, other}, "the master a is at a:4505 for publishes and at a:4506 for requests; " +
				"the master b is at b:4505 for publishes and at b:4506 for requests; " +
				"the master b is at b2:4505 for publishes and at b2:4506 for requests",
		},
	} {
		if got := mastersText(test.masters); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
