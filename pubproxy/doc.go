// Package pubproxy is Salt's publish port (4505): a SUB link to the master, and PUB towards the minions of a region.
//
// What the master publishes is appended to a log, as the bytes it came in (log.go). Each event loop is woken once and
// writes what is new to each of its minions straight from the log (fanout.go): nothing is copied, queued or allocated
// for a minion that keeps up. One that does not gets a place of its own in the same log (cursor.go). Subscriptions are
// prefixes in a tree a loop (subscriptions.go), and the master is subscribed to their union (upstream.go). It may be
// reached by several paths at once (feed.go, road.go), or be the peers of a cluster, one of which is kept warm
// (cluster.go).
//
// Sources: RFC 23/ZMTP 3.0, RFC 37/ZMTP 3.1, RFC 29/PUBSUB; Salt's publish_port, zmq_filtering, pub_hwm.
package pubproxy
