//go:build linux

package service_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	unit   = "salt-broker.service"
	config = "/etc/salt/broker"
	log    = "/var/log/salt/broker"
	preset = "/etc/systemd/system-preset/10-broker.preset"
)

// life is the service in a machine, and the people that it serves. Its steps follow each other.
type life struct {
	*machine
	whole  *testing.T // the one that the steps are part of
	people *people
}

// The life of a service. A step that fails does not keep the next ones from being tried.
func TestLife(t *testing.T) {
	t.Parallel()
	l := &life{machine: boot(t), whole: t}
	rpm, _ := theNew(t)
	for to, from := range map[string]string{"stand.rpm": makeStand(t), "old.rpm": makeOld(t), "new.rpm": rpm} {
		output(t, "cp", from, l.path("/root/"+to))
	}
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := l.try("journalctl", "--no-pager", "--lines=60")
			t.Log(said)
		}
	})
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"install", l.install},
		{"preset", l.preset},
		{"unit", l.unit},
		{"start waits until both ports are open", l.start},
		{"minions are served", l.serve},
		{"unprivileged and confined", l.confined},
		{"logs", l.logs},
		{"hang", l.hang},
		{"an event loop that is stuck", l.stuck},
		{"crash", l.crash},
		{"reload keeps everybody", l.reload},
		{"logrotate", l.rotate},
		{"upgrade", l.upgrade},
		{"stop", l.stop},
		{"erase", l.erase},
	} {
		t.Run(step.name, func(t *testing.T) {
			l.t = t
			step.do()
		})
	}
}

func (l *life) install() {
	t := l.t
	l.run("rpm", "-U", "/root/stand.rpm")
	l.write(t, preset, "enable "+unit+"\n")
	makeDirs(t, l.path(filepath.Dir(log)))
	l.write(t, log, "of an earlier broker, root's\n")
	l.run("rpm", "-U", "/root/old.rpm")
	if said, err := l.try("rpm", "-V", "salt-broker"); err != nil {
		t.Errorf("what is installed is not what is in the package: %s", said)
	}
	for name, want := range map[string]string{
		config:          "640 root:salt-broker",
		config + ".d":   "750 root:salt-broker",
		log:             "640 salt-broker:salt-broker",
		"/var/log/salt": "755 root:root",
		"/etc/salt":     "755 root:root",
	} {
		if got := l.run("stat", "--format=%a %U:%G", name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"/usr/share/man/man8/salt-broker.8", "/usr/share/man/man5/broker.5"} {
		if !l.exists(name) && !l.exists(name+".gz") {
			t.Errorf("%s is not there", name)
		}
	}
	l.run("setpriv", "--reuid=salt-broker", "--regid=salt-broker", "--clear-groups", "salt-broker", "check-config")
	if said := l.run("salt-broker", "version"); !strings.HasPrefix(said, "salt-broker "+oldVersion+"\ncommit: ") || strings.Contains(said, "unknown") {
		t.Errorf("version says %s", said)
	}
	completion := `source /usr/share/bash-completion/completions/salt-broker; complete -p salt-broker`
	if said := l.run("bash", "-c", completion); !strings.Contains(said, "__start_salt-broker") {
		t.Errorf("bash completes by %s", said)
	}
}

// What the distribution has said of the service is done, and nothing is started.
func (l *life) preset() {
	t := l.t
	l.expect(t, "UnitFileState=enabled", "ActiveState=inactive")
}

func (l *life) unit() {
	t := l.t
	if said, err := l.try("systemd-analyze", "verify", "--man=no", unit); err != nil || strings.Contains(said, "salt-broker") {
		t.Errorf("systemd finds faults in the unit: %s (%v)", said, err)
	}
	said := l.run("systemd-analyze", "security", "--no-pager", unit)
	exposure := regexp.MustCompile(`exposure level for \S+: (\d+\.\d+)`).FindStringSubmatch(said)
	if exposure == nil {
		t.Fatalf("no exposure in %s", said)
	}
	t.Logf("exposure %s", exposure[1])
	if level, _ := strconv.ParseFloat(exposure[1], 64); level > 1.5 {
		t.Errorf("exposure %s: more than 1.5", exposure[1])
	}
	l.expect(t, "Type=notify", "LimitNOFILE=262144", "LimitCORE=0")
}

// A service whose ports are not open has not started; it starts again by itself, and has when they are.
func (l *life) start() {
	t := l.t
	l.write(t, config, configuration)
	l.write(t, "/etc/salt/broker.d/operator.conf", "drain_timeout: 1\n")
	// Less than the unit says, for a test's sake.
	l.run("mkdir", "-p", "/run/systemd/system/"+unit+".d")
	l.write(t, "/run/systemd/system/"+unit+".d/test.conf", "[Service]\nWatchdogSec=4s\n")
	l.run("systemctl", "daemon-reload")
	ln, err := net.Listen("tcp", requestPort.String())
	if err != nil {
		t.Fatal(err)
	}
	said, err := l.try("systemctl", "start", unit)
	ln.Close()
	if err == nil {
		t.Errorf("started without its port: %s", said)
	}
	eventually(t, "the service starts again by itself", func() bool { return l.property("ActiveState") == "active" })
	for _, port := range []string{publishPort.String(), requestPort.String()} {
		nc, err := net.Dial("tcp", port)
		if err != nil {
			t.Errorf("active, and nobody listens: %v", err)
			continue
		}
		nc.Close()
	}
	if status := l.property("StatusText"); !strings.Contains(status, "127.0.0.1:4505") {
		t.Errorf("the status is %q", status)
	}
}

func (l *life) serve() {
	t := l.t
	l.people = gather(l.whole)
	pid := l.pid()
	l.people.served(t)
	l.run("salt-broker", "health", "--master")
	eventually(t, "the status has the minions", func() bool {
		return strings.HasPrefix(l.property("StatusText"), fmt.Sprintf("%d minions wait for publishes", minions))
	})
	// The status comes after 5 s, more than the watchdog waits for a sign of life.
	l.expect(t, "MainPID="+pid)
}

// The process has no rights, and hardly a file system.
func (l *life) confined() {
	t := l.t
	proc := "/proc/" + l.pid()
	status := l.read(t, proc+"/status")
	for name, want := range map[string]string{
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
	} {
		got := regexp.MustCompile(`(?m)^` + name + `:\s*(\S+)$`).FindStringSubmatch(status)
		if got == nil || got[1] != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
	if owner := l.run("stat", "--format=%U:%G", proc); owner != "salt-broker:salt-broker" {
		t.Errorf("it is %s", owner)
	}
	mounted := map[string]string{}
	for line := range strings.Lines(l.read(t, proc+"/mountinfo")) {
		if f := strings.Fields(line); len(f) > 5 {
			mounted[f[4]] = strings.SplitN(f[5], ",", 2)[0]
		}
	}
	for where, want := range map[string]string{"/": "ro", "/usr": "ro", "/var/log/salt": "rw"} {
		if got, found := mounted[where]; got != want && (found || where == "/") {
			t.Errorf("%s is %s, want %s", where, got, want)
		}
	}
	if mounted["/var/log/salt"] == "" || mounted["/tmp"] == "" {
		t.Errorf("no /var/log/salt or no /tmp of its own in %v", mounted)
	}
	// Without CAP_SYS_RESOURCE nobody here can raise the hard limit, and systemd leaves it in silence.
	var here syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &here); err != nil {
		t.Fatal(err)
	}
	limits := l.read(t, proc+"/limits")
	files := regexp.MustCompile(`Max open files\s+\d+\s+(\d+)`).FindStringSubmatch(limits)
	if files == nil || files[1] != "262144" && files[1] != strconv.FormatUint(here.Max, 10) {
		t.Errorf("limit of open files: %q", files)
	}
}

// Both outputs of the log are there.
func (l *life) logs() {
	t := l.t
	starts := "salt-broker " + oldVersion + " starts commit="
	if said := l.run("journalctl", "--no-pager", "--unit="+unit); !strings.Contains(said, starts) {
		t.Errorf("the journal does not say %q: %s", starts, said)
	}
	if text := l.read(t, log); !strings.HasPrefix(text, "of an earlier broker") || !strings.Contains(text, starts) {
		t.Errorf("the file does not say %q", starts)
	}
}

// healed waits until there is another process and minions are served again.
func (l *life) healed(t *testing.T, former string, restarts int) {
	t.Helper()
	began := time.Now()
	eventually(t, "there is another process", func() bool {
		return l.property("MainPID") != former && l.property("SubState") == "running"
	})
	l.people.served(t)
	t.Logf("minions are served again after %v", time.Since(began).Round(10*time.Millisecond))
	l.expect(t, fmt.Sprint("NRestarts=", restarts))
}

// pid is the main process of the service. There must be one: to signal 0 is to signal oneself.
func (l *life) pid() string {
	l.t.Helper()
	pid := l.property("MainPID")
	if pid == "0" || pid == "" {
		l.t.Fatal("the service does not run")
	}
	return pid
}

func (l *life) restarts(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(l.property("NRestarts"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A process that stands still is ended by the watchdog.
func (l *life) hang() {
	t := l.t
	pid, restarts := l.pid(), l.restarts(t)
	l.run("kill", "-STOP", pid)
	l.healed(t, pid, restarts+1)
	if said := l.run("journalctl", "--no-pager", "--unit="+unit); !strings.Contains(said, "Watchdog timeout") {
		t.Error("it was not the watchdog")
	}
}

// A process with one event loop that does not turn is ended too, whatever else of it goes on.
func (l *life) stuck() {
	t := l.t
	pid, restarts := l.pid(), l.restarts(t)
	journal := len(l.journal())
	release := sync.OnceFunc(l.hold(l.loop(pid)))
	defer release()
	for _, want := range []string{"stuck: the process will be ended and started again if that lasts for 4s", " do not turn", "Watchdog timeout"} {
		eventually(t, "the journal says "+want, func() bool { return strings.Contains(l.journal()[journal:], want) })
	}
	release() // the end waits for each thread to say what it does
	l.healed(t, pid, restarts+1)
	l.run("rm", "-r", "/run/systemd/system/"+unit+".d")
	l.run("systemctl", "daemon-reload")
}

func (l *life) crash() {
	t := l.t
	pid, restarts := l.pid(), l.restarts(t)
	l.run("kill", "-KILL", pid)
	l.healed(t, pid, restarts+1)
	l.expect(t, "WatchdogUSec=10s") // the unit's own again
}

// reload has the same process follow another configuration, and costs nobody's connection, be the configuration right or
// wrong. systemd takes the service for reloading from RELOADING=1 to READY=1, also when it has not asked for that itself.
func (l *life) reload() {
	t := l.t
	pid, before := l.pid(), l.people.minions.Stats()
	l.run("systemctl", "log-level", "debug") // it says what it is told then
	defer l.run("systemctl", "log-level", "info")
	bySystemd, bySignal := []string{"reload", unit}, []string{"kill", "--kill-who=main", "--signal=HUP", unit}
	const followed = "the configuration has been read again (" + config + ", /etc/salt/broker.d/operator.conf): drain_timeout component=main"
	for _, test := range []struct {
		how         []string
		lines, says string
		status      string
	}{
		{bySystemd, "drain_timeout: 2\n", followed, "the configuration has been read again"},
		{
			bySignal, "drain_timeout: now\n", "the configuration cannot be taken over, nothing has changed: drain_timeout: now is not",
			"the configuration has not been taken over: drain_timeout: now is not",
		},
		{bySignal, "drain_timeout: 3\n", followed, "the configuration has been read again"},
		{
			bySystemd, "drain_timeout: 3\nzmq_backlog: 99\n",
			"restart salt-broker for what cannot change while it runs: zmq_backlog component=main", "the configuration has been read again",
		},
	} {
		if err := os.WriteFile(l.path("/etc/salt/broker.d/operator.conf"), []byte(test.lines), 0o600); err != nil { // write appends
			t.Fatal(err)
		}
		logged, journal, began := len(l.read(t, log)), len(l.journal()), monotonic(t)
		l.run(append([]string{"systemctl"}, test.how...)...)
		states := regexp.MustCompile(`(?s)PID ` + pid + ` \(RELOADING=1, MONOTONIC_USEC=(\d+), STATUS=reading the configuration\).*` +
			`PID ` + pid + ` \(READY=1, STATUS=` + regexp.QuoteMeta(test.status) + `.*Changed reload -> running`)
		var told []string
		eventually(t, "systemd has heard of the reload and of its end", func() bool {
			told = states.FindStringSubmatch(l.journal()[journal:])
			return told != nil
		})
		if test.how[0] == "kill" && !strings.Contains(told[0], "Changed running -> reload") {
			t.Errorf("systemd does not take it for a reload: %s", told[0])
		}
		if at, _ := strconv.ParseInt(told[1], 10, 64); at < began || at > monotonic(t) {
			t.Errorf("MONOTONIC_USEC is %d; the signal came after %d", at, began)
		}
		eventually(t, "the log says what became of it", func() bool { return strings.Contains(l.read(t, log)[logged:], test.says) })
	}
	l.people.served(t)
	l.expect(t, "MainPID="+pid, "ActiveState=active", "SubState=running")
	after := l.people.minions.Stats()
	if after.Cut != before.Cut || after.Broken != before.Broken || after.Handshakes != before.Handshakes {
		t.Errorf("connections have ended: %+v, before %+v", after, before)
	}
}

// journal is what systemd and the service have said of the service.
func (l *life) journal() string {
	l.t.Helper()
	return l.run("journalctl", "--no-pager", "--output=cat", "--unit="+unit)
}

// monotonic is the time that systemd goes by, in microseconds.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// Each of the peers that come before, while and after logrotate runs is in one of the files, once.
func (l *life) rotate() {
	t := l.t
	rotated := make(chan error, 1)
	before := len(l.read(t, log)) // minions have had some of the ports earlier
	var peers []string
	for i := range 300 {
		if i == 100 {
			go func() {
				said, err := l.try("logrotate", "--force", "/etc/logrotate.d/salt-broker")
				if err != nil {
					err = fmt.Errorf("%w: %s", err, said)
				}
				rotated <- err
			}()
		}
		peers = append(peers, knock(t, requestPort))
		time.Sleep(time.Millisecond) // not all before logrotate has begun
	}
	if err := <-rotated; err != nil {
		t.Errorf("logrotate: %v", err)
	}
	last := knock(t, requestPort)
	var former, present string
	eventually(t, "each peer is in the log", func() bool {
		former, present = l.read(t, log+".1")[before:], l.read(t, log)
		for _, peer := range append(peers, last) {
			if !strings.Contains(former+present, "remote="+peer+"\n") {
				return false
			}
		}
		return true
	})
	if !strings.Contains(present, last) {
		t.Error("the new file is not written to")
	}
	for _, peer := range peers {
		if n := strings.Count(former+present, "remote="+peer+"\n"); n != 1 {
			t.Errorf("%s is in the log %d times", peer, n)
		}
	}
	if got := l.run("stat", "--format=%a %U:%G", log); got != "640 salt-broker:salt-broker" {
		t.Errorf("the new file is %s", got)
	}
}

func (l *life) upgrade() {
	t := l.t
	pid, edited := l.pid(), l.read(t, config)
	l.run("rm", preset) // it was for the first time, and another one is of no account now
	l.write(t, preset, "disable "+unit+"\n")
	l.run("rpm", "-U", "/root/new.rpm")
	if got := l.read(t, config); got != edited {
		t.Errorf("the edited configuration is now\n%s", got)
	}
	if !l.exists(config + ".rpmnew") {
		t.Error("the new configuration is not beside it")
	}
	l.expect(t, "UnitFileState=enabled", "ActiveState=active")
	if l.property("MainPID") == pid {
		t.Error("the old process goes on")
	}
	if said := l.run("salt-broker", "version"); !strings.HasPrefix(said, "salt-broker "+newVersion+"\n") {
		t.Errorf("version says %s", said)
	}
	l.people.served(t)
	if text := l.read(t, log); !strings.Contains(text, "salt-broker "+newVersion+" starts commit=") {
		t.Error("the log does not say that the new version has started")
	}
}

func (l *life) stop() {
	t := l.t
	began := time.Now()
	l.run("systemctl", "stop", unit)
	l.expect(t, "Result=success", "ActiveState=inactive", "ExecMainStatus=0")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if status := l.read(t, log); !strings.Contains(status, " stopped component=main") {
		t.Error("the log does not say that it has stopped")
	}
	l.run("systemctl", "start", unit)
	l.people.served(t)
}

func (l *life) erase() {
	t := l.t
	pid := l.pid()
	l.run("rpm", "-e", "salt-broker")
	l.expect(t, "LoadState=not-found", "ActiveState=inactive")
	if l.exists("/proc/" + pid) {
		t.Error("the process goes on")
	}
	if nc, err := net.Dial("tcp", publishPort.String()); err == nil {
		nc.Close()
		t.Error("somebody listens")
	}
	links, err := filepath.Glob(l.path("/etc/systemd/system/*/salt-broker*"))
	if err != nil || len(links) > 0 {
		t.Errorf("links stay: %q (%v)", links, err)
	}
	for _, name := range []string{"/usr/bin/salt-broker", config, "/usr/lib/systemd/system/" + unit} {
		if l.exists(name) {
			t.Errorf("%s stays", name)
		}
	}
	if !l.exists(config + ".rpmsave") {
		t.Error("the edited configuration is gone")
	}
	if _, err := os.Stat(l.path("/etc/salt/broker.d/operator.conf")); err != nil {
		t.Errorf("an operator's file is gone: %v", err)
	}
}
