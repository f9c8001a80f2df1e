// Package saltbroker_test holds the shape of the whole module: which package may import which. There is no code here,
// only the rules that no package can hold for itself. They follow the picture in docs/architecture.rst.
package saltbroker_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

const module = "salt-broker"

// mayImport says for every package which packages of this module its code (not its tests) may import. Imports point one
// way: from the door to the wire. A new package is added here, in the same commit, with as few imports as it needs.
var mayImport = map[string][]string{
	"cmd/salt-broker": {
		"config", "pubproxy", "retproxy", "internal/buffers", "internal/demo", "internal/latency", "internal/master", "internal/masters",
		"internal/reactor", "internal/salt", "internal/sim", "internal/status", "internal/supervise", "internal/zmtp",
	},
	"config":             {},
	"pubproxy":           {"internal/admission", "internal/buffers", "internal/heartbeat", "internal/latency", "internal/master", "internal/merge", "internal/reactor", "internal/zmtp"},
	"retproxy":           {"internal/admission", "internal/buffers", "internal/heartbeat", "internal/latency", "internal/master", "internal/reactor", "internal/salt", "internal/zmtp"},
	"internal/admission": {"internal/heartbeat", "internal/reactor", "internal/zmtp"},
	"internal/buffers":   {"internal/reactor"},
	"internal/demo":      {"internal/sim"},
	"internal/heartbeat": {"internal/reactor"},
	"internal/latency":   {},
	"internal/master":    {"internal/reactor", "internal/salt", "internal/zmtp"},
	"internal/masters":   {"internal/master", "internal/reactor", "internal/salt", "internal/zmtp"},
	"internal/merge":     {},
	"internal/reactor":   {},
	"internal/salt":      {},
	"internal/sim":       {"internal/reactor", "internal/salt", "internal/zmtp"},
	"internal/status":    {"internal/merge", "pubproxy", "retproxy", "internal/heartbeat", "internal/latency", "internal/master", "internal/masters", "internal/reactor"},
	"internal/supervise": {"internal/reactor"},
	"internal/zmtp":      {},
	// The relay is driven from outside or through its Options, as main does it.
	"bench": {"config", "pubproxy", "retproxy", "internal/master", "internal/reactor", "internal/sim", "internal/zmtp"},
	// Only tests, which may import what they like.
	"":               {},
	"test/chaos":     {},
	"test/footprint": {},
	"test/hostile":   {},
	"test/interop":   {},
	"test/outage":    {},
	"test/page":      {},
	"test/pair":      {},
	"test/service":   {},
	"test/tree":      {},
	// What some of those share.
	"test/internal/apart":   {},
	"test/internal/program": {},
}

// mustNotLink says which modules must not end up below a package, by whichever way. A trailing slash is a prefix.
var mustNotLink = map[string][]string{
	"pubproxy":           {"github.com/spf13/", "github.com/prometheus/", module + "/config", module + "/retproxy"},
	"retproxy":           {"github.com/spf13/", "github.com/prometheus/", module + "/config", module + "/pubproxy"},
	"internal/admission": {"github.com/spf13/", "github.com/prometheus/", module + "/config"},
	"internal/master":    {"github.com/spf13/", "github.com/prometheus/", module + "/config"},
	"internal/reactor":   {"github.com/sirupsen/", "github.com/spf13/", "github.com/prometheus/", "github.com/go-zeromq/", "net/http"},
	"internal/zmtp":      {"github.com/", "golang.org/", "net", "log", "log/slog"},
}

// listed is what `go list -json` says about a package.
type listed struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
	CgoFiles     []string
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestImportsPointOneWay(t *testing.T) {
	for _, pkg := range list(t, "./...") {
		name := inModule(pkg.ImportPath)
		t.Run("/"+name, func(t *testing.T) {
			allowed, known := mayImport[name]
			if !known {
				t.Fatalf("package %s is not in the table of imports_test.go: say there what it may import", pkg.ImportPath)
			}
			for _, imported := range pkg.Imports {
				if !ours(imported) {
					continue
				}
				if !slices.Contains(allowed, inModule(imported)) {
					t.Errorf("%s imports %s; it may import %q", pkg.ImportPath, imported, allowed)
				}
			}
			for _, dep := range pkg.Deps {
				for _, forbidden := range mustNotLink[name] {
					if dep == forbidden || strings.HasSuffix(forbidden, "/") && strings.HasPrefix(dep, forbidden) {
						t.Errorf("%s links %s", pkg.ImportPath, dep)
					}
				}
			}
		})
	}
}

// The two proxies know nothing of each other, not even in their tests.
func TestProxiesAreStrangers(t *testing.T) {
	for _, pkg := range list(t, "./...") {
		stranger := map[string]string{"pubproxy": "retproxy", "retproxy": "pubproxy"}[inModule(pkg.ImportPath)]
		if stranger == "" {
			continue
		}
		if slices.Contains(slices.Concat(pkg.TestImports, pkg.XTestImports), module+"/"+stranger) {
			t.Errorf("a test of %s imports %s", pkg.ImportPath, stranger)
		}
	}
}

// Nothing the module links needs a C compiler: the standard library has Go versions of what it does with one.
func TestNoCgo(t *testing.T) {
	for _, pkg := range list(t, "-deps", "./...") {
		if !pkg.Standard && len(pkg.CgoFiles) > 0 {
			t.Errorf("%s uses cgo: %q", pkg.ImportPath, pkg.CgoFiles)
		}
	}
}

func ours(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// inModule is a package's path below the module, "" for its root.
func inModule(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
}

// list runs go list. CGO_ENABLED=1, or files with cgo would be left out in silence.
func list(t *testing.T, args ...string) []listed {
	t.Helper()
	// The directories are read for the go command's sake: it keeps the result of a test as long as the files that the
	// test itself has opened are the same, and does not see what go list reads.
	walk := func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == ".git" {
			return fs.SkipDir
		}
		return err
	}
	if err := filepath.WalkDir(".", walk); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Standard,Imports,TestImports,XTestImports,Deps,CgoFiles"}, args...)...)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.String())
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg listed
		switch err := dec.Decode(&pkg); {
		case errors.Is(err, io.EOF):
			if len(all) == 0 {
				t.Fatalf("%v lists nothing", cmd)
			}
			return all
		case err != nil:
			t.Fatalf("%v: %v", cmd, err)
		}
		all = append(all, pkg)
	}
}
