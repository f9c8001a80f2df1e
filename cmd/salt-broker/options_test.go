package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/config"
	"salt-broker/internal/buffers"
	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/internal/zmtp"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// elsewhere are the keys that reach no option of a proxy, and what they are for.
var elsewhere = map[string]string{
	"default_include":          "which files are read",
	"master_failback":          "the watch over the masters",
	"master_failback_interval": "the watch over the masters",
	"random_master":            "the watch over the masters",
	"ipv6":                     "changes interface where that is not given",
	"max_open_files":           "the process",
	"user":                     "the process",
	"pidfile":                  "the process",
	"log_file":                 "the log",
	"log_level":                "the log",
	"log_level_logfile":        "the log",
	"log_fmt":                  "the log",
	"status_interface":         "the status server",
	"status_port":              "the status server",
	"status_pprof":             "the status server",
}

// others are options that no key is for alone, and what has them set.
var others = map[string]string{
	"pub.Paths":       "several paths to the master: TestPathsReachTheChannels",
	"pub.WarmOverlap": "pubproxy's own, no key is for it",
	"pub.WarmBytes":   "likewise",
	"ret.Spare":       "a path that is left for a quicker one: TestPaths",
}

// reaches says which options a key reaches, and how.
var reaches = []struct {
	key    string
	change func(c *config.Config)
	want   map[string]string
}{
	{"master", func(c *config.Config) { c.Master = "m:1" }, map[string]string{"pub.Master.Address": "m:4505", "ret.Master.Address": "m:1"}},
	{"master_type", func(c *config.Config) { c.MasterType = "cluster" }, map[string]string{
		"pub.Masters": "[salt at salt:4505]", "ret.Masters": "[salt at salt:4506]",
	}},
	{"master_alive_interval", func(c *config.Config) { c.MasterAliveInterval = 1 }, map[string]string{"pub.WarmKeep": "30.000000001s"}},
	{"master_alive_timeout", func(c *config.Config) { c.MasterAliveTimeout = 1 }, map[string]string{"pub.WarmKeep": "10.000000004s"}},
	{"master_port", func(c *config.Config) { c.MasterPort = 1 }, map[string]string{"ret.Master.Address": "salt:1"}},
	{"master_publish_port", func(c *config.Config) { c.MasterPublishPort = 1 }, map[string]string{"pub.Master.Address": "salt:1"}},
	{"source_address", func(c *config.Config) { c.SourceAddress = "::1" }, both("Master.SourceAddress", "::1")},
	{"connect_timeout", func(c *config.Config) { c.ConnectTimeout = 1 }, both("Master.DialTimeout", "1ns")},
	{"recon_default", func(c *config.Config) { c.ReconDefault = 1 }, union(both("Master.Backoff.Default", "1ns"), both("MoveAfter", "1.000000002s"))},
	{"recon_max", func(c *config.Config) { c.ReconMax = 1 }, both("Master.Backoff.Max", "1ns")},
	{"recon_randomize", func(c *config.Config) { c.ReconRandomize = false }, both("Master.Backoff.Randomize", "false")},
	{"on_master_loss", func(c *config.Config) { c.OnMasterLoss = "close" }, both("CloseOnMasterLoss", "true")},
	{"on_master_loss_after", func(c *config.Config) { c.OnMasterLossAfter = 1 }, both("MasterLossAfter", "1ns")},
	{"interface", func(c *config.Config) { c.Interface = "::1" }, map[string]string{"pub.Listen": "[::1]:4505", "ret.Listen": "[::1]:4506"}},
	{"publish_port", func(c *config.Config) { c.PublishPort = 1 }, map[string]string{"pub.Listen": "0.0.0.0:1"}},
	{"ret_port", func(c *config.Config) { c.RetPort = 1 }, map[string]string{"ret.Listen": "0.0.0.0:1"}},
	{"zmq_backlog", func(c *config.Config) { c.Backlog = 1 }, both("Backlog", "1")},
	{"handshake_timeout", func(c *config.Config) { c.HandshakeTimeout = 1 }, union(both("HandshakeTimeout", "1ns"), both("Master.HandshakeTimeout", "1ns"))},
	{"max_connections", func(c *config.Config) { c.MaxConnections = 1 }, both("MaxConnections", "1")},
	{"max_connections_per_address", func(c *config.Config) { c.MaxConnectionsPerAddress = 1 }, both("MaxPerAddress", "1")},
	{"allow", func(c *config.Config) { c.Allow = "[::/0]" }, both("Allow", "[::/0]")},
	{"deny", func(c *config.Config) { c.Deny = "[::/0]" }, both("Deny", "[::/0]")},
	{"tcp_keepalive", func(c *config.Config) { c.TCPKeepalive = false }, union(both("KeepAlive.On", "false"), both("Master.KeepAlive.Enable", "false"))},
	{"tcp_keepalive_idle", func(c *config.Config) { c.TCPKeepaliveIdle = 1 }, union(both("KeepAlive.Idle", "1ns"), both("Master.KeepAlive.Idle", "1ns"))},
	{"tcp_keepalive_cnt", func(c *config.Config) { c.TCPKeepaliveCount = 1 }, union(both("KeepAlive.Count", "1"), both("Master.KeepAlive.Count", "1"))},
	{"tcp_keepalive_intvl", func(c *config.Config) { c.TCPKeepaliveInterval = 1 }, union(both("KeepAlive.Interval", "1ns"), both("Master.KeepAlive.Interval", "1ns"))},
	{"zmq_heartbeat_ivl", func(c *config.Config) { c.HeartbeatInterval = 1 }, both("HeartbeatInterval", "1ns")},
	{"zmq_heartbeat_timeout", func(c *config.Config) { c.HeartbeatTimeout = 1 }, both("HeartbeatTimeout", "1ns")},
	{"pub_hwm", func(c *config.Config) { c.PubHWM = 1 }, map[string]string{"pub.HWM": "1"}},
	{"pub_log_size", func(c *config.Config) { c.PubLogSize = 1 }, map[string]string{"pub.LogBytes": "1"}},
	{"max_lost_publishes", func(c *config.Config) { c.MaxLostPublishes = 1 }, map[string]string{"pub.MaxLost": "1"}},
	{"max_subscriptions", func(c *config.Config) { c.MaxSubscriptions = 1 }, map[string]string{"pub.MaxSubscriptions": "1"}},
	{"publish_hold", func(c *config.Config) { c.PublishHold = 1 }, map[string]string{"pub.Hold": "1ns"}},
	{"max_in_flight", func(c *config.Config) { c.MaxInFlight = 1000 }, map[string]string{"ret.MaxInFlight": "1000"}},
	{"request_deadline", func(c *config.Config) { c.RequestDeadline = 1 }, map[string]string{"ret.RequestDeadline": "1ns"}},
	{"max_message_size", func(c *config.Config) { c.MaxMessageSize = 1 }, both("MaxMessage", "1")},
	{"max_buffered_bytes", func(c *config.Config) { c.MaxBufferedBytes = 1 }, both("Buffers", "1")},
	{"loops", func(c *config.Config) { c.Loops = 33 }, both("Loops", "33")},
	{"drain_timeout", func(c *config.Config) { c.DrainTimeout = 1 }, map[string]string{"ret.DrainTimeout": "1ns"}},
}

func both(path, value string) map[string]string {
	return map[string]string{"pub." + path: value, "ret." + path: value}
}

func union(a, b map[string]string) map[string]string {
	maps.Copy(a, b)
	return a
}

func TestEveryKeyReachesItsOption(t *testing.T) {
	before := optionsOf(config.Default())
	named := slices.Collect(maps.Keys(elsewhere))
	changed := map[string]bool{}
	for _, test := range reaches {
		named = append(named, test.key)
		t.Run(test.key, func(t *testing.T) {
			c := config.Default()
			test.change(&c)
			got := optionsOf(c)
			maps.DeleteFunc(got, func(path, value string) bool { return before[path] == value })
			if !maps.Equal(got, test.want) {
				t.Errorf("it changes %v, want %v", got, test.want)
			}
		})
		for path := range test.want {
			changed[path] = true
		}
	}
	for key := range config.Default().Settings() {
		if !slices.Contains(named, key) {
			t.Errorf("%s reaches nothing", key)
		}
	}
	for path := range before {
		if !changed[path] && others[path] == "" {
			t.Errorf("nothing sets %s", path)
		}
	}
}

// optionsOf are both proxies' options, each with its path. What no key is for is left out.
func optionsOf(c config.Config) map[string]string {
	log := logrus.New()
	log.SetOutput(io.Discard)
	all := map[string]string{}
	flatten(all, "pub", reflect.ValueOf(publishOptions(c, servingOf(c), buffers.New(c.MaxBufferedBytes, log), log)))
	flatten(all, "ret", reflect.ValueOf(requestOptions(c, servingOf(c), buffers.New(c.MaxBufferedBytes, log), log)))
	delete(all, "ret.Name") // of the machine and of the program
	delete(all, "ret.Version")
	return all
}

// servingOf is which masters serve with a configuration when nothing is known of them.
func servingOf(c config.Config) masters.Serving {
	return masters.New(watchOptions(c), nil, nil, nil).Serving()
}

func flatten(all map[string]string, path string, v reflect.Value) {
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			flatten(all, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
		return
	}
	switch v.Interface().(type) {
	case logrus.FieldLogger, zmtp.SocketType, func(bool), *master.Herald, func(string, []byte), nil: // the log, what run and the proxies set
	case func(context.Context, string, func(context.Context) error) error: // the supervisor's
	case []pubproxy.Peer:
		var peers []string
		for _, p := range v.Interface().([]pubproxy.Peer) {
			peers = append(peers, p.Name+" at "+p.Master.Address)
		}
		all[path] = fmt.Sprint(peers)
	case []retproxy.Peer:
		var peers []string
		for _, p := range v.Interface().([]retproxy.Peer) {
			peers = append(peers, p.Name+" at "+p.Master.Address)
		}
		all[path] = fmt.Sprint(peers)
	case *buffers.Budget:
		all[path] = fmt.Sprint(v.Interface().(*buffers.Budget).Limit())
	default:
		all[path] = fmt.Sprint(v.Interface())
	}
}

func TestLogsSayWhichChannel(t *testing.T) {
	c, log := config.Default(), logrus.New()
	c.MasterType = config.MasterTypeCluster
	p, r := publishOptions(c, servingOf(c), nil, log), requestOptions(c, servingOf(c), nil, log)
	for name, loggers := range map[string][]logrus.FieldLogger{"publish": {p.Log, p.Master.Log}, "request": {r.Log, r.Master.Log, r.Masters[0].Master.Log}} {
		for _, l := range loggers {
			if got := l.(*logrus.Entry).Data["component"]; got != name {
				t.Errorf("component %v, want %s", got, name)
			}
		}
	}
}

func TestLoops(t *testing.T) {
	for _, test := range []struct {
		name                      string
		loops, inFlight, pub, ret int
	}{
		{"one for each CPU", 0, 1 << 20, runtime.NumCPU(), runtime.NumCPU()},
		{"as many as asked for", 5, 64, 5, 5},
		{"no more for requests than may be at the master", 5, 3, 5, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config.Config{Loops: test.loops, MaxInFlight: test.inFlight}
			if pub, ret := publishLoops(c), requestLoops(c); pub != test.pub || ret != test.ret {
				t.Errorf("%d and %d loops, want %d and %d", pub, ret, test.pub, test.ret)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	for _, test := range []struct {
		name, masters, kind string
		want                int
	}{
		{"one master", "a", config.MasterTypeStr, 1 + 4 + 1},
		{"one of a list", "[a, b, c]", config.MasterTypeFailover, 1 + 4 + 3},
		{"by several paths", "[{name: a, paths: [b, c, d]}, e]", config.MasterTypeFailover, 3 + 4 + 4},
		{"peers of a cluster", "[a, b, c]", config.MasterTypeCluster, 2 + 3*4 + 3},
		{"one that is left of a cluster", "[a]", config.MasterTypeCluster, 1 + 4 + 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config.Config{Loops: 2, MaxInFlight: 64, Master: test.masters, MasterType: test.kind}
			if n := linksOf(c); n != test.want {
				t.Errorf("%d links, want %d", n, test.want)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	c := config.Config{MaxBufferedBytes: 400 << 20, PubLogSize: 10 << 20}
	t.Setenv("GOMEMLIMIT", "1GiB")
	if got := boundMemory(c); got != before {
		t.Errorf("%d bytes although the environment says something", got)
	}
	if err := os.Unsetenv("GOMEMLIMIT"); err != nil { // t.Setenv brings back what there was
		t.Fatal(err)
	}
	if got, want := boundMemory(c), int64(500+20+512)<<20; got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}

func TestThreads(t *testing.T) {
	before := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(before)
	c := config.Config{Loops: 3, MaxInFlight: 64, DrainTimeout: time.Second}

	t.Setenv("GOMAXPROCS", "2")
	if got := raiseThreads(c); got != 2 {
		t.Errorf("%d threads although the environment says 2", got)
	}
	if err := os.Unsetenv("GOMAXPROCS"); err != nil { // t.Setenv brings back what there was
		t.Fatal(err)
	}
	if got := raiseThreads(c); got != 7 {
		t.Errorf("%d threads for twice three loops, want 7", got)
	}
	runtime.GOMAXPROCS(20)
	if got := raiseThreads(c); got != 20 {
		t.Errorf("%d threads where there were 20", got)
	}
}
