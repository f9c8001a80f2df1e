// Package reactor moves bytes between many TCP connections and one handler each, on event loops.
//
// A [Group] has a few loops, usually one a core. Each [Loop] is a goroutine locked to its thread with an epoll
// instance, a table of connections, timers and buffers of its own; nothing of it is shared. Whatever concerns a
// connection happens on its loop: handlers are called there one after the other and need no lock, and must not block.
// The only ways in from outside are [Loop.Post] and the atomics that say so.
//
// An idle connection costs its struct and a place in the table: no goroutine, no timer and no buffer. Bytes are read
// into one scratch buffer that all connections of a loop share. A buffer exists only while something is half read (the
// handler's, from [Loop.Get]) or could not be written yet (the connection's).
//
// One turn of a loop: wait for events; read what is readable, at most one bounded read a connection; run what was
// posted; run the timers that are due; send what was written in this turn, one system call a connection; tell the
// handlers of closed connections.
//
// The package knows no ZMTP and does not log. It is Linux only, and the only one of the project that makes a system
// call on a socket.
package reactor
