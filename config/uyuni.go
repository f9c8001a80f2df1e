package config

import (
	"slices"
	"strings"
)

// Uyuni's salt-broker, a Python program, reads the same /etc/salt/broker with words of its own (Uyuni:
// proxy/proxy/salt-broker/salt-broker). connect_timeout is the same word with the same meaning here, but for 0.

// alias is another word for keys.
type alias struct {
	name string
	keys []string // that get its value
}

// aliases are Uyuni's words for keys of Salt's. A key of Salt's wins over its alias.
var aliases = []alias{
	// libzmq waits that long between all attempts, so the pauses do not grow.
	{"reconnect_ivl", []string{"recon_default", "recon_max"}},
	{"heartbeat_ivl", []string{"zmq_heartbeat_ivl"}},
	{"heartbeat_timeout", []string{"zmq_heartbeat_timeout"}},
}

// systemTimeout is what is said of connect_timeout: 0.
const systemTimeout = "leaves the time to the system with Uyuni, some two minutes; here the default holds"

// logToFile is Uyuni's word for whether there is a log file at all: 0 or 1.
const logToFile = "log_to_file"

// replaced are Uyuni's words for what is done in another way here.
var replaced = map[string]string{
	"drop_after_retries": "has no effect: requests wait here only as long as their minions do, and max_in_flight bounds what reaches the master",
	"wait_for_backend":   "has no effect: the ports for minions are open at once, and what they ask waits for the master",
}

func isAlias(name string) bool {
	return name == logToFile || slices.ContainsFunc(aliases, func(a alias) bool { return a.name == name })
}

// resolveAliases gives keys that were not given what was said by their aliases.
func (l *loading) resolveAliases() {
	for _, a := range aliases {
		s, given := l.where[a.name]
		if !given {
			continue
		}
		var taken []string
		for _, key := range a.keys {
			if _, given := l.where[key]; given {
				taken = append(taken, key)
			}
		}
		if len(taken) > 0 {
			l.warn(s, "has no effect beside "+strings.Join(taken, " and "))
			continue
		}
		for _, key := range a.keys {
			l.where[key] = s
		}
	}
	l.resolveLogToFile()
}

// resolveLogToFile lets log_to_file: 0 take the log file away. It does so with the one that SALT_BROKER_LOGFILE names as
// well: with Uyuni that is the name of the file if there is one.
func (l *loading) resolveLogToFile() {
	s, given := l.where[logToFile]
	if !given {
		return
	}
	var on bool
	if !(boolean{&on}).set(s.value) {
		l.fault(s, "is not 0 or 1")
		return
	}
	file, named := l.where["log_file"]
	switch {
	case named && file.file != envLogFile:
		l.warn(s, "has no effect beside log_file")
	case !on:
		s.value = ""
		l.layers.Set(logToFile, "")
		l.where["log_file"] = s
	}
}
