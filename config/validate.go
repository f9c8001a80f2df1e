package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// Validate finds everything that is wrong with c, nil when nothing is. [Load] has done it already, and says where.
func (c Config) Validate() Faults {
	var faults Faults
	bad := map[string]bool{}
	for _, k := range keys {
		if v := k.of(&c); !v.ok() {
			bad[k.name] = true
			faults = append(faults, Fault{Key: k.name, Value: v.String(), Why: v.want()})
		}
	}
	for _, found := range c.contradictions(bad) {
		faults = append(faults, Fault{Key: found.key, Value: found.value, Why: found.why})
	}
	return faults
}

// contradiction is a value that is good by itself and not beside others.
type contradiction struct {
	key, value string
	with       []string // the keys of the others
	why        string
}

// contradictions finds values that are good each by itself and not together. What concerns a key that is bad by itself
// is left out: nobody knows what it was to be. Those found are added to bad.
func (c Config) contradictions(bad map[string]bool) []contradiction {
	var found []contradiction
	for _, rule := range rules {
		if bad[rule.key] || slices.ContainsFunc(rule.with, func(key string) bool { return bad[key] }) {
			continue
		}
		if why := rule.why(c); why != "" {
			k, _ := keyNamed(rule.key)
			found = append(found, contradiction{key: k.name, value: k.of(&c).String(), with: rule.with, why: why})
			bad[rule.key] = true
		}
	}
	return found
}

// rules say what values must not meet. why is "" when they do not.
var rules = []struct {
	key  string   // the one that is named
	with []string // the others
	why  func(c Config) string
}{
	{"ret_port", []string{"publish_port"}, func(c Config) string {
		return when(c.RetPort == c.PublishPort, "is the publish_port as well")
	}},
	{"master_type", []string{"master"}, func(c Config) string {
		return when(c.MasterType == MasterTypeStr && len(c.Masters()) > 1, "with several masters is, for Salt's minions, all of them at once, "+
			"which a relay cannot be; failover is the first of them that answers, cluster are the peers of one cluster")
	}},
	{"master_alive_interval", []string{"master"}, func(c Config) string {
		return when(c.MasterAliveInterval == 0 && len(c.paths()) > 1, "asks no master whether it lives, and of several, or several paths, nobody would know which one does")
	}},
	{"master", []string{"master_port", "ret_port"}, func(c Config) string {
		seen := map[string]bool{}
		for _, p := range c.paths() {
			if seen[p.Request] {
				return "has " + p.Request + " twice"
			}
			seen[p.Request] = true
		}
		return ""
	}},
	{"master_publish_port", []string{"master", "master_port", "ret_port", "publish_port"}, func(c Config) string {
		same := func(p Path) bool { return p.Publish == p.Request }
		return when(slices.ContainsFunc(c.paths(), same), "is the master's port for requests as well")
	}},
	{"master", []string{"interface", "ret_port", "publish_port", "master_port", "master_publish_port"}, func(c Config) string {
		const itself = "is salt-broker itself, which listens there on the same ports"
		all := c.paths()
		i := slices.IndexFunc(all, c.isItself)
		switch {
		case i < 0:
			return ""
		case len(all) == 1:
			return itself
		}
		return "has " + all[i].Host + ", which " + itself
	}},
	{"source_address", []string{"master"}, func(c Config) string {
		if c.SourceAddress == "" {
			return ""
		}
		here, _ := netip.ParseAddr(c.SourceAddress)
		for _, p := range c.paths() {
			if there, err := netip.ParseAddr(p.Host); err == nil && here.Unmap().Is4() != there.Unmap().Is4() {
				return "cannot reach the master's address " + p.Host + ": one is IPv4, the other IPv6"
			}
		}
		return ""
	}},
	{"zmq_heartbeat_timeout", []string{"zmq_heartbeat_ivl"}, func(c Config) string {
		tooShort := 0 < c.HeartbeatTimeout && c.HeartbeatTimeout < c.HeartbeatInterval
		return when(tooShort, fmt.Sprintf("is less than zmq_heartbeat_ivl (%d)", c.HeartbeatInterval.Milliseconds()))
	}},
	{"max_buffered_bytes", []string{"max_message_size"}, func(c Config) string {
		return when(c.MaxBufferedBytes < 2*c.MaxMessageSize, "has no room for two messages of max_message_size")
	}},
	{"status_port", []string{"publish_port", "ret_port"}, func(c Config) string {
		switch c.StatusPort {
		case c.PublishPort:
			return "is the publish_port as well"
		case c.RetPort:
			return "is the ret_port as well"
		}
		return ""
	}},
	{"pidfile", []string{"log_file"}, func(c Config) string {
		return when(c.PIDFile != "" && c.PIDFile == c.LogFile, "is the log_file as well")
	}},
}

func when(wrong bool, why string) string {
	if wrong {
		return why
	}
	return ""
}

// isItself says whether p leads to c's own listening port. It knows addresses and localhost; what other names resolve
// to is not its business.
func (c Config) isItself(p Path) bool {
	if p.Request != hostPort(p.Host, c.RetPort) && p.Publish != hostPort(p.Host, c.PublishPort) {
		return false
	}
	here, _ := netip.ParseAddr(c.Interface)
	if p.Host == "localhost" {
		return here.IsUnspecified() || here.IsLoopback()
	}
	there, err := netip.ParseAddr(p.Host)
	return err == nil && (there == here || there.IsLoopback() && here.IsUnspecified())
}
