package config

import (
	"slices"
	"strings"
)

// What `master_type` takes.
const (
	// MasterTypeStr is one master. (To Salt's minions a list is then one of masters that they all serve.)
	MasterTypeStr = "str"
	// MasterTypeFailover is a list in order, of which the first that is healthy serves.
	MasterTypeFailover = "failover"
	// MasterTypeCluster are the peers of one Salt master cluster.
	MasterTypeCluster = "cluster"
)

var masterType = []string{MasterTypeStr, MasterTypeFailover, MasterTypeCluster}

// What `on_master_loss` takes.
const (
	// OnMasterLossKeep leaves minions connected; what they ask waits.
	OnMasterLossKeep = "keep"
	// OnMasterLossClose closes both ports and sends the minions away, to another broker in their list.
	OnMasterLossClose = "close"
)

var onMasterLoss = []string{OnMasterLossKeep, OnMasterLossClose}

// What `log_fmt` takes.
const (
	// LogFmtSalt is the layout of Salt's own logs.
	LogFmtSalt = "salt"
	// LogFmtJSON is a JSON object a line.
	LogFmtJSON = "json"
)

var logFmt = []string{LogFmtSalt, LogFmtJSON}

// choice is one of a few words.
type choice struct {
	p  *string
	of []string
}

func (v choice) set(raw any) bool { return setText(v.p, raw) }
func (v choice) ok() bool         { return slices.Contains(v.of, *v.p) }
func (v choice) want() string     { return "is not one of " + strings.Join(v.of, ", ") }
func (v choice) String() string   { return quoted(*v.p) }
