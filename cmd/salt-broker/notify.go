package main

import "github.com/coreos/go-systemd/v22/daemon"

// What systemd is told: sd_notify(3).
const (
	ready = daemon.SdNotifyReady
	stops = daemon.SdNotifyStopping
)

// notify tells systemd the state of the process, with a status for who asks `systemctl status`. Without systemd, or when
// it does not listen, nothing happens: the broker works all the same.
func notify(state, status string) {
	_, _ = daemon.SdNotify(false, state+"\nSTATUS="+status)
}
