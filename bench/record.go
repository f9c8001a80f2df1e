//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Record is everything that was measured in one run, as it is kept.
type Record struct {
	Began     time.Time         `json:"began"`
	Quick     bool              `json:"quick,omitempty"` // tries whether everything works, and measures nothing
	Machine   Machine           `json:"machine"`
	Relays    map[string]string `json:"relays"`            // their versions
	Missing   map[string]string `json:"missing,omitempty"` // why a relay is not there
	Scenarios []Result          `json:"scenarios"`
}

// Machine is what it was measured on.
type Machine struct {
	CPU         string  `json:"cpu"`
	Cores       int     `json:"cores"`
	MemoryMiB   int64   `json:"memory_mib"`
	Kernel      string  `json:"kernel"`
	Go          string  `json:"go"`
	Descriptors int     `json:"descriptors"` // that a process may have
	Load        float64 `json:"load"`        // of the machine before it began: what others do on it
}

// Result is what came of a scenario.
type Result struct {
	Name   string            `json:"name"`
	Says   string            `json:"says"`
	Left   map[string]string `json:"left_out,omitempty"` // why a relay did not take part
	Rounds []Round           `json:"rounds"`
}

// Round is what one relay did in one round.
type Round struct {
	Round  int                `json:"round"`
	Relay  string             `json:"relay"`
	Values map[string]float64 `json:"values,omitempty"`
	Error  string             `json:"error,omitempty"` // then there are no values
	// What the stand-ins used, in cores. Near 1 they, and not the relay, may set the pace.
	Master  float64 `json:"master_cores"`
	Minions float64 `json:"minions_cores"`
}

// newRecord describes the machine and what runs on it.
func newRecord(t *tools) Record {
	r := Record{Began: time.Now().UTC().Truncate(time.Second), Relays: map[string]string{}, Missing: map[string]string{}}
	r.Machine = Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Descriptors: t.limit}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		r.Machine.CPU = field(text, "model name")
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		kib, _ := strconv.ParseInt(strings.TrimSuffix(field(text, "MemTotal:"), " kB"), 10, 64)
		r.Machine.MemoryMiB = kib >> 10
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(string(text), " ")
		r.Machine.Load, _ = strconv.ParseFloat(first, 64)
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		r.Machine.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	return r
}

// save writes the record to a file, all of it or nothing.
func (r *Record) save(path string) error { return saveJSON(r, path) }

func saveJSON(r any, path string) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(r); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	next := path + ".next"
	if err := os.WriteFile(next, text.Bytes(), 0o644); err != nil { //nolint:gosec // anybody may read it
		return err
	}
	return os.Rename(next, path)
}

// load reads records that were kept, as one: of a scenario that several have, the last one's; of everything else the first
// one's.
func load(paths ...string) (all *Record, err error) {
	for _, path := range paths {
		text, err := os.ReadFile(path) //nolint:gosec // the user names it
		if err != nil {
			return nil, err
		}
		r := &Record{}
		if err := json.Unmarshal(text, r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if all == nil {
			all = r
			continue
		}
		for _, s := range r.Scenarios {
			if again := all.scenario(s.Name); again != nil {
				*again = s
			} else {
				all.Scenarios = append(all.Scenarios, s)
			}
		}
	}
	return all, nil
}
