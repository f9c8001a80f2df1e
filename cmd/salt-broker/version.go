package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version and commit are set by the linker: go build -ldflags "-X main.version=1.2.3 -X 'main.commit=...'". A package is
// built from a tarball, where the go command finds no commit.
var version, commit string

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say the version and what it was built from",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(c.OutOrStdout(), versionText(buildInfo()))
			return err
		},
	}
}

// buildInfo is what the go command has written into the program; empty where it has not.
func buildInfo() *debug.BuildInfo {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info
	}
	return &debug.BuildInfo{}
}

// versionOf is the version in one word.
func versionOf(info *debug.BuildInfo) string {
	fromModule := info.Main.Version
	if fromModule == "(devel)" {
		fromModule = ""
	}
	return cmp.Or(version, fromModule, "devel")
}

// versionText is what to put into a bug report.
func versionText(info *debug.BuildInfo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "salt-broker %s\n", versionOf(info))
	fmt.Fprintf(&b, "commit: %s\n", commitOf(info))
	fmt.Fprintf(&b, "go: %s %s/%s\n", cmp.Or(info.GoVersion, runtime.Version()), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(&b, "zmq4: %s\n", moduleOf(info, "github.com/go-zeromq/zmq4"))
	b.WriteString("ZMTP: 3.1 and 3.0, mechanism NULL\n")
	return b.String()
}

func commitOf(info *debug.BuildInfo) string {
	said := map[string]string{}
	for _, s := range info.Settings {
		said[s.Key] = s.Value
	}
	found := said["vcs.revision"]
	if found == "" {
		return cmp.Or(commit, "unknown")
	}
	if at := said["vcs.time"]; at != "" {
		found += " of " + at
	}
	if said["vcs.modified"] == "true" {
		found += ", with changes"
	}
	return found
}

// moduleOf is the version of a module that the program contains.
func moduleOf(info *debug.BuildInfo, path string) string {
	for _, m := range info.Deps {
		if m.Path != path {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		return m.Version
	}
	return "unknown"
}
