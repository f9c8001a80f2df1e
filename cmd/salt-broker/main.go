// Command salt-broker relays the ZeroMQ traffic between a Salt master and the minions of a region.
//
// It is the door of the program: flags, configuration, log, wiring, signals and exit codes. What it opens are the
// publish channel (package pubproxy) and the request channel (package retproxy), which know nothing of each other.
//
// Flags, levels, the layout of the log and the keys of the configuration are those of Salt's own daemons
// (Salt: salt/utils/parsers.py, salt/_logging/impl.py, conf/master).
package main

import "os"

func main() { os.Exit(execute(os.Args[1:], os.Stdout, terminal())) }
