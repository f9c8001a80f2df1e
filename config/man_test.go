package config

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/man/broker.5 anew")

const manPage = "../docs/man/broker.5"

// The page is broker.5.in with what broker.example says of every key.
func TestManPage(t *testing.T) {
	frame, err := os.ReadFile(manPage + ".in")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(string(frame), "@KEYS@\n", manKeys(example(t)), 1)
	for name, value := range Default().Settings() {
		if entry := fmt.Sprintf("\n\\fB%s\\fR: %s\n", name, manText(value)); !strings.Contains(want, entry) {
			t.Errorf("the page does not have %q", entry)
		}
	}
	if *update {
		if err := os.WriteFile(manPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(manPage); err != nil || string(got) != want {
		t.Errorf("docs/man/broker.5 is not what pkg/rpm/broker.example says (%v): run `make man`", err)
	}
}

var exampleTitle = regexp.MustCompile(`^##### +(.+?) +#####$`)

// manKeys is the sections of an example with their keys, in roff. What stands above the first paragraph with a key is
// for readers of the file.
func manKeys(example string) string {
	var b strings.Builder
	for paragraph := range strings.SplitSeq(example, "\n\n") {
		var keys, prose []string
		for line := range strings.Lines(paragraph) {
			line = strings.TrimSuffix(line, "\n")
			if title := exampleTitle.FindStringSubmatch(line); title != nil {
				fmt.Fprintf(&b, ".SS %s\n", manText(title[1]))
			} else if key := exampleKey.FindStringSubmatch(line); key != nil {
				keys = append(keys, fmt.Sprintf("\\fB%s\\fR: %s\n", key[1], manText(key[2])))
			} else if text, ok := strings.CutPrefix(line, "# "); ok {
				prose = append(prose, manText(text)+"\n")
			} else if line == "#" { // what stands above it is about the file
				prose = nil
			}
		}
		if len(keys) > 0 {
			b.WriteString(".TP\n" + strings.Join(keys, ".TQ\n") + strings.Join(prose, ""))
		}
	}
	// A title comes before the paragraph with the first key of its section, but for that of the file itself.
	_, sections, _ := strings.Cut(b.String(), "\n")
	return sections
}

var manQuoted = regexp.MustCompile("`(.+?)`")

// manText is a line of text in roff.
func manText(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`).Replace(text)
	text = manQuoted.ReplaceAllString(text, `\fB$1\fR`)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}
