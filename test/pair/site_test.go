//go:build linux

package pair_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"salt-broker/internal/sim"
)

// site is a network of its own: a bridge in the namespace of the test, where the master and the minions are, and two
// nodes across it.
type site struct {
	t       *testing.T
	number  int
	address netip.Addr // that the nodes share
	master  *sim.Master
	watch   *sim.Watch
	stood   *sim.Standstill
	nodes   [2]*node
}

// node is a host with a broker and a keepalived.
type node struct {
	site       *site
	namespace  string
	port       string // of the bridge, to which it is connected
	dir        string // of its files
	broker     *exec.Cmd
	keepalived *exec.Cmd
}

// startSite makes the network and starts everything; it returns when the first node has the address. Settings are lines
// for the brokers' configuration, and options are taken up in keepalived's.
func startSite(t *testing.T, number int, settings string, options ...string) *site {
	t.Helper()
	s := &site{t: t, number: number, address: s4(number, 100), watch: sim.NewWatch(minions), stood: sim.WatchStandstill()}
	t.Cleanup(s.stood.Stop)
	bridge := fmt.Sprintf("bridge%d", number)
	ip(t, "link add", bridge, "type bridge forward_delay 0")
	ip(t, "addr add", s4(number, 3).String()+"/24 dev", bridge)
	ip(t, "link set", bridge, "up")
	m, err := sim.StartMaster(sim.MasterOptions{
		PublishAddress: netip.AddrPortFrom(s4(number, 3), 4505).String(),
		RequestAddress: netip.AddrPortFrom(s4(number, 3), 4506).String(),
		OnRequest:      s.watch.Asked,
	})
	must(t, err)
	s.master = m
	t.Cleanup(func() { must(t, m.Stop()) })
	for i := range s.nodes {
		s.nodes[i] = s.newNode(i, bridge, settings, options)
	}
	for i, n := range s.nodes {
		n.startBroker()
		eventually(t, "the broker serves", func() bool { return !n.unhealthy("--master") })
		n.keepalived = n.start("keepalived", "keepalived", "--vrrp", "--dont-fork", "--log-console", "--log-detail", "--no-syslog",
			"--use-file", n.dir+"/keepalived.conf", "--pid", n.dir+"/pid", "--vrrp_pid", n.dir+"/vrrp-pid")
		t.Cleanup(func() { n.stop(n.keepalived) })
		if i == 0 {
			eventually(t, "the first node takes the address", n.hasAddress)
		}
	}
	eventually(t, "both brokers have the master", func() bool { return s.master.Stats().Subscribers == 2 })
	if s.nodes[1].hasAddress() && s.steady() {
		t.Fatal("both have the address")
	}
	return s
}

// steady says whether the machine has never stood still for so long that one keepalived may have missed the other, which
// has it take the address: three times advert_int.
func (s *site) steady() bool { return s.stood.Sum() < time.Second }

func s4(number, host int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 99, byte(number), byte(host)})
}

func (s *site) newNode(i int, bridge, settings string, options []string) *node {
	s.t.Helper()
	n := &node{site: s, namespace: fmt.Sprintf("node%d-%d", s.number, i), port: fmt.Sprintf("port%d-%d", s.number, i)}
	n.dir = filepath.Join(run, n.namespace)
	must(s.t, os.Mkdir(n.dir, 0o755))
	ip(s.t, "netns add", n.namespace)
	s.t.Cleanup(func() { ip(s.t, "netns del", n.namespace) })
	ip(s.t, "link add", n.port, "type veth peer name eth0 netns", n.namespace)
	ip(s.t, "link set", n.port, "master", bridge, "up")
	ip(s.t, "-n", n.namespace, "link set lo up")
	ip(s.t, "-n", n.namespace, "addr add", s4(s.number, 11+i).String()+"/24 dev eth0")
	ip(s.t, "-n", n.namespace, "link set eth0 up")
	config := fmt.Sprintf("master: %s\nlog_file: ''\nlog_level: info\nmax_open_files: 1000\n%s", s4(s.number, 3), settings)
	must(s.t, os.WriteFile(n.dir+"/broker", []byte(config), 0o644))
	must(s.t, os.WriteFile(n.dir+"/keepalived.conf", []byte(n.forHere(options)), 0o600))
	return n
}

// forHere is contrib/keepalived/keepalived.conf with what is another here: the address, whom scripts run as, and where
// the program and its configuration are. Options are words that it has as comments.
func (n *node) forHere(options []string) string {
	n.site.t.Helper()
	b, err := os.ReadFile("../../contrib/keepalived/keepalived.conf")
	must(n.site.t, err)
	text := string(b)
	replace := func(before, after string) {
		n.site.t.Helper()
		if !strings.Contains(text, before) {
			n.site.t.Fatalf("keepalived.conf has no %q", before)
		}
		text = strings.ReplaceAll(text, before, after)
	}
	replace("script_user salt-broker salt-broker", "script_user nobody nogroup")
	replace("192.0.2.10/24", n.site.address.String()+"/24")
	replace(`"/usr/bin/salt-broker health --master"`, `"`+run+"/salt-broker health --master -c "+n.dir+`"`)
	replace(`"/usr/bin/salt-broker health"`, `"`+run+"/salt-broker health -c "+n.dir+`"`)
	for _, option := range options {
		replace("#"+option, option)
	}
	return text
}

func (n *node) startBroker() {
	n.site.t.Helper()
	n.broker = n.start("broker", run+"/salt-broker", "-c", n.dir)
	broker := n.broker
	n.site.t.Cleanup(func() { n.stop(broker) })
}

// start runs a program on the node. What it says goes to a file, which is shown when the test fails.
func (n *node) start(name, program string, args ...string) *exec.Cmd {
	t := n.site.t
	t.Helper()
	said, err := os.OpenFile(filepath.Join(n.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer said.Close()
	cmd := exec.Command("ip", append([]string{"netns", "exec", n.namespace, program}, args...)...) // becomes the program
	cmd.Stdout, cmd.Stderr = said, said
	must(t, cmd.Start())
	return cmd
}

// stop ends a program, once or again.
func (n *node) stop(cmd *exec.Cmd) {
	if cmd.ProcessState != nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Process.Signal(syscall.SIGCONT)
	force := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer force.Stop()
	_ = cmd.Wait() // some of them were killed by the test
	if n.site.t.Failed() {
		logs, _ := filepath.Glob(n.dir + "/*.log")
		for _, name := range logs {
			text, _ := os.ReadFile(name)
			n.site.t.Logf("%s:\n%s", name, text)
		}
	}
}

// kill ends a program as a fault does.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func (n *node) hasAddress() bool {
	out, err := exec.Command("ip", "-n", n.namespace, "-4", "-o", "addr", "show", "dev", "eth0").CombinedOutput()
	return err == nil && strings.Contains(string(out), " "+n.site.address.String()+"/")
}

// ip runs ip(8); words may have spaces in them.
func ip(t *testing.T, words ...string) {
	t.Helper()
	args := strings.Fields(strings.Join(words, " "))
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// cutMaster takes the node's way to the master. Connections stay open, and nothing comes through.
func (n *node) cutMaster() {
	n.site.t.Helper()
	ip(n.site.t, "-n", n.namespace, "route add blackhole", s4(n.site.number, 3).String()+"/32")
}

// unhealthy says whether salt-broker health has something to say.
func (n *node) unhealthy(args ...string) bool {
	args = append([]string{"netns", "exec", n.namespace, run + "/salt-broker", "health", "-c", n.dir}, args...)
	return exec.Command("ip", args...).Run() != nil
}

// logged says what a program of the node has said.
func (n *node) logged(name string) string {
	n.site.t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, name+".log"))
	must(n.site.t, err)
	return string(text)
}

// awaitHealthy returns when the node's keepalived has found its broker ill and then well again.
func (n *node) awaitHealthy() {
	n.site.t.Helper()
	eventually(n.site.t, "keepalived finds its broker again", func() bool {
		said := n.logged("keepalived")
		ill := strings.LastIndex(said, "(salt) Entering FAULT STATE")
		return ill >= 0 && strings.LastIndex(said, "(salt) Entering BACKUP STATE") > ill
	})
}
