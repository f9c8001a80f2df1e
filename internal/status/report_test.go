package status

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"salt-broker/internal/latency"
)

// reportFields are the paths of all fields of a report, in their order: a.b[] is a list of things.
func reportFields() []string { return fieldsBelow("", reflect.TypeFor[Report]()) }

func fieldsBelow(path string, of reflect.Type) (paths []string) {
	switch {
	case of == reflect.TypeFor[time.Time]():
		return []string{path}
	case of.Kind() == reflect.Slice || of.Kind() == reflect.Array:
		return fieldsBelow(path+"[]", of.Elem())
	case of.Kind() == reflect.Map:
		return fieldsBelow(path+".<reason>", of.Elem())
	case of.Kind() != reflect.Struct:
		return []string{path}
	}
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			paths = append(paths, fieldsBelow(path, f.Type)...)
		case path == "":
			paths = append(paths, fieldsBelow(name, f.Type)...)
		default:
			paths = append(paths, fieldsBelow(path+"."+name, f.Type)...)
		}
	}
	return paths
}

// fieldRow matches a row of the table of fields.
var fieldRow = regexp.MustCompile("(?m)^   \\* - (``[^\n]+(?:\n       .+)*)\n     - ")

// The document is documented: every field, no other, in order.
func TestDocsFields(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.rst")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n/status\n---")
	var got []string
	for _, row := range fieldRow.FindAllStringSubmatch(table, -1) {
		for _, field := range regexp.MustCompile("``([^`]+)``").FindAllStringSubmatch(row[1], -1) {
			got = append(got, field[1])
		}
	}
	want := reportFields()
	for _, path := range want {
		if !slices.Contains(got, path) {
			t.Errorf("%s is not in the table", path)
		}
	}
	for _, path := range got {
		if !slices.Contains(want, path) {
			t.Errorf("%s is in the table and not in the report", path)
		}
	}
}

// Every check that a reason can have is named.
func TestDocsChecks(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.rst")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("health.go")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "``check`` is one of ")
	list, _, _ = strings.Cut(list, ".")
	var documented, known []string
	for _, found := range regexp.MustCompile("``([a-z_]+)``").FindAllStringSubmatch(list, -1) {
		documented = append(documented, found[1])
	}
	for _, found := range regexp.MustCompile(`(?m)^\tCheck\w+ += "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
		known = append(known, found[1])
	}
	if !slices.Equal(documented, known) || len(known) < 6 {
		t.Errorf("documented are %q, and there are %q", documented, known)
	}
}

// What the report says of times is what was counted, so that a reader can tell rates and quantiles of any interval.
func TestTimes(t *testing.T) {
	var r latency.Recorder
	r.Observe(time.Millisecond, 99)
	r.Observe(time.Hour, 2)
	h := r.Histogram()
	times := TimesOf(h)
	if times.P50 != 0.001024 || times.P99 != -1 || times.Histogram().Counts != h.Counts {
		t.Errorf("%+v", times)
	}
	if none := TimesOf(latency.Histogram{}); none.P50 != 0 || none.P99 != 0 {
		t.Errorf("of nothing: %+v", none)
	}
}
