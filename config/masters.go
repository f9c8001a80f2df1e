package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits of `master`. The names of masters are labels of metrics, so their number is bounded.
const (
	maxMasters    = 64
	maxPaths      = 16  // to one master
	maxMasterName = 128 // bytes
)

// Master is one master that `master` names.
type Master struct {
	// Name is what the log, the status and the metrics call it: what its map says, else its first path as it was written.
	// No two masters have the same.
	Name string
	// Paths are the roads to it, at least one: addresses of one and the same master.
	Paths []Path
}

// Path is one road to a master. Publish and Request are host:port, as net.Dial takes them; the host is the same.
type Path struct {
	// Host is a name or an IP address, without brackets.
	Host string
	// Publish is where the master publishes.
	Publish string
	// Request is where it takes requests. A port in `master` is this one and wins over `master_port`, as in Salt.
	Request string
}

// Masters is Master, taken apart: at least one master of a Config that is valid, in the order of the list.
func (c Config) Masters() []Master {
	named, _ := parseMasters(c.Master)
	list := make([]Master, 0, len(named))
	for _, n := range named {
		m := Master{Name: n.name}
		for _, text := range n.paths {
			host, port, _ := splitMaster(text)
			if port == 0 {
				port = c.MasterPort
			}
			m.Paths = append(m.Paths, Path{host, hostPort(host, c.MasterPublishPort), hostPort(host, port)})
		}
		list = append(list, m)
	}
	return list
}

// paths are the roads to all masters.
func (c Config) paths() (all []Path) {
	for _, m := range c.Masters() {
		all = append(all, m.Paths...)
	}
	return all
}

// named is a master as the configuration has it.
type named struct {
	name  string
	paths []string // as they were written
}

// plain says that nothing but an address was said of the master.
func (n named) plain() bool { return len(n.paths) == 1 && n.paths[0] == n.name }

// masters is one master or a list of them. It is kept as text, as a file would have it, because a [Config] is compared
// with ==.
type masters struct {
	p   *string
	bad *string // what is wrong with an element, in words that follow the list
}

func mastersAt(p *string) masters { return masters{p: p, bad: new(string)} }

func (v masters) set(raw any) bool {
	list, bad := parseMasters(raw)
	if *v.bad = bad; list == nil {
		return false
	}
	*v.p = mastersText(list)
	return true
}

func (v masters) ok() bool {
	list, bad := parseMasters(*v.p)
	*v.bad = bad
	return list != nil
}

func (v masters) want() string {
	if *v.bad != "" {
		return *v.bad
	}
	return "is not a " + aMaster
}

func (v masters) String() string { return quoted(*v.p) }

// aMaster is what an address of a master looks like.
const aMaster = "host, host:port or [IPv6 address]:port"

// parseMasters reads what YAML made of a file's words, or the text of [mastersText]. list is nil when something is wrong;
// bad says what, and is "" when raw as a whole is no master.
func parseMasters(raw any) (list []named, bad string) {
	var elements []any
	switch raw := raw.(type) {
	case string:
		if _, _, ok := splitMaster(raw); ok {
			return []named{{raw, []string{raw}}}, ""
		}
		elements = flow(raw)
	case []any:
		elements = raw
	}
	if len(elements) > maxMasters {
		return nil, fmt.Sprintf("has more than %d masters", maxMasters)
	}
	for _, element := range elements {
		n, bad := parseMaster(element)
		switch {
		case bad != "":
			return nil, bad
		case n.paths == nil:
			return nil, ""
		case slices.ContainsFunc(list, func(other named) bool { return other.name == n.name }):
			return nil, "has two masters called " + n.name
		}
		list = append(list, n)
	}
	return list, ""
}

// flow takes text apart that is written as YAML's flow of a list. Whatever stands in it is text: a host may be called no.
func flow(text string) []any {
	if !strings.HasPrefix(text, "[") {
		return nil
	}
	document, fault := onlyDocument([]byte(text))
	if fault != nil || document == nil {
		return nil
	}
	list, _ := texts(document, 4).([]any)
	return list
}

// texts is a node without its types, down to depth.
func texts(node *yaml.Node, depth int) any {
	switch {
	case depth == 0:
		return nil
	case node.Kind == yaml.ScalarNode:
		return node.Value
	case node.Kind == yaml.SequenceNode:
		list := []any{}
		for _, element := range node.Content {
			list = append(list, texts(element, depth-1))
		}
		return list
	case node.Kind == yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			m[node.Content[i].Value] = texts(node.Content[i+1], depth-1)
		}
		return m
	}
	return nil // an alias has no place here
}

// parseMaster reads one element of the list: an address, or a map with name and paths. It returns no paths where the
// element is not even that.
func parseMaster(element any) (n named, bad string) {
	switch element := element.(type) {
	case string:
		return named{element, []string{element}}, notAPath(element)
	case map[string]any:
		return parseMasterMap(element)
	case nil:
		return n, ""
	}
	return n, "has " + shown(fmt.Sprint(element)) + ", which is not a " + aMaster
}

func parseMasterMap(m map[string]any) (n named, bad string) {
	for key := range m {
		if key != "name" && key != "paths" {
			return n, "has the key " + shown(key) + "; name and paths are what a master takes"
		}
	}
	switch paths := m["paths"].(type) {
	case string:
		n.paths = []string{paths}
	case []any:
		for _, path := range paths {
			text, ok := path.(string)
			if !ok {
				text = fmt.Sprint(path)
			}
			n.paths = append(n.paths, text)
		}
	}
	switch {
	case len(n.paths) == 0:
		return n, "has no paths, such as {name: m1, paths: [a.example, b.example]}"
	case len(n.paths) > maxPaths:
		return n, fmt.Sprintf("has a master with more than %d paths", maxPaths)
	}
	for _, path := range n.paths {
		if bad := notAPath(path); bad != "" {
			return n, bad
		}
	}
	n.name = n.paths[0]
	if name, given := m["name"]; given {
		text, ok := name.(string)
		if !ok || !isMasterName(text) {
			return n, fmt.Sprintf("has the name %s, which is not up to %d letters, digits and any of . _ - : [ ]", shown(fmt.Sprint(name)), maxMasterName)
		}
		n.name = text
	}
	return n, ""
}

func notAPath(text string) string {
	if _, _, ok := splitMaster(text); ok {
		return ""
	}
	return "has " + shown(text) + ", which is not a " + aMaster
}

func isMasterName(text string) bool {
	for _, r := range text {
		if r < '0' || '9' < r && r < 'A' || 'Z' < r && r < 'a' || 'z' < r {
			if !strings.ContainsRune("._-:[]", r) {
				return false
			}
		}
	}
	return 0 < len(text) && len(text) <= maxMasterName
}

// mastersText is a list as a file would have it. One master of which only the address is said is its address.
func mastersText(list []named) string {
	if len(list) == 1 && list[0].plain() {
		return list[0].name
	}
	text := make([]string, len(list))
	for i, n := range list {
		if text[i] = flowText(n.name); n.plain() {
			continue
		}
		paths := make([]string, len(n.paths))
		for j, path := range n.paths {
			paths[j] = flowText(path)
		}
		text[i] = "{name: " + text[i] + ", paths: [" + strings.Join(paths, ", ") + "]}"
	}
	return "[" + strings.Join(text, ", ") + "]"
}

// flowText is an address or a name in a list: in quotes where YAML could take its brackets, its colons or a dash at its
// beginning for its own.
func flowText(text string) string {
	host, port, found := strings.Cut(text, ":")
	if strings.ContainsAny(text, "[]") || strings.HasPrefix(text, "-") || found && (host == "" || strings.Trim(port, "0123456789") != "" || port == "") {
		return "'" + text + "'"
	}
	return text
}
