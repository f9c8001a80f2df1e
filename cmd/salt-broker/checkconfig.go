package main

import (
	"errors"
	"fmt"
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
			o := configOptions(c.Flags())
			cfg, warnings, err := config.Load(o)
			for _, w := range warnings {
				fmt.Fprintf(c.OutOrStdout(), "warning: %s\n", w)
			}
			if err != nil {
				fmt.Fprintln(c.OutOrStdout(), err)
				return misconfigured{errors.Join(errSaid, err)}
			}
			fmt.Fprintf(c.OutOrStdout(), "configuration is fine: %s\n", strings.Join(filesOf(o, cfg), ", "))
			return nil
		},
	}
	addConfigFlags(c.Flags())
	return c
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
