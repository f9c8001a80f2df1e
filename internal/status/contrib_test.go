package status

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
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

// usedGroup matches the labels by which something is added up.
var usedGroup = regexp.MustCompile(`\bby \(([^)]*)\)`)

// faultsOf are the metrics of an expression that are not exported, and the labels and values of labels that these do not
// have.
func faultsOf(expression string, values map[string]map[string][]string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	found := usedMetric.FindAllStringSubmatch(expression, -1)
	if len(found) == 0 && !strings.HasPrefix(expression, "up{") {
		fault("no metric in %s", expression)
	}
	there := []string{"job", "instance", "le"}
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
		there = slices.AppendSeq(there, maps.Keys(labels))
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
	for _, group := range usedGroup.FindAllStringSubmatch(expression, -1) {
		for label := range strings.SplitSeq(group[1], ", ") {
			if !slices.Contains(there, label) {
				fault("%s has nothing with the label %s", expression, label)
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

// exported are the metrics of a real broker's channels, and those that only a cluster has, with the values of their labels.
func exported(t *testing.T) map[string]map[string][]string {
	t.Helper()
	b := realChannels(t)
	b.request.Peers = threePeers()
	o := b.options()
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
	tests, err := os.ReadFile("../../contrib/prometheus/salt-broker.test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for alert := range seen {
		if n := strings.Count(string(tests), "alertname: "+alert+"\n"); n < 2 {
			t.Errorf("%s: no test of when it fires, and when not", alert)
		}
	}
}

// Prometheus itself takes the rules, and each fires when it should and not before; and it takes what a broker says.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("SALT_BROKER_REQUIRE_TOOLS") == "1" {
			t.Fatalf("promtool is required: %v", err)
		}
		t.Skipf("needs promtool, of Debian's package prometheus: %v", err)
	}
	// The dashboard's expressions as rules, for their syntax.
	asRules := "groups:\n  - name: dashboard\n    rules:\n"
	expressions, _ := dashboardsExpressions(t)
	for i, e := range expressions {
		asRules += fmt.Sprintf("      - {record: a%d, expr: %q}\n", i, e[1])
	}
	rules := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(rules, []byte(asRules), 0o600); err != nil {
		t.Fatal(err)
	}
	metrics := body(t, serve(t, realChannels(t).options())+"/metrics")
	for _, test := range []struct{ says, stdin, args string }{
		{"SUCCESS: ", "", "check rules salt-broker.rules.yml"},
		{"SUCCESS", "", "test rules salt-broker.test.yml"},
		{fmt.Sprintf("SUCCESS: %d rules found", len(expressions)), "", "check rules " + rules},
		{"", metrics, "check metrics"},
	} {
		c := exec.Command(promtool, strings.Fields(test.args)...)
		c.Dir, c.Stdin = "../../contrib/prometheus", strings.NewReader(test.stdin)
		said, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(said), test.says) || test.says == "" && len(said) > 0 {
			t.Errorf("%v: %v\n%s", c.Args, err, said)
		}
	}
}

// dashboardsExpressions are those of the Grafana dashboard as Prometheus gets them, each with the title of what shows it, and
// the queries of its variables.
func dashboardsExpressions(t *testing.T) (expressions, variables [][2]string) {
	t.Helper()
	text, err := os.ReadFile("../../contrib/grafana/salt-broker.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := map[float64]bool{}
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
					expressions = append(expressions, [2]string{where, strings.ReplaceAll(expression, "$__rate_interval", "5m")})
				case isText && (key == "query" || key == "definition") && strings.HasPrefix(expression, "label_values("):
					variables = append(variables, [2]string{where, expression})
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
	return expressions, variables
}

func TestDashboard(t *testing.T) {
	values := exported(t)
	expressions, variables := dashboardsExpressions(t)
	for _, e := range slices.Concat(expressions, variables) {
		check(t, e[0], e[1], values)
	}
	if len(expressions) < 20 || len(variables) < 2 {
		t.Errorf("%d expressions, %d variables", len(expressions), len(variables))
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
		`sum by (job, channel) (salt_broker_a_seconds)`:             true,
		`sum by (job, side) (salt_broker_a_seconds)`:                false,
		`1 + 1`: false,
	} {
		if faults := faultsOf(expression, values); (faults == nil) != good {
			t.Errorf("%s: %q", expression, faults)
		}
	}
}
