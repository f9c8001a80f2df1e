package main

import (
	"net/netip"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/config"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// announce says what this broker is, for who reads the log later: version and files, ports, status port, master, limits.
func announce(log logrus.FieldLogger, c config.Config, files []string, publish, request netip.AddrPort, openFiles uint64, threads int) {
	log.Infof("salt-broker %s starts with %s", versionOf(buildInfo()), strings.Join(files, ", "))
	log.Infof("minions connect to %v for publishes and to %v for requests", publish, request)
	masters := c.Masters()
	for _, m := range masters {
		for _, p := range m.Paths {
			which := "the master"
			if len(masters) > 1 || len(m.Paths) > 1 {
				which += " " + m.Name
			}
			log.Infof("%s is at %s for publishes and at %s for requests", which, p.Publish, p.Request)
		}
	}
	log.WithFields(logrus.Fields{
		"open_files": openFiles, "publish_loops": publishLoops(c), "request_loops": requestLoops(c), "threads": threads,
		"max_in_flight": c.MaxInFlight, "max_message_bytes": c.MaxMessageSize, "pub_hwm": c.PubHWM, "pub_log_bytes": c.PubLogSize,
		"max_buffered_bytes": c.MaxBufferedBytes, "max_connections": c.MaxConnections, "per_address": c.MaxConnectionsPerAddress,
	}).Info("limits")
}

// farewell says what has passed through this broker, and how long stopping took.
func farewell(log logrus.FieldLogger, p pubproxy.Stats, r retproxy.Stats, drained time.Duration) {
	log.WithFields(logrus.Fields{
		"publishes": p.Publishes, "deliveries": p.Deliveries, "publishes_lost": p.Lost,
		"requests": r.Requests, "replies": r.Replies, "forgotten": r.Forgotten, "lost_with_link": r.LostWithLink,
		"drained": drained.Round(time.Millisecond),
	}).Info("stopped")
}
