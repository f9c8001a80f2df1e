// Package masters knows whether each configured master lives, and which one serves.
//
// A master is asked in its own language (ask.go): a clear ping, which needs no key and which a worker answers, over a
// connection of its own, after a handshake with its publish port. What is remembered of the answers says whether it is
// up (health.go); of several masters one serves, the first in order that is up (choice.go). Watch asks them all, moves
// both channels at once, and tells the operator (watch.go, report.go). It also hears of the public keys that masters
// have, as replies to _auth carry them past (key.go).
//
// Salt settings: master_type, master_alive_interval, master_failback, master_failback_interval, random_master. Salt's
// minions look for a TCP connection to port 4505 (status.master); here the master has to answer.
package masters
