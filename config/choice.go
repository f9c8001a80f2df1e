package config

import (
	"slices"
	"strings"
)

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
