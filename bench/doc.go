//go:build linux

// Command bench puts the same work on salt-broker and on others that could stand in its place, in turn, and says what
// each took. `make bench-peers` runs it; docs/performance.rst has the method and what came out.
//
//	salt-broker  the program itself, as a process, with its defaults
//	libzmq       zmq.proxy of Debian's python3-zmq, a process a channel, as Uyuni runs it
//	haproxy      mode tcp
//	nginx        stream
//	floor        two bare loops in C that do what cannot be left out
//
// Four kinds of processes take part. This one conducts. A relay is what is measured: its processor time is read from their
// clocks and its memory from /proc. A master and a crowd of minions are this binary again: stand-ins that check every
// message. Two processes and not one, since a relay that forwards connections makes as many at the master as it has minions,
// and a process has only so many descriptors.
//
//	main.go       what a user may ask for; rounds
//	scenarios.go  what is done, in a table; work.go does it
//	relays.go     on whom, in a table; libzmq.py and floor/ are theirs
//	crew.go       the three processes of one round: master.go, minions.go, process.go
//	crowd.go      minions that only listen, and check
//	sockets.go    the event loop that they are on
//	failures.go   something else: what minions notice of failures, in a table; site.go has it happen, availability.go keeps it
//	report.go     medians, ratios and what is to be reached; record.go keeps them
package main
