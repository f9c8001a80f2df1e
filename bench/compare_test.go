//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compare runs the script in a repository, with a program in benchstat's place that shows what it is given.
func compare(t *testing.T, dir, base string) (string, error) {
	t.Helper()
	script, err := filepath.Abs("compare")
	if err != nil {
		t.Fatal(err)
	}
	show := filepath.Join(t.TempDir(), "show")
	text := "#!/bin/sh\nfor f; do echo \"${f%%=*}:\" $(grep -o ^Benchmark[A-Za-z]* ${f#*=}); done\n"
	if err := os.WriteFile(show, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, base)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ROUNDS=2", "BENCH=Old|Both", "BENCHTIME=1x", "BENCHSTAT="+show)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Each round has both trees' benchmarks once, that of the commit and that of the files as they are, and nothing is left behind.
func TestCompare(t *testing.T) {
	dir := t.TempDir()
	put := func(benchmarks ...string) {
		text := "package p\nimport \"testing\"\n"
		for _, b := range benchmarks {
			text += "func Benchmark" + b + "(b *testing.B) { for b.Loop() {} }\n"
		}
		for name, content := range map[string]string{"go.mod": "module p\n", "p/p_test.go": text} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@localhost"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q")
	put("Old", "Both", "Unasked")
	git("add", ".")
	git("commit", "-q", "-m", "base")
	put("Both", "Unasked")
	out, err := compare(t, dir, "HEAD")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"base: BenchmarkOld BenchmarkBoth BenchmarkOld BenchmarkBoth\n", "new: BenchmarkBoth BenchmarkBoth\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if trees := git("worktree", "list"); strings.Count(trees, "\n") != 1 {
		t.Errorf("left behind:\n%s", trees)
	}
	if out, err := compare(t, dir, "nowhere"); err == nil || !strings.Contains(out, "nowhere is no commit here") {
		t.Errorf("with a base that is none: %v, %s", err, out)
	}
}
