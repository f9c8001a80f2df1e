package main

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"salt-broker/config"
)

func newCheckConfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check-config",
		Short: "Say everything that is wrong with the configuration",
		Long: `check-config reads what salt-broker would read, with the same flags and environment, and says every fault in a line of
its own: key, value, what is allowed, file and line. Warnings are about keys that have no effect. Nothing is opened or
changed, so a salt-broker that runs does not mind.

Exit codes: 0 the configuration is fine, 2 it is not.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			verdict, faults := check(configOptions(c.Flags()))
			if _, err := io.WriteString(c.OutOrStdout(), verdict); err != nil {
				return err
			}
			if faults != nil {
				return misconfigured{errors.Join(errSaid, faults)}
			}
			return nil
		},
	}
	addConfigFlags(c.Flags())
	return c
}

// check says what is to be said about a configuration, a line each. The error is that of config.Load.
func check(o config.Options) (verdict string, faults error) {
	var b strings.Builder
	c, warnings, err := config.Load(o)
	for _, w := range warnings {
		b.WriteString("warning: " + w.String() + "\n")
	}
	if err != nil {
		b.WriteString(err.Error() + "\n")
		return b.String(), err
	}
	b.WriteString("configuration is fine: " + strings.Join(filesOf(o, c), ", ") + "\n")
	return b.String(), nil
}

// filesOf names the files that a configuration was read from, in the order in which they were read.
func filesOf(o config.Options, c config.Config) []string {
	main := o.File()
	pattern := c.DefaultInclude
	if pattern == "" {
		return []string{main}
	}
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(main), pattern)
	}
	included, _ := filepath.Glob(pattern) // config has refused bad patterns
	included = slices.DeleteFunc(included, func(name string) bool { return name == filepath.Clean(main) })
	slices.Sort(included)
	return append([]string{main}, included...)
}
