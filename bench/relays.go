//go:build linux

package main

import (
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed floor/*.c libzmq.py
var sources embed.FS

// relay is something that can stand between a master and minions.
type relay struct {
	name  string
	links bool // it keeps links to the master, one for everybody; else each minion's connection is one at the master
	// fits is why it cannot serve so many connections of minions with the descriptors that a process has; "" if it can.
	fits func(connections, descriptors int) string
	// cannot is what else keeps it from a scenario; nil: nothing.
	cannot func(s *scenario) string
	// version is what it is, or why it is not there.
	version func(t *tools) (string, error)
	// commands is what to run, of files that it may put in a directory.
	commands func(t *tools, dir string, ports, master Ports, connections int) ([]*exec.Cmd, error)
}

// tools is what relays are made of.
type tools struct {
	saltBroker string // path of the program
	dir        string // for what is built once
	limit      int    // descriptors that a process may have
}

// relays are all that there are, salt-broker first. Each has the settings that are best for it, and none that only a
// benchmark would have: no log, room for all connections, a thread or worker for each of two cores where it knows them.
var relays = []*relay{
	{name: "salt-broker", links: true, fits: once, version: saltBrokerVersion, commands: saltBroker("")},
	{name: "libzmq", links: true, fits: once, version: libzmqVersion, commands: libzmq},
	{name: "haproxy", fits: twice, version: haproxyVersion, commands: haproxy},
	{name: "nginx", fits: twiceInTwo, version: nginxVersion, commands: nginx},
	{name: "floor", fits: once, cannot: bare, version: floorVersion, commands: floor},
}

// growers are salt-broker with one event loop a channel and with two.
var growers = []*relay{
	{name: "1-loop", links: true, fits: once, version: saltBrokerVersion, commands: saltBroker("loops: 1\n")},
	{name: "2-loops", links: true, fits: once, version: saltBrokerVersion, commands: saltBroker("loops: 2\n")},
}

// bare is what the floor leaves out.
func bare(s *scenario) string {
	if s.leaves {
		return "does not notice who leaves"
	}
	return ""
}

// spare is how many descriptors a process has for other things than minions.
const spare = 500

// once is a relay with one descriptor a connection.
func once(connections, descriptors int) string { return tooMany(connections, descriptors) }

// twice is a relay with two descriptors a connection, in one process.
func twice(connections, descriptors int) string { return tooMany(2*connections, descriptors) }

// twiceInTwo is a relay with two descriptors a connection, and half of the connections in each of two processes, more or less.
func twiceInTwo(connections, descriptors int) string {
	return tooMany(connections+connections/20, descriptors)
}

func tooMany(need, descriptors int) string {
	if need+spare > descriptors {
		return fmt.Sprintf("needs %d descriptors in a process, and %d is the limit", need, descriptors)
	}
	return ""
}

func saltBrokerVersion(t *tools) (string, error) {
	out, err := exec.Command(t.saltBroker, "version").Output() //nolint:gosec // the program under test
	if err != nil {
		return "", fmt.Errorf("%s: %w; `make build` makes it", t.saltBroker, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first, nil
}

// saltBroker runs the program with its defaults, but for these settings.
func saltBroker(settings string) func(t *tools, dir string, ports, master Ports, _ int) ([]*exec.Cmd, error) {
	return func(t *tools, dir string, ports, master Ports, _ int) ([]*exec.Cmd, error) {
		text := settings + fmt.Sprintf("default_include: ''\nmaster: 127.0.0.1\nmaster_publish_port: %d\nmaster_port: %d\n"+
			"interface: 127.0.0.1\npublish_port: %d\nret_port: %d\nstatus_port: 0\nzmq_backlog: %d\nlog_file: ''\nlog_level: error\nmax_open_files: %d\n",
			master.Publish, master.Request, ports.Publish, ports.Request, backlog, t.limit)
		return []*exec.Cmd{exec.Command(t.saltBroker, "-c", dir)}, write(dir, "broker", text) //nolint:gosec // the program under test
	}
}

// backlog is how many connections may wait to be accepted, at all relays: a rush is not about SYNs that are repeated.
const backlog = 4096

// debianPython is the interpreter that has python3-zmq.
const debianPython = "/usr/bin/python3"

func libzmqVersion(*tools) (string, error) {
	out, err := exec.Command(debianPython, "-c", "import zmq; print('libzmq', zmq.zmq_version(), 'pyzmq', zmq.__version__)").Output()
	if err != nil {
		return "", fmt.Errorf("%s cannot import zmq: apt install python3-zmq (%w)", debianPython, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func libzmq(_ *tools, dir string, ports, master Ports, _ int) ([]*exec.Cmd, error) {
	script, err := sources.ReadFile("libzmq.py")
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "libzmq.py")
	return []*exec.Cmd{
		exec.Command(debianPython, name, "publish", port(ports.Publish), port(master.Publish)), //nolint:gosec // our own script
		exec.Command(debianPython, name, "request", port(ports.Request), port(master.Request)), //nolint:gosec // our own script
	}, write(dir, "libzmq.py", string(script))
}

func haproxyVersion(*tools) (string, error) {
	out, err := exec.Command("haproxy", "-v").Output()
	if err != nil {
		return "", fmt.Errorf("haproxy: apt install haproxy (%w)", err)
	}
	return regexp.MustCompile(`HAProxy version \S+`).FindString(string(out)), nil
}

func haproxy(_ *tools, dir string, ports, master Ports, connections int) ([]*exec.Cmd, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "global\n  nbthread 2\n  maxconn %d\n", connections+spare/4)
	text.WriteString("defaults\n  mode tcp\n  timeout connect 30s\n  timeout client 1h\n  timeout server 1h\n")
	for _, c := range [...]struct {
		name         string
		port, master uint16
	}{{"publish", ports.Publish, master.Publish}, {"request", ports.Request, master.Request}} {
		fmt.Fprintf(&text, "listen %s\n  bind 127.0.0.1:%d shards by-thread\n  backlog %d\n  maxconn %d\n  server master 127.0.0.1:%d\n",
			c.name, c.port, backlog, connections+spare/8, c.master)
	}
	return []*exec.Cmd{exec.Command("haproxy", "-q", "-db", "-f", filepath.Join(dir, "haproxy.cfg"))}, //nolint:gosec // our file
		write(dir, "haproxy.cfg", text.String())
}

// nginxStream is where Debian's libnginx-mod-stream is.
const nginxStream = "/usr/lib/nginx/modules/ngx_stream_module.so"

func nginxVersion(*tools) (string, error) {
	out, err := exec.Command("/usr/sbin/nginx", "-v").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nginx: apt install nginx-light libnginx-mod-stream (%w)", err)
	}
	if _, err := os.Stat(nginxStream); err != nil {
		return "", fmt.Errorf("nginx without stream: apt install libnginx-mod-stream (%w)", err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "nginx version: "), nil
}

func nginx(t *tools, dir string, ports, master Ports, _ int) ([]*exec.Cmd, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "load_module %s;\ndaemon off;\nworker_processes 2;\nworker_rlimit_nofile %d;\npid %s/pid;\nerror_log stderr crit;\n",
		nginxStream, t.limit, dir)
	if os.Geteuid() == 0 {
		text.WriteString("user root;\n")
	}
	fmt.Fprintf(&text, "events { worker_connections %d; multi_accept on; }\nstream {\n  proxy_timeout 1h;\n", t.limit-spare/4)
	for _, c := range [...][2]uint16{{ports.Publish, master.Publish}, {ports.Request, master.Request}} {
		fmt.Fprintf(&text, "  server { listen 127.0.0.1:%d reuseport backlog=%d; proxy_pass 127.0.0.1:%d; }\n", c[0], backlog, c[1])
	}
	text.WriteString("}\n")
	return []*exec.Cmd{exec.Command("/usr/sbin/nginx", "-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))}, //nolint:gosec // our file
		write(dir, "nginx.conf", text.String())
}

func floorVersion(t *tools) (string, error) {
	for _, name := range [...]string{"publish", "forward"} {
		source, err := sources.ReadFile("floor/" + name + ".c")
		if err != nil {
			return "", err
		}
		if err := write(t.dir, name+".c", string(source)); err != nil {
			return "", err
		}
		path := filepath.Join(t.dir, name)
		if out, err := exec.Command("cc", "-O2", "-Wall", "-o", path, path+".c").CombinedOutput(); err != nil { //nolint:gosec // our source
			return "", fmt.Errorf("the floor is compiled with cc: apt install gcc libc6-dev (%w) %s", err, out)
		}
	}
	out, err := exec.Command("cc", "--version").Output()
	first, _, _ := strings.Cut(string(out), "\n")
	return first, err
}

func floor(t *tools, _ string, ports, master Ports, _ int) ([]*exec.Cmd, error) {
	return []*exec.Cmd{
		exec.Command(filepath.Join(t.dir, "publish"), port(ports.Publish), port(master.Publish)), //nolint:gosec // built above
		exec.Command(filepath.Join(t.dir, "forward"), port(ports.Request), port(master.Request)), //nolint:gosec // built above
	}, nil
}

func port(n uint16) string { return fmt.Sprint(n) }

func write(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
}

// running is a relay at work.
type running struct {
	ports     Ports
	processes []*process
	dir       string
}

// begin starts a relay between this master and ports that the kernel has chosen.
func (r *relay) begin(t *tools, master Ports, connections int) (*running, error) {
	dir, err := os.MkdirTemp(t.dir, r.name+"-")
	if err != nil {
		return nil, err
	}
	one := &running{dir: dir}
	if one.ports, err = freePorts(); err != nil {
		return nil, err
	}
	commands, err := r.commands(t, dir, one.ports, master, connections)
	if err != nil {
		return nil, err
	}
	for _, cmd := range commands {
		p, err := start(cmd)
		if err != nil {
			one.stop()
			return nil, err
		}
		one.processes = append(one.processes, p)
	}
	return one, nil
}

// freePorts asks the kernel for two ports that nobody has. Somebody may take them before the relay does; then it says so
// and ends.
func freePorts() (ports Ports, err error) {
	for _, p := range [...]*uint16{&ports.Publish, &ports.Request} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return ports, err
		}
		defer l.Close() // after both are known, or they might be the same
		*p = l.Addr().(*net.TCPAddr).AddrPort().Port()
	}
	return ports, nil
}

// listens says whether the relay accepts connections on both ports.
func (r *running) listens() bool {
	for _, p := range [...]uint16{r.ports.Publish, r.ports.Request} {
		c, err := net.DialTimeout("tcp", onLoopback(p).String(), time.Second)
		if err != nil {
			return false
		}
		_ = c.Close()
	}
	return true
}

// pids is all its processes as they are now: nginx listens before it has any that work.
func (r *running) pids() (all []int) {
	for _, p := range r.processes {
		all = append(all, p.family()...)
	}
	return all
}

// ended says whether one of the processes has gone, and why.
func (r *running) ended() error {
	var errs []error
	for _, p := range r.processes {
		errs = append(errs, p.ended())
	}
	return errors.Join(errs...)
}

func (r *running) stop() {
	for _, p := range r.processes {
		p.stop()
	}
	_ = os.RemoveAll(r.dir)
}
