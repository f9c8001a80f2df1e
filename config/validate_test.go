package config

import (
	"strings"
	"testing"
)

// Every kind of fault, in the words that an operator reads.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"port out of range", "publish_port: 70000", []string{"publish_port: 70000 is not a port (1 to 65535) [broker:1]"}},
		{"port zero", "\nret_port: 0", []string{"ret_port: 0 is not a port (1 to 65535) [broker:2]"}},
		{"port as a word", "ret_port: high", []string{"ret_port: high is not a port (1 to 65535) [broker:1]"}},
		{"port with a fraction", "ret_port: 4506.5", []string{"ret_port: 4506.5 is not a port (1 to 65535) [broker:1]"}},
		{"port as an empty text", "ret_port: ''", []string{"ret_port: '' is not a port (1 to 65535) [broker:1]"}},
		{"port as a list", "ret_port: [4506]", []string{"ret_port: a list of 1 is not a port (1 to 65535) [broker:1]"}},
		{"port as a map", "ret_port:\n  tcp: 4506", []string{"ret_port: a map is not a port (1 to 65535) [broker:1]"}},
		{"port as a date", "ret_port: 2026-01-01", []string{"ret_port: 2026-01-01 is not a port (1 to 65535) [broker:1]"}},
		{"port too big for an integer", "ret_port: 99999999999999999999", []string{"ret_port: 99999999999999999999 is not a port (1 to 65535) [broker:1]"}},
		{"equal ports", "publish_port: 4506", []string{"ret_port: 4506 is the publish_port as well [broker:1]"}},
		{"equal ports, both given", "publish_port: 4600\nret_port: 4600", []string{"ret_port: 4600 is the publish_port as well [broker:2]"}},
		{"max_buffered_bytes", "max_buffered_bytes: 511 MiB", []string{"max_buffered_bytes: 511 MiB has no room for two messages of max_message_size [broker:1]"}},
		{"status_port out of range", "status_port: -1", []string{"status_port: -1 is not a port (0 to 65535, 0 for none) [broker:1]"}},
		{"status_port is the publish_port", "status_port: 4505", []string{"status_port: 4505 is the publish_port as well [broker:1]"}},
		{"status_port is the ret_port", "ret_port: 4507", []string{"status_port: 4507 is the ret_port as well [broker:1]"}},
		{"status_interface", "status_interface: lo", []string{"status_interface: lo is not an IP address [broker:1]"}},
		{"equal ports of the master", "master_port: 4505", []string{"master_publish_port: 4505 is the master's port for requests as well [broker:1]"}},
		{"equal port in master", "master: salt:4505", []string{"master_publish_port: 4505 is the master's port for requests as well [broker:1]"}},
		{"master is no host", "master: 'tcp://salt:4506'", []string{"master: tcp://salt:4506 is not a host, host:port or [IPv6 address]:port [broker:1]"}},
		{"master is a number", "master: 5", []string{"master: 5 is not a host, host:port or [IPv6 address]:port [broker:1]"}},
		{"master is an empty list", "master: []", []string{"master: a list of 0 is not a host, host:port or [IPv6 address]:port [broker:1]"}},
		{"masters", "master: [a, b]", []string{"master_type: str with several masters is, for Salt's minions, all of them at once, which a relay cannot be; failover is the first of them that answers, cluster are the peers of one cluster [broker:1]"}},
		{"masters, one is none", "master: [a, 'tcp://b']", []string{"master: a list of 2 has tcp://b, which is not a host, host:port or [IPv6 address]:port [broker:1]"}},
		{"masters, one is a number", "master: [a, 5]", []string{"master: a list of 2 has 5, which is not a host, host:port or [IPv6 address]:port [broker:1]"}},
		{"masters, one is a list", "master: [a, [b]]", []string{"master: a list of 2 has [b], which is not a host, host:port or [IPv6 address]:port [broker:1]"}},
		{"masters, one is nothing", "master: [a, ~]", []string{"master: a list of 2 is not a host, host:port or [IPv6 address]:port [broker:1]"}},
		{"masters, twice", "master: [a, a]", []string{"master: a list of 2 has two masters called a [broker:1]"}},
		{"masters, the same port twice", "master: ['2001:db8::1', '[2001:db8::1]:4506']", []string{"master_type: str with several masters is, for Salt's minions, all of them at once, which a relay cannot be; failover is the first of them that answers, cluster are the peers of one cluster [broker:1]", "master: a list of 2 has [2001:db8::1]:4506 twice [broker:1]"}},
		{"masters, too many", "master: [" + strings.Repeat("a,", 65) + "]", []string{"master: a list of 65 has more than 64 masters [broker:1]"}},
		{"masters, one is salt-broker", "master: [{name: m1, paths: 127.0.0.1}, b]", []string{"master_type: str with several masters is, for Salt's minions, all of them at once, which a relay cannot be; failover is the first of them that answers, cluster are the peers of one cluster [broker:1]", "master: a list of 2 has 127.0.0.1, which is salt-broker itself, which listens there on the same ports [broker:1]"}},
		{"a map without paths", "master: [{name: m1}]", []string{"master: a list of 1 has no paths, such as {name: m1, paths: [a.example, b.example]} [broker:1]"}},
		{"a map with another key", "master: [{name: m1, path: a}]", []string{"master: a list of 1 has the key path; name and paths are what a master takes [broker:1]"}},
		{"a map with a key that is no word", "master: [{1: m1}, a]", []string{"master: a list of 2 has the key 1; name and paths are what a master takes [broker:1]"}},
		{"a path that is none", "master: [{paths: [a, 5]}]", []string{"master: a list of 1 has 5, which is not a host, host:port or [IPv6 address]:port [broker:1]"}},
		{"too many paths", "master: [{paths: [" + strings.Repeat("a,", 17) + "]}]", []string{"master: a list of 1 has a master with more than 16 paths [broker:1]"}},
		{"a name that is none", "master: [{name: a b, paths: [a]}]", []string{"master: a list of 1 has the name a b, which is not up to 128 letters, digits and any of . _ - : [ ] [broker:1]"}},
		{"two of a name", "master: [{name: b, paths: [a]}, b]", []string{"master: a list of 2 has two masters called b [broker:1]"}},
		{"several paths that nobody asks", "master: [{name: m1, paths: [a, b]}]\nmaster_alive_interval: 0", []string{"master_alive_interval: 0 asks no master whether it lives, and of several, or several paths, nobody would know which one does [broker:2]"}},
		{"peers that nobody asks", "master: [a, b]\nmaster_type: cluster\nmaster_alive_interval: 0", []string{"master_alive_interval: 0 asks no master whether it lives, and of several, or several paths, nobody would know which one does [broker:3]"}},
		{"a peer twice", "master: [{name: a, paths: [h]}, {name: b, paths: [h]}]\nmaster_type: cluster", []string{"master: a list of 2 has h:4506 twice [broker:1]"}},
		{"masters that nobody asks", "master: [a, b]\nmaster_type: failover\nmaster_alive_interval: 0", []string{"master_alive_interval: 0 asks no master whether it lives, and of several, or several paths, nobody would know which one does [broker:3]"}},
		{"master_alive_timeout", "master_alive_timeout: 0", []string{"master_alive_timeout: 0 is not a number of seconds from 1 to 600 [broker:1]"}},
		{"master_type unknown", "master_type: [str]", []string{"master_type: a list of 1 is not one of str, failover, cluster [broker:1]"}},
		{"master is salt-broker", "master: 127.0.0.1", []string{"master: 127.0.0.1 is salt-broker itself, which listens there on the same ports [broker:1]"}},
		{"master is localhost", "master: localhost\nmaster_publish_port: 5505", []string{"master: localhost is salt-broker itself, which listens there on the same ports [broker:1]"}},
		{"master is the interface", "interface: 192.0.2.1\nmaster: 192.0.2.1", []string{"master: 192.0.2.1 is salt-broker itself, which listens there on the same ports [broker:2]"}},
		{"interface is a name", "interface: eth0", []string{"interface: eth0 is not an IP address [broker:1]"}},
		{"interface is empty", "interface: ''", []string{"interface: '' is not an IP address [broker:1]"}},
		{"source_address", "source_address: 10.0.0.256", []string{"source_address: 10.0.0.256 is not an IP address [broker:1]"}},
		{
			"families", "master: '2001:db8::1'\nsource_address: 192.0.2.1",
			[]string{"source_address: 192.0.2.1 cannot reach the master's address 2001:db8::1: one is IPv4, the other IPv6 [broker:2]"},
		},
		{"negative recon_max", "recon_max: -1", []string{"recon_max: -1 is not a number of milliseconds from 0 to 3600000 [broker:1]"}},
		{"negative time", "drain_timeout: -5", []string{"drain_timeout: -5 is not a number of seconds from 0 to 3600 [broker:1]"}},
		{"time with a unit", "drain_timeout: 5s", []string{"drain_timeout: 5s is not a number of seconds from 0 to 3600 [broker:1]"}},
		{"time without end", "drain_timeout: .inf", []string{"drain_timeout: .inf is not a number of seconds from 0 to 3600 [broker:1]"}},
		{"time that is no number", "drain_timeout: .nan", []string{"drain_timeout: .nan is not a number of seconds from 0 to 3600 [broker:1]"}},
		{"keepalive time", "tcp_keepalive_idle: -2", []string{"tcp_keepalive_idle: -2 is not a number of seconds from 1 to 32767, or -1 for the system's own [broker:1]"}},
		{"keepalive count", "tcp_keepalive_cnt: 0", []string{"tcp_keepalive_cnt: 0 is not a whole number from 1 to 127, or -1 for the system's own [broker:1]"}},
		{"keepalive", "tcp_keepalive: 2", []string{"tcp_keepalive: 2 is not True or False, or -1 for the system's own [broker:1]"}},
		{"boolean", "ipv6: maybe", []string{"ipv6: maybe is not True or False [broker:1]"}},
		{"heartbeat", "zmq_heartbeat_timeout: 5000", []string{"zmq_heartbeat_timeout: 5000 is less than zmq_heartbeat_ivl (15000) [broker:1]"}},
		{"count", "pub_hwm: 0", []string{"pub_hwm: 0 is not a whole number from 1 to 10000000 [broker:1]"}},
		{"size", "max_message_size: 1k", []string{"max_message_size: 1k is not a size from 1 MiB to 2 GiB (bytes, or with KiB, MiB, GiB) [broker:1]"}},
		{"size with an unclear unit", "pub_log_size: 64 MB", []string{"pub_log_size: 64 MB is not a size from 1 MiB to 64 GiB (bytes, or with KiB, MiB, GiB) [broker:1]"}},
		{"size beyond all", "pub_log_size: 9999999999999g", []string{"pub_log_size: 9999999999999g is not a size from 1 MiB to 64 GiB (bytes, or with KiB, MiB, GiB) [broker:1]"}},
		{"level", "log_level: loud", []string{"log_level: loud is not a log level (all, garbage, trace, debug, profile, info, warning, error, critical, quiet) [broker:1]"}},
		{"log_file", "log_file: log/broker", []string{"log_file: log/broker is not the absolute path of a file [broker:1]"}},
		{"log_file is a directory", "log_file: /var/log/", []string{"log_file: /var/log/ is not the absolute path of a file [broker:1]"}},
		{"pidfile is the log", "log_file: /x\npidfile: /x", []string{"pidfile: /x is the log_file as well [broker:2]"}},
		{"user", "user: 'a b'", []string{"user: a b is not the name of a user [broker:1]"}},
		{"pattern", "default_include: '[a'", []string{"default_include: [a is not a pattern of file names [broker:1]"}},
		{"unknown key", "ret_prot: 4506", []string{"ret_prot: is not known; is ret_port meant? [broker:1]"}},
		{"unknown key, nothing near", "height_of_the_sky: blue", []string{"height_of_the_sky: is not known [broker:1]"}},
		{"another case", "Publish_Port: 4505", []string{"Publish_Port: is not known; is publish_port meant? [broker:1]"}},
		{"a key that breaks lines", "\"a\\nb\": 1", []string{`"a\nb": is not known [broker:1]`}},
		{"twice", "ret_port: 1\nuser: a\nret_port: 2", []string{"ret_port: is given twice, first in line 1 [broker:3]"}},
		{"broken YAML", "master: salt\nret_port: [4506\n", []string{"broken YAML: did not find expected ',' or ']' [broker:2]"}},
		{"broken YAML in the first line", "master: - a", []string{"broken YAML: block sequence entries are not allowed in this context [broker:1]"}},
		{"unclosed in the first line", "master: [", []string{"broken YAML: did not find expected node content [broker:1]"}},
		{"a tab", "master: salt\n\tret_port: 4506\n", []string{"broken YAML: found a tab character that violates indentation [broker:2]"}},
		{"no colon", "# one\nmaster: salt\nret_port 4506\nuser: a\n", []string{"broken YAML: could not find expected ':' [broker:3]"}},
		{"indented", "master: salt\n\n  ret_port: 4506\n", []string{"broken YAML: mapping values are not allowed in this context [broker:3]"}},
		{"behind a byte order mark", "\ufeffmaster: {", []string{"broken YAML: did not find expected node content [broker:1]"}},
		{"no text", "master: \xff\xfe", []string{"broken YAML: invalid leading UTF-8 octet [broker:1]"}},
		{"an anchor that is nowhere", "\nuser: *a", []string{"broken YAML: unknown anchor 'a' referenced [broker:2]"}},
		{"a brace at the end", "master: a\n\nuser: b\n}\n", []string{"broken YAML: did not find expected key [broker:4]"}},
		{"a list in a map", "# one\nmaster: a\n\n- b\n", []string{"broken YAML: did not find expected key [broker:4]"}},
		{"an unclosed quote", "master: a\nuser: \"b\n\nloops: 1\n", []string{"broken YAML: found unexpected end of stream [broker:2]"}},
		{"far from the end", "master: a\n}\n" + strings.Repeat("b: c\n", 200_000), []string{"broken YAML: did not find expected key [broker:2]"}},
		{"too far from the end", "master: \"a\n" + strings.Repeat("b: c\n", 200_000), []string{"broken YAML: found unexpected end of stream [broker]"}},
		{"two documents", "master: a\n---\nmaster: b\n", []string{"holds more than one YAML document; the rest would be ignored [broker:2]"}},
		{"broken second document", "master: a\n---\n[", []string{"broken YAML: did not find expected node content [broker:3]"}},
		{"a list", "- master: salt\n", []string{"is no list of keys, each with a colon and a value [broker:1]"}},
		{"a word", "# a file\nsalt\n", []string{"is no list of keys, each with a colon and a value [broker:2]"}},
		{"a map as a key", "? {a: b}\n: 1\n", []string{"a key is a word, not a list or a map [broker:1]"}},
		{"an anchor inside itself", "user: &a [*a]", []string{"user: is broken YAML: anchor 'a' value contains itself [broker:1]"}},
		{"long value", "user: " + strings.Repeat("x ", 50), []string{"user: " + strings.Repeat("x ", 30) + "... is not the name of a user [broker:1]"}},
		{"value that breaks lines", `user: "a\nb"`, []string{`user: "a\nb" is not the name of a user [broker:1]`}},
		{"all at once, in the order of the file", "ret_prot: 1\nlog_level: loud\npublish_port: x\nmaster: [a, b]\nret_port: 0\nret_port: 0", []string{
			"ret_prot: is not known; is ret_port meant? [broker:1]",
			"log_level: loud is not a log level (all, garbage, trace, debug, profile, info, warning, error, critical, quiet) [broker:2]",
			"publish_port: x is not a port (1 to 65535) [broker:3]",
			"master_type: str with several masters is, for Salt's minions, all of them at once, which a relay cannot be; failover is the first of them that answers, cluster are the peers of one cluster [broker:4]",
			"ret_port: 0 is not a port (1 to 65535) [broker:5]",
			"ret_port: is given twice, first in line 5 [broker:6]",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := fromText(test.text)
			if want := strings.Join(test.want, "\n"); err == nil || err.Error() != want {
				t.Errorf("%v\nwant\n%s", err, want)
			}
		})
	}
}

// A Config from elsewhere is judged the same way, without a place.
func TestValidate(t *testing.T) {
	c := Default()
	c.PublishPort, c.Loops, c.HeartbeatTimeout, c.LogLevelLogfile, c.Master = 0, -1, 1, "", ""
	want := "master: '' is not a host, host:port or [IPv6 address]:port\n" +
		"publish_port: 0 is not a port (1 to 65535)\n" +
		"loops: -1 is not a whole number from 0 to 1024\n" +
		"log_level_logfile: '' is not a log level (all, garbage, trace, debug, profile, info, warning, error, critical, quiet)\n" +
		"zmq_heartbeat_timeout: 0.000001 is less than zmq_heartbeat_ivl (15000)"
	if faults := c.Validate(); faults.Error() != want {
		t.Errorf("%v\nwant\n%s", faults, want)
	}
}

// What looks like the broker itself and is not.
func TestMasterOnTheSameHost(t *testing.T) {
	for _, text := range []string{
		"master: 127.0.0.1\nmaster_port: 14506\nmaster_publish_port: 14505",
		"master: 127.0.0.1\ninterface: 192.0.2.1",
		"master: 127.0.0.2\ninterface: 127.0.0.1",
		"master: localhost\ninterface: 192.0.2.1",
	} {
		if _, _, err := fromText(text); err != nil {
			t.Errorf("%s\n%v", text, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"Salt's own", "hash_type: sha256\nschedule: {a: {b: c}}", []string{
			"hash_type: means something to Salt only and is ignored [broker:1]",
			"schedule: means something to Salt only and is ignored [broker:2]",
		}},
		{"include", "include: extra/*.conf", []string{"include: is not read by salt-broker, and so no file is included by it; default_include does that [broker:1]"}},
		{"of several masters, and there is one", "master_alive_interval: 30\nmaster_failback: True\nrandom_master: True\nretry_dns: 0", []string{
			"master_failback: True has no effect: there is one master [broker:2]",
			"random_master: True has no effect: there is one master [broker:3]",
			"retry_dns: 0 has no effect: the master's name is resolved at every attempt to connect [broker:4]",
		}},
		{"not of several masters, and there is one", "master_failback: False\nrandom_master: False\nmaster_type: failover", nil},
		{"of a list, and there is a cluster", "master: [a, b]\nmaster_type: cluster\nmaster_failback: True\nrandom_master: True", []string{
			"master_failback: True has no effect: the peers of a cluster all serve, and publishes come from one as long as it is healthy [broker:3]",
		}},
		{"of peers with several paths", "master: [{name: m1, paths: [a, b]}, {name: m2, paths: [c, d]}]\nmaster_type: cluster", nil},
		{"of several masters", "master: [a, b]\nmaster_type: failover\nmaster_failback: True\nrandom_master: True", nil},
		{"every master with a port", "master: ['a:1', 'b:2']\nmaster_type: failover\nmaster_port: 4506", []string{"master_port: 4506 has no effect: every master has a port of its own [broker:3]"}},
		{"one master without a port", "master: ['a:1', b]\nmaster_type: failover\nmaster_port: 4507", nil},
		{"no value", "master:\nret_port: ~", []string{
			"master: has no value and counts as not given [broker:1]",
			"ret_port: has no value and counts as not given [broker:2]",
		}},
		{"ipv6 without effect", "ipv6: True\ninterface: 0.0.0.0", []string{"ipv6: True has no effect: interface says 0.0.0.0, which is IPv4 only [broker:1]"}},
		{"two ports for requests", "master: salt:14506\nmaster_port: 14507", []string{"master_port: 14507 has no effect: master says port 14506 [broker:2]"}},
		{"the same port twice", "master: salt:14506\nmaster_port: 14506", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, warnings := loaded(t, test.text)
			compare(t, warnings, test.want)
		})
	}
}

func compare(t *testing.T, warnings []Warning, want []string) {
	t.Helper()
	var lines []string
	for _, w := range warnings {
		lines = append(lines, w.String())
	}
	if is, want := strings.Join(lines, "\n"), strings.Join(want, "\n"); is != want {
		t.Errorf("warnings\n%s\nwant\n%s", is, want)
	}
}

// What is known is known once, and in one way.
func TestKnownKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range known() {
		if seen[name] {
			t.Errorf("%s is listed twice", name)
		}
		seen[name] = true
	}
}
