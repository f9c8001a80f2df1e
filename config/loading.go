package config

import (
	"cmp"
	"fmt"
	"net"
	"slices"

	"github.com/spf13/viper"
)

// loading is a configuration on its way from what was said to a [Config].
type loading struct {
	// layers holds what was said: files, each over the one before, and over them what came from outside. It gets one key
	// at a time and never reads YAML itself: viper's own reader stops at the first fault, knows no lines, takes
	// Publish_Port for publish_port and drops what is empty.
	layers *viper.Viper
	// where has, by key, what counts of all that was said. What was said by an alias has the alias for its key.
	where map[string]said
	// order has the files as they were read; the first is the main one.
	order    []string
	faults   Faults
	warnings []Warning
}

func newLoading() *loading { return &loading{layers: viper.New(), where: map[string]said{}} }

func (l *loading) fault(s said, why string) { l.faults = append(l.faults, s.fault(why)) }

func (l *loading) warn(s said, why string) { l.warnings = append(l.warnings, s.warning(why)) }

// read takes over one file.
func (l *loading) read(file string, data []byte) {
	l.order = append(l.order, file)
	all, faults := parse(file, data)
	l.faults = append(l.faults, faults...)
	for _, s := range all {
		l.take(s)
	}
}

// take puts what was said where it belongs, or says why it belongs nowhere.
func (l *loading) take(s said) {
	_, ours := keyNamed(s.key)
	switch {
	case ours, isAlias(s.key):
		l.takeOurs(s)
	case replaced[s.key] != "":
		l.warn(s, replaced[s.key])
	case otherwise[s.key] != "":
		l.warn(s, otherwise[s.key])
	case slices.Contains(foreign, s.key):
		s.text = "" // it may be long, or a secret
		l.warn(s, meaningless(s.key))
	default:
		why := "is not known"
		if meant := nearest(s.key, known()); meant != "" {
			why += "; is " + meant + " meant?"
		}
		s.key, s.text = shown(s.key), ""
		l.fault(s, why)
	}
}

// takeOurs takes a key that has a meaning here, or in Uyuni's file.
func (l *loading) takeOurs(s said) {
	if s.value == nil {
		l.warn(s, "has no value and counts as not given")
		delete(l.where, s.key)
		return
	}
	if s.key == "default_include" && len(l.order) > 1 && s.file != CommandLine {
		l.warn(s, "has an effect in the main file only")
		return
	}
	if n := 1; s.key == "connect_timeout" && setInt(&n, s.value) && n == 0 {
		l.warn(s, systemTimeout)
		delete(l.where, s.key)
		return
	}
	if s.key == "master" {
		s = unwrapped(s)
	}
	l.put(s)
}

// unwrapped is what was said of the master, where a list of one address is that address.
func unwrapped(s said) said {
	list, _ := s.value.([]any)
	if len(list) != 1 {
		return s
	}
	switch one := list[0].(type) {
	case nil, map[string]any, []any:
	default:
		s.value, s.text = one, shown(fmt.Sprint(one))
	}
	return s
}

// put makes s the one that counts.
func (l *loading) put(s said) {
	switch s.value.(type) {
	case map[string]any, map[any]any:
		s.value = []any{nil} // viper merges maps with what it has; no key takes a map, and none takes this
	}
	l.where[s.key] = s
	if s.line == 0 {
		l.layers.Set(s.key, s.value)
		return
	}
	// The error is for maps that cannot be merged; there are none.
	_ = l.layers.MergeConfigMap(map[string]any{s.key: s.value})
}

// result makes a Config of what counts.
func (l *loading) result() (Config, []Warning, error) {
	l.resolveAliases()
	c := Default()
	bad := map[string]bool{}
	for _, k := range keys {
		s, given := l.where[k.name]
		if !given {
			continue
		}
		before := c
		if v := k.of(&c); !v.set(l.layers.Get(s.key)) || !v.ok() {
			l.fault(s, v.want())
			bad[k.name] = true
			c = before
		}
	}
	c.follow(func(key string) bool { _, given := l.where[key]; return given })
	for _, found := range c.contradictions(bad) {
		l.fault(l.place(found), found.why)
	}
	l.lookAt(c)
	l.sort()
	if len(l.faults) > 0 {
		return c, l.warnings, l.faults
	}
	return c, l.warnings, nil
}

// place is where a contradiction is to be seen: at its key, or, when that was not given, at the first of the others
// that was.
func (l *loading) place(found contradiction) said {
	here := said{key: found.key, text: found.value}
	if s, given := l.where[found.key]; given {
		return s
	}
	for _, key := range found.with {
		if s, given := l.where[key]; given {
			here.file, here.line = s.file, s.line
			break
		}
	}
	return here
}

// lookAt warns of what is allowed and yet hardly what somebody wants.
func (l *loading) lookAt(c Config) {
	if s, given := l.where["ipv6"]; given && c.IPv6 && c.Interface == "0.0.0.0" {
		l.warn(s, "has no effect: interface says 0.0.0.0, which is IPv4 only")
	}
	l.lookAtMasters(c)
	if s, given := l.where["master_port"]; given && !slices.ContainsFunc(c.paths(), func(p Path) bool { return p.Request == hostPort(p.Host, c.MasterPort) }) {
		l.warn(s, "has no effect: "+beside(c))
	}
}

// failoverOnly are keys that mean something among several masters only.
var failoverOnly = []string{"master_failback", "random_master"}

// lookAtMasters warns of what is said of several masters where there is one, and of a list where that is a cluster.
func (l *loading) lookAtMasters(c Config) {
	for _, key := range failoverOnly {
		k, _ := keyNamed(key)
		s, given := l.where[key]
		switch {
		case !given || k.of(&c).String() != "True":
		case len(c.Masters()) < 2:
			l.warn(s, "has no effect: there is one master")
		case c.MasterType == MasterTypeCluster && key == "master_failback":
			l.warn(s, "has no effect: the peers of a cluster all serve, and publishes come from one as long as it is healthy")
		}
	}
}

// beside says what makes master_port meaningless.
func beside(c Config) string {
	if all := c.paths(); len(all) == 1 {
		_, port, _ := net.SplitHostPort(all[0].Request)
		return "master says port " + port
	}
	return "every master has a port of its own"
}

// sort brings faults and warnings into the order of the files, and each said once.
func (l *loading) sort() {
	at := func(file string) int {
		if i := slices.Index(l.order, file); i >= 0 {
			return i
		}
		return len(l.order)
	}
	slices.SortStableFunc(l.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(at(a.File), at(b.File)), cmp.Compare(a.Line, b.Line))
	})
	slices.SortStableFunc(l.warnings, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(at(a.File), at(b.File)), cmp.Compare(a.Line, b.Line))
	})
	// A word for two keys is wrong only once.
	l.faults = slices.CompactFunc(l.faults, func(a, b Fault) bool {
		return a.Key != "" && a.Key == b.Key && a.File == b.File && a.Line == b.Line
	})
}
