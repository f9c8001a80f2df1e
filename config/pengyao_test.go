package config

import (
	"slices"
	"strings"
	"testing"
)

// A file for pengyao's salt-broker, with everything that it knows, as its defaults are.
const pengyaoFile = `
interface: '0.0.0.0'
master: salt.example.org
ret_port: '4506'
publish_port: '4505'
ipv6: False
user: root
conf_file: /etc/salt/broker
log_file: /var/log/salt/broker
log_level:
log_datefmt: '%H:%M:%S'
log_datefmt_logfile: '%Y-%m-%d %H:%M:%S'
log_fmt_console: '[%(levelname)-8s] %(message)s'
log_fmt_logfile: '%(asctime)s,%(msecs)03.0f [%(name)-17s][%(levelname)-8s] %(message)s'
log_granular_levels: {}
extension_modules: ''
pidfile: /var/run/salt-broker.pid
tcp_keepalive: 1
tcp_keepalive_idle: 300
tcp_keepalive_cnt: -1
tcp_keepalive_intvl: -1
verify_env: True
`

func TestPengyaoFile(t *testing.T) {
	c, warnings := loaded(t, pengyaoFile)
	want := Default()
	want.Master, want.User, want.PIDFile = "salt.example.org", "root", "/var/run/salt-broker.pid"
	if c != want {
		t.Errorf("%+v\nwant %+v", c, want)
	}
	var keys []string
	for _, w := range warnings {
		keys = append(keys, strings.SplitN(w.String(), ":", 2)[0])
	}
	ignored := []string{
		"conf_file", "log_level", "log_datefmt", "log_datefmt_logfile", "log_fmt_console", "log_fmt_logfile", "log_granular_levels",
		"extension_modules", "verify_env",
	}
	slices.Sort(keys)
	slices.Sort(ignored)
	if !slices.Equal(keys, ignored) {
		t.Errorf("warnings about %q, want %q", keys, ignored)
	}
}

// The file that Uyuni's package brings: the master is not in it.
func TestUyuniFileAsItComes(t *testing.T) {
	for _, text := range []string{"log_to_file: 1\n", "log_to_file: 0\n"} {
		c, warnings := loaded(t, text)
		want := Default()
		if strings.Contains(text, "0") {
			want.LogFile = ""
		}
		if c != want || len(warnings) > 0 {
			t.Errorf("%q: %+v, %v", text, c, warnings)
		}
	}
}
