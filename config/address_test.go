package config

import (
	"strings"
	"testing"
)

func TestEffectiveAddresses(t *testing.T) {
	for _, test := range []struct {
		name, text                                                 string
		listenPublish, listenRequest, masterPublish, masterRequest string
	}{
		{"default", "", "0.0.0.0:4505", "0.0.0.0:4506", "salt:4505", "salt:4506"},
		{"ipv6", "ipv6: True\nmaster: '2001:db8::1'", "[::]:4505", "[::]:4506", "[2001:db8::1]:4505", "[2001:db8::1]:4506"},
		{"brackets", "master: '[2001:db8::1]'", "0.0.0.0:4505", "0.0.0.0:4506", "[2001:db8::1]:4505", "[2001:db8::1]:4506"},
		{"brackets and port", "master: '[2001:db8::1]:14506'", "0.0.0.0:4505", "0.0.0.0:4506", "[2001:db8::1]:4505", "[2001:db8::1]:14506"},
		{"port in master", "master: salt:14506", "0.0.0.0:4505", "0.0.0.0:4506", "salt:4505", "salt:14506"},
		{"zone", "master: fe80::1%eth0", "0.0.0.0:4505", "0.0.0.0:4506", "[fe80::1%eth0]:4505", "[fe80::1%eth0]:4506"},
		{
			"everything", "interface: 192.0.2.1\npublish_port: 14505\nret_port: 14506\nmaster: 192.0.2.2\nmaster_port: 24506\nmaster_publish_port: 24505",
			"192.0.2.1:14505", "192.0.2.1:14506", "192.0.2.2:24505", "192.0.2.2:24506",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := loaded(t, test.text)
			for what, pair := range map[string][2]string{
				"ListenPublish": {c.ListenPublish(), test.listenPublish},
				"ListenRequest": {c.ListenRequest(), test.listenRequest},
				"MasterPublish": {c.Masters()[0].Paths[0].Publish, test.masterPublish},
				"MasterRequest": {c.Masters()[0].Paths[0].Request, test.masterRequest},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s: %s, want %s", what, pair[0], pair[1])
				}
			}
		})
	}
}

func TestMasterRefused(t *testing.T) {
	for _, text := range []string{
		"", ":", ":4506", "salt:", "salt:0", "salt:65536", "salt:-1", "salt:port", "salt:4506:1", "[salt]:4506", "[::1", "::1]", "[::1]4506",
		"[192.0.2.1]:4506", "10.0.0.256", "10.0.0", "1", "tcp://salt:4506", "salt example", "-salt", "salt-", "a..b", ".", "sält",
		"salt/../x", strings.Repeat("a.", 130), strings.Repeat("a", 64), "[fe80::1%eth0", "[]:4506", "salt\x00",
	} {
		if host, port, ok := splitMaster(text); ok {
			t.Errorf("%q is taken for host %q, port %d", text, host, port)
		}
	}
	for _, text := range []string{"salt", "salt.", "my_master", "4506.example", "a-b.example:1", "192.0.2.1", "::1", "[::1]:65535"} {
		if _, _, ok := splitMaster(text); !ok {
			t.Errorf("%q is refused", text)
		}
	}
}

func TestListenStatus(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "127.0.0.1:4507"},
		{"status_interface: '::1'\nstatus_port: 4600", "[::1]:4600"},
		{"status_port: 0", ""},
	} {
		c, _ := loaded(t, test.text)
		if got := c.ListenStatus(); got != test.want {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
}
