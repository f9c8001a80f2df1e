package config

import (
	"net/netip"
	"slices"
	"strings"
)

// networks is a list of networks and addresses. It is kept as text, as a file would have it, because a [Config] is
// compared with ==.
type networks struct {
	p   *string
	bad *string // the first one that is none, and why
}

func networksAt(p *string) networks { return networks{p: p, bad: new(string)} }

func (v networks) set(raw any) bool {
	var names []string
	switch raw := raw.(type) {
	case string:
		names = namesOf(raw)
	case []any:
		for _, one := range raw {
			name, ok := one.(string)
			if !ok {
				return false
			}
			names = append(names, strings.TrimSpace(name))
		}
	default:
		return false
	}
	list, bad := parseNetworks(names)
	if *v.bad = bad; bad != "" {
		return false
	}
	text := make([]string, 0, len(list))
	for _, network := range list {
		name := network.String()
		if strings.HasPrefix(name, ":") { // YAML takes no colon there
			name = "'" + name + "'"
		}
		text = append(text, name)
	}
	*v.p = "[" + strings.Join(text, ", ") + "]"
	return true
}

func (v networks) ok() bool {
	_, bad := parseNetworks(namesOf(*v.p))
	*v.bad = bad
	return bad == ""
}

func (v networks) want() string {
	why := "is not a list of networks and addresses, such as [192.0.2.0/24, 2001:db8::/32, 198.51.100.7]"
	if *v.bad != "" {
		why += ": " + *v.bad
	}
	return why
}

func (v networks) String() string { return *v.p }

// namesOf takes a list apart that is written in one line, with brackets or without.
func namesOf(text string) []string {
	text = strings.TrimSpace(text)
	if inner, found := strings.CutPrefix(text, "["); found {
		if inner, found = strings.CutSuffix(inner, "]"); found {
			text = inner
		}
	}
	if strings.TrimSpace(text) == "" {
		return nil
	}
	names := strings.Split(text, ",")
	for i := range names {
		names[i] = strings.Trim(strings.TrimSpace(names[i]), "'")
	}
	return names
}

// parseNetworks reads names, and says what is wrong with the first that is none. Each network is there once. A network
// of IPv4 addresses written as IPv6 ones is what it means: minions are looked up by their IPv4 addresses.
func parseNetworks(names []string) (list []netip.Prefix, bad string) {
	for _, name := range names {
		network, err := netip.ParsePrefix(name)
		if err != nil {
			addr, err := netip.ParseAddr(name)
			if err != nil || addr.Zone() != "" {
				return nil, shown(name) + " is none"
			}
			network = netip.PrefixFrom(addr, addr.BitLen())
		}
		if network.Addr().Is4In6() && network.Bits() >= 96 {
			network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
		}
		if masked := network.Masked(); masked != network {
			return nil, shown(name) + " has bits beyond its mask; is " + masked.String() + " meant?"
		}
		if !slices.Contains(list, network) {
			list = append(list, network)
		}
	}
	return list, ""
}

// AllowNetworks is Allow, taken apart.
func (c Config) AllowNetworks() []netip.Prefix {
	list, _ := parseNetworks(namesOf(c.Allow))
	return list
}

// DenyNetworks is Deny, taken apart.
func (c Config) DenyNetworks() []netip.Prefix { list, _ := parseNetworks(namesOf(c.Deny)); return list }
