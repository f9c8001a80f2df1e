package config

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestValues(t *testing.T) {
	for _, test := range []struct {
		text string
		want func(c *Config)
	}{
		{"publish_port: '4515'", func(c *Config) { c.PublishPort, c.MasterPublishPort = 4515, 4515 }},
		{"ret_port: \" 65535 \"", func(c *Config) { c.RetPort, c.MasterPort = 65535, 65535 }},
		{"master: salt.example.org", func(c *Config) { c.Master = "salt.example.org" }},
		{"master: [salt.example.org]", func(c *Config) { c.Master = "salt.example.org" }},
		{"master:\n  - 192.0.2.1:4516", func(c *Config) { c.Master = "192.0.2.1:4516" }},
		{"master: &m '2001:db8::1'\nsource_address: *m", func(c *Config) { c.Master, c.SourceAddress = "2001:db8::1", "2001:db8::1" }},
		{"master: [{name: salt, paths: salt}]", func(*Config) {}},
		{"master: [{name: m1, paths: [192.0.2.1]}]", func(c *Config) { c.Master = "[{name: m1, paths: [192.0.2.1]}]" }},
		{"master: [{paths: ['2001:db8::1']}]", func(c *Config) { c.Master = "2001:db8::1" }},
		{"master: '[a]'", func(c *Config) { c.Master = "a" }},
		{"master_type: str", func(*Config) {}},
		{"ipv6: yes\ninterface: fe80::1%eth0", func(c *Config) { c.IPv6, c.Interface = true, "fe80::1%eth0" }},
		{"recon_randomize: 0", func(c *Config) { c.ReconRandomize = false }},
		{"recon_randomize: 'no'", func(c *Config) { c.ReconRandomize = false }},
		{"recon_randomize: Off", func(c *Config) { c.ReconRandomize = false }},
		{"tcp_keepalive: -1", func(c *Config) { c.TCPKeepalive = false }},
		{"tcp_keepalive: 1", func(*Config) {}},
		{"tcp_keepalive_idle: -1\ntcp_keepalive_cnt: 3\ntcp_keepalive_intvl: 20.5", func(c *Config) {
			c.TCPKeepaliveIdle, c.TCPKeepaliveCount, c.TCPKeepaliveInterval = -time.Second, 3, 20500*time.Millisecond
		}},
		{"drain_timeout: 0", func(c *Config) { c.DrainTimeout = 0 }},
		{"drain_timeout: '2.5'", func(c *Config) { c.DrainTimeout = 2500 * time.Millisecond }},
		{"connect_timeout: 500", func(c *Config) { c.ConnectTimeout = time.Second / 2 }},
		{"max_message_size: 1048576", func(c *Config) { c.MaxMessageSize = 1 << 20 }},
		{"max_message_size: 0x200000", func(c *Config) { c.MaxMessageSize = 2 << 20 }},
		{"max_message_size: 1024k", func(c *Config) { c.MaxMessageSize = 1 << 20 }},
		{"max_message_size: 2M", func(c *Config) { c.MaxMessageSize = 2 << 20 }},
		{"max_message_size: 3 MiB", func(c *Config) { c.MaxMessageSize = 3 << 20 }},
		{"max_message_size: 2048KiB", func(c *Config) { c.MaxMessageSize = 2 << 20 }},
		{"max_message_size: 1g", func(c *Config) { c.MaxMessageSize, c.MaxBufferedBytes = 1<<30, 4<<30 }},
		{"pub_log_size: '1073741824'", func(c *Config) { c.PubLogSize = 1 << 30 }},
		{"max_lost_publishes: 0", func(c *Config) { c.MaxLostPublishes = 0 }},
		{"log_level: WARNING", func(*Config) {}},
		{"log_file: ''", func(c *Config) { c.LogFile = "" }},
		{"user: salt-broker", func(c *Config) { c.User = "salt-broker" }},
		{"user: 998", func(c *Config) { c.User = "998" }},
		{"pidfile: /run/salt-broker.pid", func(c *Config) { c.PIDFile = "/run/salt-broker.pid" }},
		{"status_interface: '::1'\nstatus_port: '0'\nstatus_pprof: yes", func(c *Config) {
			c.StatusInterface, c.StatusPort, c.StatusPprof = "::1", 0, true
		}},
		{"default_include: ''", func(c *Config) { c.DefaultInclude = "" }},
		{"max_connections: 5\nmax_connections_per_address: '7'", func(c *Config) { c.MaxConnections, c.MaxConnectionsPerAddress = 5, 7 }},
		{"allow: []\ndeny: ''", func(*Config) {}},
		{"allow: 192.0.2.1", func(c *Config) { c.Allow = "[192.0.2.1/32]" }},
		{"allow: 192.0.2.0/24, 2001:db8::/32", func(c *Config) { c.Allow = "[192.0.2.0/24, 2001:db8::/32]" }},
		{"deny: [192.0.2.0/24, '::1', 192.0.2.0/24]", func(c *Config) { c.Deny = "[192.0.2.0/24, '::1/128']" }},
		{"deny: [192.0.2.0/24, 2001:db8::/32, 198.51.100.7]", func(c *Config) { c.Deny = "[192.0.2.0/24, 2001:db8::/32, 198.51.100.7/32]" }},
		{"deny: [0.0.0.0/0, '::/0']", func(c *Config) { c.Deny = "[0.0.0.0/0, '::/0']" }},
		{"deny:\n  - 0.0.0.0/0\n  - ::ffff:198.51.100.0/120", func(c *Config) { c.Deny = "[0.0.0.0/0, 198.51.100.0/24]" }},
	} {
		t.Run(test.text, func(t *testing.T) {
			want := Default()
			test.want(&want)
			if c, warnings := loaded(t, test.text); c != want || warnings != nil {
				t.Errorf("%+v\nwant %+v\nwarnings %v", c, want, warnings)
			}
		})
	}
}

func TestLevels(t *testing.T) {
	for _, level := range Levels() {
		if c, _ := loaded(t, "log_level: "+level); c.LogLevel != level {
			t.Errorf("%s: %s", level, c.LogLevel)
		}
	}
	Levels()[0] = "changed by a caller"
	if !slices.Contains(Levels(), "all") {
		t.Error("a caller can change the levels")
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1: "1", 1023: "1023", 1024: "1 KiB", 1536: "1536", 3 << 20: "3 MiB", 5 << 30: "5 GiB"} {
		if text := bytesText(n); text != want {
			t.Errorf("%d: %s, want %s", n, text, want)
		}
	}
}

// A value that is refused leaves nothing behind: the rest of the file is judged as if it had not been there.
func TestRefusedValueIsForgotten(t *testing.T) {
	for _, k := range keys {
		t.Run(k.name, func(t *testing.T) {
			c, _, err := fromText(k.name + ": {a: map}")
			want := fmt.Sprintf("%s: a map %s [broker:1]", k.name, k.of(new(Default())).want())
			if c != Default() || err == nil || err.Error() != want {
				t.Errorf("%v\nwant %s\n%+v", err, want, c)
			}
		})
	}
}
