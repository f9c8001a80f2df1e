package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"salt-broker/config"
)

// reloads changes the file, sends SIGHUP, and waits until systemd has been told of it.
func (p *process) reloads(t *testing.T, l *place, further ...string) {
	t.Helper()
	before := strings.Count(p.notified.String(), "READY=1\n")
	l.write(t, further...)
	p.signal(t, syscall.SIGHUP)
	p.notified.expectTimes(t, "READY=1\n", before+1, p.ended)
}

// A reload moves the broker to another master and gives it other limits and a log file; the minion that is there stays.
func TestReload(t *testing.T) {
	t.Parallel()
	l, p := launchReady(t, []string{"-l", "info"}, "loops: 1", "recon_default: 20", "recon_max: 20")
	newScriptedMaster(t, l)
	p.stderr.expectTimes(t, "remote=127.0.0.1:", 2, p.ended) // both channels have reached it
	m := newScriptedMinion(t, l.request)
	m.welcome(t)

	other := *l
	other.masterPub, other.masterReq = 0, 0 // whichever are free
	after := newScriptedMaster(t, &other)
	log := filepath.Join(t.TempDir(), "log")
	before := counters(t, l)
	p.reloads(t, &other, "log_file: "+log, "log_level_logfile: debug", "loops: 2",
		"max_connections: 1", "request_deadline: 7", "recon_default: 20", "recon_max: 20")
	// What is asked before that may be lost with the link to the first one.
	p.stderr.expect(t, fmt.Sprint("remote=127.0.0.1:", other.masterReq), p.ended)
	m.ask(t, "who are you")
	after.next(t)("the other one")
	m.expect(t, "the other one")
	now := counters(t, l)
	grownFrom(t, before, now)
	for _, moved := range []string{
		`salt_broker_master_connections_total{channel="publish"}`, `salt_broker_messages_total{channel="request",direction="to_minions"}`,
	} {
		if now[moved] <= before[moved] {
			t.Errorf("%s was %v, and is %v", moved, before[moved], now[moved])
		}
	}

	p.stderr.expect(t, "[INFO    ] the configuration has been read again ("+l.dir+"/broker): master_port, master_publish_port, "+
		"max_connections, request_deadline, log_file, log_level_logfile component=main\n", p.ended)
	p.stderr.expect(t, "[WARNING ] restart salt-broker for what cannot change while it runs: loops component=main\n", p.ended)
	if got := readFile(t, log); !strings.Contains(got, "restart salt-broker for what") {
		t.Errorf("the log file has\n%s", got)
	}
	refused := newScriptedMinion(t, l.request)
	select {
	case <-refused.ended:
	case <-refused.conn.ready:
		t.Error("max_connections does not hold")
	}
	for _, want := range []string{"RELOADING=1\nMONOTONIC_USEC=", "STATUS=the configuration has been read again\n"} {
		p.notified.expect(t, want, p.ended)
	}
	if strings.Index(p.notified.String(), "RELOADING=1") > strings.LastIndex(p.notified.String(), "READY=1") {
		t.Error("ready before the reload")
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// What is wrong changes nothing, also of that which is right, and all of it is said.
func TestReloadOfSomethingWrong(t *testing.T) {
	t.Parallel()
	l, p := launchReady(t, nil, "log_level: warning")
	dir := t.TempDir()
	for _, test := range []struct {
		lines []string
		says  string
	}{
		{
			[]string{"log_level: info", "pub_hwm: none", "max_in_flihgt: 5"},
			"pub_hwm: none is not a whole number from 1 to 10000000 [{}/broker:11]; " +
				"max_in_flihgt: is not known; is max_in_flight meant? [{}/broker:12]",
		},
		{
			[]string{"log_level: info", "log_file: " + dir},
			"log_file " + dir + " cannot be opened: is a directory: let the user of salt-broker write there, or name another with log_file ('' for none)",
		},
		{ // what holds for the new ports does not for the old ones
			[]string{
				"log_level: info", fmt.Sprint("ret_port: ", l.masterReq), fmt.Sprint("master_port: ", l.request),
			},
			"master: 127.0.0.1 is salt-broker itself, which listens there on the same ports",
		},
	} {
		p.reloads(t, l, test.lines...)
		says := strings.ReplaceAll(test.says, "{}", l.dir)
		p.stderr.expect(t, "[ERROR   ] the configuration cannot be taken over, nothing has changed: "+says+" component=main\n", p.ended)
		p.notified.expect(t, "STATUS=the configuration has not been taken over: "+says+"\n", p.ended)
	}
	if err := os.Remove(filepath.Join(l.dir, "broker")); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGHUP)
	p.stderr.expect(t, "nothing has changed: cannot read "+l.dir+"/broker (from -c): no such file or directory", p.ended)
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(p.stderr.String(), "told to stop") {
		t.Error("log_level has changed")
	}
}

// With SIGUSR2 both outputs have everything from debug on, also after a reload, and with another one what the levels say.
func TestToggleDebug(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	l, p := launchReady(t, nil, "log_level: error", "log_level_logfile: quiet", "log_file: "+log)
	p.signal(t, syscall.SIGUSR2)
	p.stderr.expect(t, "[INFO    ] SIGUSR2: everything from debug on is logged until the next SIGUSR2\n", p.ended)
	p.reloads(t, l, "log_level: warning", "log_level_logfile: quiet", "log_file: "+log) // debugging goes on
	newScriptedMinion(t, l.request).conn.Close()
	p.stderr.expect(t, "[DEBUG   ] connection ended: ", p.ended)
	p.signal(t, syscall.SIGUSR2)
	p.stderr.expect(t, "[INFO    ] SIGUSR2: log_level and log_level_logfile hold again\n", p.ended)
	p.signal(t, syscall.SIGTERM)
	p.wait(t)
	if strings.Contains(p.stderr.String(), "told to stop") {
		t.Error("log_level does not hold again")
	}
	if got := readFile(t, log); !strings.Contains(got, "connection ended") || strings.Contains(got, "stopped") {
		t.Errorf("the log file has\n%s", got)
	}
}

// Every key is either followed or named.
func TestFollow(t *testing.T) {
	next := config.Default()
	next.MaxInFlight = 1
	next.PubHWM = 7
	running := config.Default()
	running.Loops, next.Loops = 4, 4
	now := follow(running, next)
	if now.MaxInFlight != running.MaxInFlight || now.PubHWM != 7 {
		t.Errorf("max_in_flight %d, pub_hwm %d", now.MaxInFlight, now.PubHWM)
	}
	if keys := now.Changes(next); len(keys) != 1 || keys[0] != "max_in_flight" {
		t.Errorf("%q need a restart", keys)
	}
}

// TestDocsOfReload: the keys that docs/configuration.rst says are followed are, and all others are not.
func TestDocsOfReload(t *testing.T) {
	text := readFile(t, filepath.Join("..", "..", "docs", "configuration.rst"))
	_, text, _ = strings.Cut(text, ".. followed keys\n")
	text, _, _ = strings.Cut(text, ".. end of followed keys\n")
	documented := map[string]bool{}
	for i, key := range strings.Split(text, "``") {
		if i%2 == 1 {
			documented[key] = true
		}
	}
	before := config.Default()
	before.Loops = 1
	for i := range reflect.TypeFor[config.Config]().NumField() {
		next := before
		switch f := reflect.ValueOf(&next).Elem().Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x" + f.String())
		case reflect.Bool:
			f.SetBool(!f.Bool())
		default:
			f.SetInt(f.Int() + int64(time.Second))
		}
		changed := before.Changes(next)
		if len(changed) != 1 {
			t.Fatalf("%d: %q", i, changed)
		}
		followed := len(follow(before, next).Changes(next)) == 0
		if followed != documented[changed[0]] {
			t.Errorf("%s is followed: %v, documented: %v", changed[0], followed, documented[changed[0]])
		}
		delete(documented, changed[0])
	}
	for key := range documented {
		t.Errorf("%s is no key", key)
	}
}
