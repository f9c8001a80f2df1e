package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// writePIDFile leaves the process ID at path, over what an earlier process may have left there. "" is nowhere.
func writePIDFile(path string) error {
	if path == "" {
		return nil
	}
	err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644) //nolint:gosec // others read it: that is what it is for
	if err != nil {
		return fmt.Errorf("pidfile %s cannot be written: %w: let the user of salt-broker write there or set pidfile", path, reasonOf(err))
	}
	return nil
}

// removePIDFile removes what writePIDFile has left, unless another process has written to it since.
func removePIDFile(path string) {
	if path == "" {
		return
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(os.Getpid()) {
		_ = os.Remove(path) // stale ones do no harm
	}
}
