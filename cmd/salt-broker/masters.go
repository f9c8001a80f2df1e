package main

import (
	"cmp"

	"salt-broker/config"
	"salt-broker/internal/masters"
)

// watchOptions is what the watch over the masters gets of the configuration.
func watchOptions(c config.Config) masters.Options {
	var list []masters.Master
	for _, m := range c.Masters() {
		one := masters.Master{Name: m.Name}
		for _, p := range m.Paths {
			one.Paths = append(one.Paths, masters.Path{Publish: p.Publish, Request: p.Request})
		}
		list = append(list, one)
	}
	return masters.Options{
		Masters:       list,
		Failover:      c.MasterType == config.MasterTypeFailover,
		Random:        c.RandomMaster,
		Failback:      c.MasterFailback,
		FailbackAfter: cmp.Or(c.MasterFailbackInterval, c.MasterAliveInterval),
		Interval:      c.MasterAliveInterval,
		Timeout:       c.MasterAliveTimeout,
		Dial:          masterOptions(c, "", nil),
	}
}

// configured is a master as the configuration has it, for the options of the channels.
func configured(m masters.Master) config.Master {
	one := config.Master{Name: m.Name}
	for _, p := range m.Paths {
		one.Paths = append(one.Paths, config.Path{Publish: p.Publish, Request: p.Request})
	}
	return one
}
