//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInto(t *testing.T) {
	f := figures{"a": "1\n", "b": "2\n"}
	const text = "x\n.. figures: a\n\nold\n\n.. end of figures\ny\n.. figures: b\n\n.. end of figures\n"
	const want = "x\n.. figures: a\n\n1\n\n.. end of figures\ny\n.. figures: b\n\n2\n\n.. end of figures\n"
	got, err := f.into(text)
	if err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := f.into(got); err != nil || again != got {
		t.Errorf("a second time %q, %v", again, err)
	}
	for _, bad := range []string{".. figures: c\n\n.. end of figures", ".. figures: a\n\n"} {
		if _, err := f.into(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestPlotIsXML(t *testing.T) {
	panels := []panel{
		{title: "a", unit: "us", lines: []line{{"one", []point{{100, 1}, {1000, 2.5}, {15000, 17}}}, {"two", []point{{100, 3}}}}},
		{title: "b", unit: "1/s", lines: []line{{"one", []point{{100, 0}}}}},
		{title: "c", unit: "ms", lines: []line{{"two", []point{{100, 123456}, {15000, 5}}}}},
	}
	text := draw(panels, []string{"one", "two"})
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"NaN", "Inf"} {
		if strings.Contains(text, bad) {
			t.Errorf("it has %s", bad)
		}
	}
}

func TestNiceStep(t *testing.T) {
	for top, want := range map[float64]float64{0: 1, 1: 0.2, 9: 2, 11: 5, 50: 10, 51: 20, 70000: 20000} {
		if got := niceStep(top); got != want {
			t.Errorf("%v for %v, want %v", got, top, want)
		}
	}
}

// TestDocumentsSayWhatTheRecordsSay: `go run ./bench -document` makes them so.
func TestDocumentsSayWhatTheRecordsSay(t *testing.T) {
	all, plot, err := fromRecords("..")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, name := range documents {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		now, err := all.into(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if now != string(text) {
			t.Errorf("%s has other figures than the records: run `go run ./bench -document`", name)
		}
		for figures := range all {
			if strings.Contains(string(text), ".. figures: "+figures+"\n") {
				used[figures] = true
			}
		}
	}
	for name := range all {
		if !used[name] {
			t.Errorf("no document shows the figures %q", name)
		}
	}
	drawn, err := os.ReadFile(filepath.Join("..", growthPlot))
	if err != nil {
		t.Fatal(err)
	}
	if string(drawn) != plot {
		t.Errorf("%s is not what the record says: run `go run ./bench -document`", growthPlot)
	}
}
