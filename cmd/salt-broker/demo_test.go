package main

import (
	"io"
	"strings"
	"testing"
)

func TestDemoRefuses(t *testing.T) {
	for name, args := range map[string][]string{
		"no minions":   {"--minions", "0"},
		"no time":      {"--duration", "0s"},
		"no number":    {"--minions", "many"},
		"a word":       {"now"},
		"unknown flag": {"--master", "salt"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newDemoCommand()
			c.SetArgs(args)
			c.SetOut(io.Discard)
			c.SetErr(io.Discard)
			if err := c.ExecuteContext(t.Context()); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestDemoIsNotLive(t *testing.T) {
	if isLive(&strings.Builder{}) {
		t.Error("a buffer is taken for a terminal")
	}
}
