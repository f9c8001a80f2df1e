package status

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// usedMetric matches a metric in an expression, and its matchers where it has some.
var usedMetric = regexp.MustCompile(`\b((?:salt_broker|process|go)_[a-z_]+)(?:\{([^}]*)\})?`)

// usedLabel matches a label in matchers.
var usedLabel = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)

// faultsOf are the metrics of an expression that are not exported, and the labels and values of labels that these do not
// have.
func faultsOf(expression string, values map[string]map[string][]string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	found := usedMetric.FindAllStringSubmatch(expression, -1)
	if len(found) == 0 && !strings.HasPrefix(expression, "up{") {
		fault("no metric in %s", expression)
	}
	for _, use := range found {
		name := use[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(name, suffix); cut && values[base] != nil {
				name = base
			}
		}
		labels, exported := values[name]
		if !exported {
			fault("%s is not exported", use[1])
			continue
		}
		for _, matcher := range strings.Split(use[2], ",") {
			label := usedLabel.FindStringSubmatch(matcher)
			if label == nil || label[1] == "job" || label[1] == "instance" { // Prometheus' own
				continue
			}
			known, has := labels[label[1]]
			if !has {
				fault("%s has no label %s", use[1], label[1])
			}
			_, quoted, _ := strings.Cut(matcher, `"`)
			for value := range strings.SplitSeq(strings.TrimSuffix(quoted, `"`), "|") {
				if !slices.Contains(known, value) {
					fault("label %s of %s is never %q but one of %q", label[1], use[1], value, known)
				}
			}
		}
	}
	return faults
}

func check(t *testing.T, where, expression string, values map[string]map[string][]string) {
	t.Helper()
	for _, fault := range faultsOf(expression, values) {
		t.Errorf("%s: %s", where, fault)
	}
}

// exported are the metrics of a real broker's channels, with the values of their labels.
func exported(t *testing.T) map[string]map[string][]string {
	t.Helper()
	o := realChannels(t).options()
	families, err := newRegistry(&o).Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string][]string{}
	for _, f := range families {
		labels := map[string][]string{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = append(labels[l.GetName()], l.GetValue())
			}
		}
		all[f.GetName()] = labels
	}
	return all
}

func TestAlerts(t *testing.T) {
	text, err := os.ReadFile("../../contrib/prometheus/salt-broker.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	values := exported(t)
	seen := map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || seen[r.Alert] || r.Annotations["summary"] == "" || r.Annotations["description"] == "" ||
				!slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) {
				t.Errorf("%+v lacks something, or is there twice", r)
			}
			seen[r.Alert] = true
			check(t, r.Alert, r.Expr, values)
		}
	}
	if len(seen) == 0 {
		t.Error("no rules")
	}
}

func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../contrib/grafana/salt-broker.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	values, expressions, ids := exported(t), 0, map[float64]bool{}
	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if title, ok := v["title"].(string); ok {
				where = title
			}
			if id, ok := v["id"].(float64); ok {
				if ids[id] {
					t.Errorf("%s: two panels have the id %v", where, id)
				}
				ids[id] = true
			}
			for key, inner := range v {
				expression, isText := inner.(string)
				switch {
				case isText && key == "expr":
					expressions++
					check(t, where, strings.ReplaceAll(expression, "$__rate_interval", "5m"), values)
				case isText && (key == "query" || key == "definition") && strings.HasPrefix(expression, "label_values("):
					check(t, where, expression, values)
				}
				walk(where, inner)
			}
		case []any:
			for _, inner := range v {
				walk(where, inner)
			}
		}
	}
	walk("dashboard", dashboard)
	if expressions < 20 {
		t.Errorf("%d expressions", expressions)
	}
}

// The check itself finds what is wrong.
func TestCheckOfExpressions(t *testing.T) {
	values := map[string]map[string][]string{"salt_broker_a_seconds": {"channel": {"publish"}}}
	for expression, good := range map[string]bool{
		`rate(salt_broker_a_seconds_bucket{channel="publish"}[5m])`: true,
		`salt_broker_a_seconds{job=~"$job"}`:                        true,
		`salt_broker_b_seconds`:                                     false,
		`salt_broker_a_seconds{side="minion"}`:                      false,
		`salt_broker_a_seconds{channel=~"publish|return"}`:          false,
		`1 + 1`: false,
	} {
		if faults := faultsOf(expression, values); (faults == nil) != good {
			t.Errorf("%s: %q", expression, faults)
		}
	}
}
