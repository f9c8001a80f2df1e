// Package supervise keeps the services of a broker going, its channels and what is beside and below them: one that fails
// is started again, the others notice nothing, and one that fails again and again ends the process, so that whoever has
// started it decides (systemd's Restart).
//
// A loop that does not turn any more is nothing that can be started again in the same process. Watchdog (watchdog.go)
// sees it, and says so to whoever has started the process.
//
// It is a tree of supervisors of github.com/thejerf/suture, one for each service, so that their failures are counted
// apart (tree.go). What a channel runs is made anew for each of its lives (channel.go). Its links to the master are a tree
// below it (task.go).
package supervise
