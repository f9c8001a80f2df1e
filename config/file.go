package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// said is one key with its value, and where an operator said it.
type said struct {
	key   string
	value any    // what YAML makes of it; nil when nothing stands after the colon
	text  string // as it was written, for faults
	file  string
	line  int // 0: not known
}

func (s said) fault(why string) Fault {
	return Fault{Key: s.key, Value: s.text, Why: why, File: s.file, Line: s.line}
}

func (s said) warning(why string) Warning {
	return Warning{Key: s.key, Value: s.text, Why: why, File: s.file, Line: s.line}
}

// parse reads the YAML of one file, key by key. It looks at YAML's nodes and not at a map, as they know their lines and
// keep keys that come twice. What is at fault is left out of the result, which goes on to the end of the file where
// that is possible.
func parse(file string, data []byte) ([]said, Faults) {
	document, fault := onlyDocument(data)
	if fault != nil {
		fault.File = file
		return nil, Faults{*fault}
	}
	if document == nil {
		return nil, nil
	}
	if document.Kind != yaml.MappingNode {
		return nil, Faults{{Why: "is no list of keys, each with a colon and a value", File: file, Line: document.Line}}
	}
	var all []said
	var faults Faults
	first := map[string]int{}
	for i := 0; i+1 < len(document.Content); i += 2 {
		name, node := document.Content[i], document.Content[i+1]
		if name.Kind != yaml.ScalarNode {
			faults = append(faults, Fault{Why: "a key is a word, not a list or a map", File: file, Line: name.Line})
			continue
		}
		s := said{key: name.Value, text: written(node), file: file, line: name.Line}
		if line, twice := first[s.key]; twice {
			faults = append(faults, Fault{Key: s.key, Why: "is given twice, first in line " + strconv.Itoa(line), File: file, Line: s.line})
			continue
		}
		first[s.key] = s.line
		if err := node.Decode(&s.value); err != nil {
			faults = append(faults, Fault{Key: s.key, Why: "is broken YAML: " + yamlError(err), File: file, Line: s.line})
			continue
		}
		all = append(all, s)
	}
	return all, faults
}

// onlyDocument returns the root of the one document in data, nil when there is none.
func onlyDocument(data []byte) (*yaml.Node, *Fault) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, &Fault{Why: "broken YAML: " + yamlError(err), Line: brokenLine(data)}
	}
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, &Fault{Why: "broken YAML: " + yamlError(err), Line: brokenLine(data)}
	default:
		return nil, &Fault{Why: "holds more than one YAML document; the rest would be ignored", Line: second.Line}
	}
	root := resolved(document.Content[0])
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil // a lone --- or ~
	}
	return root, nil
}

// resolved follows an alias to what it stands for.
func resolved(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// maxText is how much of a value a fault repeats, in bytes.
const maxText = 60

// written is a value in the words of its file, short enough for a line.
func written(node *yaml.Node) string {
	switch node = resolved(node); node.Kind {
	case yaml.SequenceNode:
		return fmt.Sprintf("a list of %d", len(node.Content))
	case yaml.MappingNode:
		return "a map"
	}
	if node.Tag == "!!null" {
		return ""
	}
	return shown(node.Value)
}

// shown is text without anything that would disturb a line of a log.
func shown(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	if text == "" {
		return "''"
	}
	if plain := strconv.Quote(text); plain != `"`+text+`"` {
		return plain
	}
	return text
}

// yamlPlace matches what the YAML library says of a place.
var yamlPlace = regexp.MustCompile(`^yaml: (?:line \d+: )?`)

// yamlError is the library's message without its name and its line, which a Fault says in its own way.
func yamlError(err error) string {
	return strings.Join(strings.Fields(yamlPlace.ReplaceAllString(err.Error(), "")), " ")
}

// maxSearched is how many bytes brokenLine reads: more than enough for any file whose quotes are closed somewhere.
const maxSearched = 16 << 20

// brokenLine is the line where data stops being YAML: the one after the longest beginning of it that is YAML, and 0 when
// that is too far away. The library's own number is often that of the map which the fault is in, and so of the first line.
func brokenLine(data []byte) int {
	newline := []byte("\n")
	for searched := 0; searched < maxSearched; {
		read, ok := readYAML(data)
		if ok {
			return bytes.Count(data, newline) + 1
		}
		searched += read
		data = bytes.TrimSuffix(data[:read], newline)
		data = data[:bytes.LastIndex(data, newline)+1] // without the last line
	}
	return 0
}

// readYAML says whether data is YAML, and how much of it was read to know that.
func readYAML(data []byte) (read int, ok bool) {
	r := bytes.NewReader(data)
	decoder := yaml.NewDecoder(r)
	var err error
	for err == nil {
		err = decoder.Decode(new(yaml.Node))
	}
	return len(data) - r.Len(), errors.Is(err, io.EOF)
}
