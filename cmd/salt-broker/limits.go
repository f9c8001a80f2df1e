package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/sirupsen/logrus"

	"salt-broker/config"
)

// raiseOpenFiles raises the soft limit of descriptors to want, as far as the hard limit allows, and returns what it is
// then. (Go has raised the soft limit to the hard one when the program began; asking again is what makes it stay, and
// what says how far it is from what the operator wants.)
func raiseOpenFiles(want uint64, log logrus.FieldLogger) uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		log.Warnf("max_open_files: the limit of open files cannot be read: %v", err)
		return 0
	}
	if limit.Cur < want {
		before := limit.Cur
		limit.Cur = min(want, limit.Max)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			log.Warnf("max_open_files: the limit of open files cannot be raised: %v", err)
			limit.Cur = before
		}
	}
	if limit.Cur < want {
		log.Warnf("max_open_files is %d and the system allows %d: good for some %d minions with two connections each; "+
			"raise the hard limit (LimitNOFILE in the unit)", want, limit.Cur, limit.Cur/2)
	}
	return limit.Cur
}

// boundMemory has the collector work harder before what the process may have in memory has doubled: it would let the
// heap grow to twice of what is live otherwise. Who sets the environment variable GOMEMLIMIT knows what for.
func boundMemory(c config.Config) int64 {
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set {
		const rest = 512 << 20 // connections, subscriptions, pools, what paths and a second peer hold, the program itself
		debug.SetMemoryLimit(c.MaxBufferedBytes + c.MaxBufferedBytes/4 + 2*c.PubLogSize + rest)
	}
	return debug.SetMemoryLimit(-1)
}

// raiseThreads lets every loop have a processor of Go's scheduler for itself, and one for the rest, and returns how
// many there are then.
//
// A loop is a thread that sleeps in epoll_wait. It holds a processor while it has something to do; with fewer
// processors than loops, a loop of one channel whose socket has become ready waits for the other channel's loops to
// sleep, or for the scheduler to take a processor away from them, which it does after 10 ms. The kernel shares out
// cores better than that. Who sets the environment variable GOMAXPROCS knows what for.
func raiseThreads(c config.Config) int {
	_, set := os.LookupEnv("GOMAXPROCS")
	if least := publishLoops(c) + requestLoops(c) + 1; !set && runtime.GOMAXPROCS(0) < least {
		runtime.GOMAXPROCS(least)
	}
	return runtime.GOMAXPROCS(0)
}
