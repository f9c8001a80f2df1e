package config

import (
	"testing"
	"time"
)

// A file as it is found on a proxy of Uyuni.
const uyuniFile = `
# /etc/salt/broker of a proxy
master: uyuni.example.org
publish_port: '4505'
ret_port: '4506'
interface: 0.0.0.0
ipv6: False
tcp_keepalive: True
tcp_keepalive_idle: 300
tcp_keepalive_cnt: -1
tcp_keepalive_intvl: -1
connect_timeout: 0
reconnect_ivl: 100
heartbeat_ivl: 20000
heartbeat_timeout: 0
log_to_file: 1
drop_after_retries: 10
wait_for_backend: False
`

func TestUyuniFile(t *testing.T) {
	c, warnings := loaded(t, uyuniFile)
	want := Default()
	want.Master = "uyuni.example.org"
	want.ReconDefault, want.ReconMax = 100*time.Millisecond, 100*time.Millisecond
	want.HeartbeatInterval, want.HeartbeatTimeout = 20*time.Second, 0
	if c != want {
		t.Errorf("%+v\nwant %+v", c, want)
	}
	compare(t, warnings, []string{
		"connect_timeout: 0 leaves the time to the system with Uyuni, some two minutes; here the default holds [broker:12]",
		"drop_after_retries: 10 has no effect: requests wait here only as long as their minions do, and max_in_flight bounds what reaches the master [broker:17]",
		"wait_for_backend: False has no effect: the ports for minions are open at once, and what they ask waits for the master [broker:18]",
	})
}

func TestUyuniAliases(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       func(c *Config)
		warnings   []string
	}{
		{"alone", "heartbeat_ivl: 1000\nheartbeat_timeout: 4000", func(c *Config) {
			c.HeartbeatInterval, c.HeartbeatTimeout = time.Second, 4*time.Second
		}, nil},
		{"beside Salt's", "heartbeat_ivl: 1000\nzmq_heartbeat_ivl: 2000", func(c *Config) {
			c.HeartbeatInterval, c.HeartbeatTimeout = 2*time.Second, 6*time.Second
		}, []string{"heartbeat_ivl: 1000 has no effect beside zmq_heartbeat_ivl [broker:1]"}},
		{"beside one of two", "recon_max: 5000\nreconnect_ivl: 100", func(c *Config) {
			c.ReconMax = 5 * time.Second
		}, []string{"reconnect_ivl: 100 has no effect beside recon_max [broker:2]"}},
		{"beside both", "recon_max: 5000\nrecon_default: 500\nreconnect_ivl: 100", func(c *Config) {
			c.ReconDefault, c.ReconMax = time.Second/2, 5*time.Second
		}, []string{"reconnect_ivl: 100 has no effect beside recon_default and recon_max [broker:3]"}},
		{"no value", "heartbeat_ivl:", func(*Config) {}, []string{"heartbeat_ivl: has no value and counts as not given [broker:1]"}},
		{"log to the terminal", "log_to_file: 0", func(c *Config) { c.LogFile = "" }, nil},
		{"log to a file", "log_to_file: '1'", func(*Config) {}, nil},
		{"log to another file", "log_to_file: 0\nlog_file: /log", func(c *Config) { c.LogFile = "/log" }, []string{
			"log_to_file: 0 has no effect beside log_file [broker:1]",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := Default()
			test.want(&want)
			c, warnings := loaded(t, test.text)
			if c != want {
				t.Errorf("%+v\nwant %+v", c, want)
			}
			compare(t, warnings, test.warnings)
		})
	}
}

// A fault names the word that was used, once.
func TestUyuniFaults(t *testing.T) {
	for text, want := range map[string]string{
		"reconnect_ivl: -1":       "reconnect_ivl: -1 is not a number of milliseconds from 1 to 3600000 [broker:1]",
		"heartbeat_ivl: often":    "heartbeat_ivl: often is not a number of milliseconds from 0 to 3600000 [broker:1]",
		"heartbeat_ivl: {}":       "heartbeat_ivl: a map is not a number of milliseconds from 0 to 3600000 [broker:1]",
		"heartbeat_timeout: 1000": "heartbeat_timeout: 1000 is less than zmq_heartbeat_ivl (15000) [broker:1]",
		"log_to_file: /log":       "log_to_file: /log is not 0 or 1 [broker:1]",
	} {
		if _, _, err := fromText(text); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}
