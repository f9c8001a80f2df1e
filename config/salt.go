package config

import (
	"maps"
	"slices"
)

// later are keys of Salt's that have a meaning here in a later version. Only a single master is possible so far, for
// which none of them matters.
var later = map[string]string{
	"master_alive_interval": "has no effect yet: there is one master",
	"master_failback":       "has no effect yet: there is one master",
	"random_master":         "has no effect yet: there is one master",
	"retry_dns":             "has no effect yet: the master's name is resolved at every attempt to connect",
}

// foreign are the keys of Salt's master and minion files that mean nothing to a broker. They are accepted, as one file
// is often made from another, and warned about.
var foreign = []string{
	"id", "hash_type", "include",
}

// known are all keys that are not refused, those that mean something first.
func known() []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	for _, a := range aliases {
		names = append(names, a.name)
	}
	names = append(names, logToFile, "master_type")
	names = append(names, slices.Sorted(maps.Keys(replaced))...)
	names = append(names, slices.Sorted(maps.Keys(later))...)
	return append(names, foreign...)
}
