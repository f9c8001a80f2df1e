//go:build linux

// Package demo shows a broker at work on one machine, with nothing but the program itself: a stand-in master and stand-in
// minions (package sim) in this process, and between them a real salt-broker as a child process with a configuration of
// its own. It checks that nothing was lost, and measures what the broker takes.
package demo
