package main

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/config"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// summary is what a broker is when it starts.
type summary struct {
	config           config.Config
	files            []string // that it was read from
	publish, request netip.AddrPort
	status           netip.AddrPort // the zero value: there is none
	openFiles        uint64
	threads          int
}

// announce says in five lines what this broker is, for who reads the log later: version, files of the configuration, what
// it listens on, master, limits. Whatever the levels are: Salt's default would hide them.
func announce(log *logging, s summary) {
	say := func(fields logrus.Fields, format string, args ...any) {
		line := logrus.Fields{"component": "main"}
		maps.Copy(line, fields)
		log.always(fmt.Sprintf(format, args...), line)
	}
	c, info := s.config, buildInfo()
	say(logrus.Fields{"commit": commitOf(info)}, "salt-broker %s starts", versionOf(info))
	say(nil, "the configuration is %s", strings.Join(s.files, ", "))
	status := "there is no status port (status_port: 0)"
	if s.status.IsValid() {
		status = fmt.Sprintf("metrics, health and status are at http://%v", s.status)
	}
	say(nil, "minions connect to %v for publishes and to %v for requests; %s", s.publish, s.request, status)
	say(nil, "%s", mastersText(c.Masters()))
	say(logrus.Fields{
		"open_files": s.openFiles, "publish_loops": publishLoops(c), "request_loops": requestLoops(c), "threads": s.threads,
		"max_in_flight": c.MaxInFlight, "max_message_bytes": c.MaxMessageSize, "pub_hwm": c.PubHWM, "pub_log_bytes": c.PubLogSize,
		"max_buffered_bytes": c.MaxBufferedBytes, "max_connections": c.MaxConnections, "per_address": c.MaxConnectionsPerAddress,
	}, "limits")
}

// mastersText names each master and each path to it.
func mastersText(masters []config.Master) string {
	var all []string
	for _, m := range masters {
		for _, p := range m.Paths {
			which := "the master"
			if len(masters) > 1 || len(m.Paths) > 1 {
				which += " " + m.Name
			}
			all = append(all, fmt.Sprintf("%s is at %s for publishes and at %s for requests", which, p.Publish, p.Request))
		}
	}
	return strings.Join(all, "; ")
}

// farewell says what has passed through this broker, and how long stopping took, whatever the levels are: where it is
// missing, the process has not ended by itself.
func farewell(log *logging, p pubproxy.Stats, r retproxy.Stats, drained time.Duration) {
	log.always("stopped", logrus.Fields{
		"component": "main",
		"publishes": p.Publishes, "deliveries": p.Deliveries, "publishes_lost": p.Lost,
		"requests": r.Requests, "replies": r.Replies, "forgotten": r.Forgotten, "lost_with_link": r.LostWithLink,
		"drained": drained.Round(time.Millisecond),
	})
}
