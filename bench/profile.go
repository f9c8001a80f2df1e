//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// profile is perf at work on a relay.
type profile struct {
	process *process
	data    string
	text    string
}

// startProfile has perf watch processes from now on.
func startProfile(dir, name string, pids []int) (*profile, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	var list []string
	for _, pid := range pids {
		list = append(list, strconv.Itoa(pid))
	}
	p := &profile{data: filepath.Join(dir, name+".data"), text: filepath.Join(dir, name+".txt")}
	var err error
	p.process, err = start(exec.Command("perf", "record", "-q", "-g", "-F", "1999", "-p", strings.Join(list, ","), "-o", p.data)) //nolint:gosec // our own files
	if err != nil {
		return nil, fmt.Errorf("-profiles: apt install linux-perf (%w)", err)
	}
	return p, nil
}

// finish writes where the time went, function by function.
func (p *profile) finish(w io.Writer) {
	_ = p.process.cmd.Process.Signal(syscall.SIGINT)
	<-p.process.done
	out, err := exec.Command("perf", "report", "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.5", "-i", p.data).Output() //nolint:gosec // our own files
	if err == nil {
		err = os.WriteFile(p.text, out, 0o600)
	}
	if err != nil {
		_, _ = fmt.Fprintf(w, "  no profile: %v\n", err)
	}
}
