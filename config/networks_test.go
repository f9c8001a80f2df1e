package config

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestNetworksRefused(t *testing.T) {
	const list = "is not a list of networks and addresses, such as [192.0.2.0/24, 2001:db8::/32, 198.51.100.7]"
	for _, test := range []struct{ text, want string }{
		{"deny: salt", "deny: salt " + list + ": salt is none [broker:1]"},
		{"allow: [192.0.2.0/33]", "allow: a list of 1 " + list + ": 192.0.2.0/33 is none [broker:1]"},
		{"allow: [192.0.2.1, 192.0.2.9/24]", "allow: a list of 2 " + list + ": 192.0.2.9/24 has bits beyond its mask; is 192.0.2.0/24 meant? [broker:1]"},
		{"allow: ['fe80::1%eth0']", "allow: a list of 1 " + list + ": fe80::1%eth0 is none [broker:1]"},
		{"allow: '192.0.2.1,'", "allow: 192.0.2.1, " + list + ": '' is none [broker:1]"},
		{"allow: 10", "allow: 10 " + list + " [broker:1]"},
		{"allow: [10]", "allow: a list of 1 " + list + " [broker:1]"},
		{"allow: [[192.0.2.1]]", "allow: a list of 1 " + list + " [broker:1]"},
		{"allow: ['a\nb']", "allow: a list of 1 " + list + ": a b is none [broker:1]"},
	} {
		t.Run(test.text, func(t *testing.T) {
			c, _, err := fromText(test.text)
			if err == nil || err.Error() != test.want || c != Default() {
				t.Errorf("%v\nwant %s", err, test.want)
			}
		})
	}
}

func TestNetworks(t *testing.T) {
	c, _ := loaded(t, "allow: [192.0.2.0/24, '::1']\ndeny: 192.0.2.9")
	allow := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("::1/128")}
	deny := []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}
	if got, want := fmt.Sprint(c.AllowNetworks(), c.DenyNetworks()), fmt.Sprint(allow, deny); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for key, value := range c.Settings() { // as a file would have it
		if again, _ := loaded(t, key+": "+value); key == "allow" && again.Allow != c.Allow {
			t.Errorf("%s is %s when it is read again", c.Allow, again.Allow)
		}
	}
	if c := Default(); c.AllowNetworks() != nil || c.DenyNetworks() != nil {
		t.Error("by default there are networks")
	}
	c = Default()
	c.Deny = "[nobody]"
	if faults := c.Validate(); len(faults) != 1 || faults[0].Key != "deny" {
		t.Errorf("%v", faults)
	}
}

// A list replaces that of a file before it.
func TestNetworksOfLaterFiles(t *testing.T) {
	l := newLoading()
	l.read("broker", []byte("deny: [192.0.2.1, 192.0.2.2]"))
	l.read("broker.d/a.conf", []byte("deny: [192.0.2.3]"))
	if c, _, err := l.result(); err != nil || c.Deny != "[192.0.2.3/32]" {
		t.Errorf("%s, %v", c.Deny, err)
	}
}
