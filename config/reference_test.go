package config

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// exampleKey matches a key of broker.example: commented out, without a space in front of it. Prose has one.
var exampleKey = regexp.MustCompile(`(?m)^#([a-z0-9_]+): (.*)$`)

func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../pkg/rpm/broker.example")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The example changes nothing, neither as it comes nor with every key taken at its word.
func TestExampleIsDefault(t *testing.T) {
	text := example(t)
	for name, text := range map[string]string{"as it comes": text, "uncommented": exampleKey.ReplaceAllString(text, "$1: $2")} {
		t.Run(name, func(t *testing.T) {
			if c, warnings := loaded(t, text); c != Default() || warnings != nil {
				t.Errorf("%+v\nwarnings %v", c, warnings)
			}
		})
	}
}

// The example has every key once, none else, in the order of the code, and with its range in the comment above.
func TestExampleIsComplete(t *testing.T) {
	text := example(t)
	var names []string
	for _, found := range exampleKey.FindAllStringSubmatchIndex(text, -1) {
		name := text[found[2]:found[3]]
		names = append(names, name)
		paragraph := text[strings.LastIndex(text[:found[0]], "\n\n")+1 : found[0]]
		if !strings.Contains(paragraph, "# ") {
			t.Errorf("%s has no comment", name)
		}
		checkRange(t, name, strings.ReplaceAll(paragraph, "\n# ", " "))
	}
	if want := keyNames(); !slices.Equal(names, want) {
		t.Errorf("%q\nwant %q", names, want)
	}
}

// docsRow matches a row of the table of keys.
var docsRow = regexp.MustCompile("(?m)^   \\* - ``([a-z0-9_]+)``\n     - (.+)\n     - ``(.+)``\n     - (.+)$")

// The table has every key once, none else, in the order of the code, with its default and its range.
func TestDocsTable(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.rst")
	if err != nil {
		t.Fatal(err)
	}
	defaults := map[string]string{}
	for key, value := range Default().Settings() {
		defaults[key] = value
	}
	var names []string
	for _, row := range docsRow.FindAllStringSubmatch(string(text), -1) {
		name, values, value := row[1], row[2], row[3]
		names = append(names, name)
		if value != defaults[name] {
			t.Errorf("%s: default %s, want %s", name, value, defaults[name])
		}
		checkRange(t, name, values)
	}
	if want := keyNames(); !slices.Equal(names, want) {
		t.Errorf("%q\nwant %q", names, want)
	}
}

// What the example says of faults is what is said.
func TestDocsFaults(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.rst")
	if err != nil {
		t.Fatal(err)
	}
	_, _, faults := fromText("\n\npublish_port: 70000\nret_prot: 4506")
	for line := range strings.Lines(faults.Error()) {
		if line = strings.Replace(strings.TrimSpace(line), "broker:", "/etc/salt/broker:", 1); !strings.Contains(string(text), line) {
			t.Errorf("docs/configuration.rst does not show %s", line)
		}
	}
}

// Every word that is taken from Uyuni's file is in the table of them.
func TestDocsUyuni(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.rst")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"connect_timeout", logToFile}
	for _, a := range aliases {
		names = append(names, a.name)
	}
	for name := range replaced {
		names = append(names, name)
	}
	_, table, _ := strings.Cut(string(text), "Uyuni's file\n---")
	for _, name := range names {
		if !strings.Contains(table, "   * - ``"+name+"``\n") {
			t.Errorf("%s is not in the table", name)
		}
	}
}

// aRange matches the range in what a fault says.
var aRange = regexp.MustCompile(`\d+( [KMG]iB)? to \d+( [KMG]iB)?`)

// checkRange fails when text does not say the range that the code holds a key to.
func checkRange(t *testing.T, name, text string) {
	t.Helper()
	k, known := keyNamed(name)
	if !known {
		t.Errorf("%s is no key", name)
		return
	}
	want := k.of(new(Default())).want()
	if allowed := aRange.FindString(want); !strings.Contains(text, allowed) {
		t.Errorf("%s: %q does not say %s", name, text, allowed)
	}
	if strings.Contains(want, "-1") != strings.Contains(text, "-1") {
		t.Errorf("%s: %q and %q do not agree about -1", name, text, want)
	}
}

func keyNames() []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	return names
}
