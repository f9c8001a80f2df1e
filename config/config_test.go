package config

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestDefaultIsGood(t *testing.T) {
	if faults := Default().Validate(); faults != nil {
		t.Fatal(faults)
	}
}

func TestEmptyFileIsDefault(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "comments": "# master: example\n", "document start": "---\n", "null": "~\n", "byte order mark": "\ufeff",
	} {
		t.Run(name, func(t *testing.T) {
			if c, warnings := loaded(t, text); c != Default() || warnings != nil {
				t.Errorf("%+v, warnings %v", c, warnings)
			}
		})
	}
}

// Every field has a key and every key a field of its own: what changes one changes nothing else.
func TestKeysAreFields(t *testing.T) {
	if fields := reflect.TypeFor[Config]().NumField(); len(keys) != fields {
		t.Errorf("%d keys, %d fields", len(keys), fields)
	}
	owner := map[any]string{}
	c := Default()
	for _, k := range keys {
		v := reflect.ValueOf(k.of(&c))
		for v.Kind() == reflect.Struct {
			v = v.Field(0)
		}
		if other, taken := owner[v.Pointer()]; taken {
			t.Errorf("%s and %s are the same field", k.name, other)
		}
		owner[v.Pointer()] = k.name
	}
}

// What Settings yields is a file that has the same meaning.
func TestSettingsLoadAgain(t *testing.T) {
	was := Default()
	was.Master, was.IPv6, was.Interface, was.DrainTimeout, was.MaxMessageSize = "[2001:db8::1]:4507", true, "::1", time.Second/2, 3<<20
	text := ""
	for key, value := range was.Settings() {
		if value == "-1" || value == "''" {
			text += key + ": " + value + "\n"
			continue
		}
		text += key + ": '" + value + "'\n"
	}
	if is, _ := loaded(t, text); is != was {
		t.Errorf("%+v\nwas %+v", is, was)
	}
}

func TestSettingsCanStop(t *testing.T) {
	for key := range Default().Settings() {
		if key != "default_include" {
			t.Fatalf("went on to %s", key)
		}
		break
	}
}

func TestChanges(t *testing.T) {
	was := Default()
	if changed := was.Changes(was); changed != nil {
		t.Errorf("nothing changed: %q", changed)
	}
	is := was
	is.LogLevel, is.RetPort = "debug", 4516
	if changed := was.Changes(is); !slices.Equal(changed, []string{"ret_port", "log_level"}) {
		t.Errorf("%q", changed)
	}
}

// Some keys follow others until they are given.
func TestFollow(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       func(c *Config)
	}{
		{"interface follows ipv6", "ipv6: True", func(c *Config) { c.IPv6, c.Interface = true, "::" }},
		{"interface given", "ipv6: True\ninterface: ::1", func(c *Config) { c.IPv6, c.Interface = true, "::1" }},
		{"ports of the master", "publish_port: 5505\nret_port: 5506", func(c *Config) {
			c.PublishPort, c.MasterPublishPort, c.RetPort, c.MasterPort = 5505, 5505, 5506, 5506
		}},
		{"ports of the master given", "publish_port: 5505\nret_port: 5506\nmaster_port: 4506\nmaster_publish_port: 4505", func(c *Config) {
			c.PublishPort, c.RetPort = 5505, 5506
		}},
		{"several masters are asked", "master: [a, b]\nmaster_type: failover", func(c *Config) {
			c.Master, c.MasterType, c.MasterAliveInterval = "[a, b]", MasterTypeFailover, 30*time.Second
		}},
		{"several masters are asked as often as is said", "master: [a, b]\nmaster_type: failover\nmaster_alive_interval: 7", func(c *Config) {
			c.Master, c.MasterType, c.MasterAliveInterval = "[a, b]", MasterTypeFailover, 7*time.Second
		}},
		{"heartbeat", "zmq_heartbeat_ivl: 60000", func(c *Config) {
			c.HeartbeatInterval, c.HeartbeatTimeout = time.Minute, 3*time.Minute
		}},
		{"heartbeat off", "zmq_heartbeat_ivl: 0", func(c *Config) { c.HeartbeatInterval, c.HeartbeatTimeout = 0, 0 }},
		{"heartbeat given", "zmq_heartbeat_ivl: 1000\nzmq_heartbeat_timeout: 2000", func(c *Config) {
			c.HeartbeatInterval, c.HeartbeatTimeout = time.Second, 2*time.Second
		}},
		{"buffers", "max_message_size: 512 MiB", func(c *Config) { c.MaxMessageSize, c.MaxBufferedBytes = 512<<20, 2<<30 }},
		{"buffers given", "max_message_size: 512 MiB\nmax_buffered_bytes: 1 GiB", func(c *Config) {
			c.MaxMessageSize, c.MaxBufferedBytes = 512<<20, 1<<30
		}},
		{"level of the log file", "log_level: debug", func(c *Config) { c.LogLevel, c.LogLevelLogfile = "debug", "debug" }},
		{"level of the log file given", "log_level: debug\nlog_level_logfile: quiet", func(c *Config) {
			c.LogLevel, c.LogLevelLogfile = "debug", "quiet"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := Default()
			test.want(&want)
			if c, warnings := loaded(t, test.text); c != want || warnings != nil {
				t.Errorf("%+v\nwant %+v\nwarnings %v", c, want, warnings)
			}
		})
	}
}
