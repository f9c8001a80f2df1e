//go:build linux

// Package sim is a stand-in for Salt: a master and any number of minions that speak ZMTP as theirs do and check every
// message they get. The demo, the tests of the proxies and the benchmarks put a broker between them; they also work
// without one.
//
//	Master   PUB and ROUTER. Publishes jobs, answers requests; can be slow, forgetful, mute, stopped and started again.
//	Minions  each a SUB, and a REQ in one of the two shapes of Salt: a connection for each request, or one kept.
//
// Both run on package reactor, so 15,000 minions take a few loops and some megabytes. Nothing is encrypted, but the maps
// of msgpack and the sizes are Salt's own, and what stands for cipher text is as random and carries a checksum.
//
// Sources: RFC 23 and 37 for the wire, RFC 28 and 29 for REQREP and PUBSUB; salt/transport/zeromq.py of Salt 3006 for
// topics and for what is packed how.
package sim
