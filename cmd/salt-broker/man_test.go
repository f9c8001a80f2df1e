package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// The manual page has every command and every flag.
func TestManPageIsComplete(t *testing.T) {
	page := readFile(t, "../../docs/man/salt-broker.8")
	has := func(what, text string) {
		t.Helper()
		if text = strings.ReplaceAll(text, "-", `\-`); !strings.Contains(page, text) {
			t.Errorf("docs/man/salt-broker.8 does not have the %s: %q is not in it", what, text)
		}
	}
	root := newCommand()
	root.InitDefaultCompletionCmd("man")
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			has("command "+c.Name(), "\n.TP\n.B "+c.Name())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { has("flag of "+c.Name(), "--"+f.Name) })
	}
	root.LocalFlags().VisitAll(func(f *pflag.Flag) { has("flag", "--"+f.Name) })
}
