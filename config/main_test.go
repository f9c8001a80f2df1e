package config

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// directory writes files into a new directory and returns it.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// loaded is a Config from the text of a main file that must be good, with its warnings.
func loaded(t *testing.T, text string) (Config, []Warning) {
	t.Helper()
	c, warnings, err := fromText(text)
	if err != nil {
		t.Fatalf("faults in\n%s\n%v", text, err)
	}
	return c, warnings
}

// fromText loads the text of a main file that has the name broker.
func fromText(text string) (Config, []Warning, error) {
	l := newLoading()
	l.read("broker", []byte(text))
	return l.result()
}

// variables is an environment.
func variables(set map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { text, ok := set[name]; return text, ok }
}
