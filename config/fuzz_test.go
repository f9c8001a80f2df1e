package config

import (
	"strings"
	"testing"
)

// Whatever a file holds, it is either taken or refused with sentences of one line; what is taken is good and means the
// same when it is written down again. The seeds are small: the fuzzer takes minutes over each large one.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(uyuniFile))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, warnings, err := fromText(string(text))
		for _, w := range warnings {
			if strings.ContainsAny(w.String(), "\r\n") {
				t.Errorf("a warning of several lines: %q", w)
			}
		}
		if err != nil {
			faults, is := err.(Faults) //nolint:errorlint // it is not wrapped
			if !is || len(faults) == 0 {
				t.Fatalf("%T %v", err, err)
			}
			for _, fault := range faults {
				if text := fault.Error(); strings.ContainsAny(text, "\r\n") {
					t.Errorf("a fault of several lines: %q", text)
				}
			}
			return
		}
		if faults := c.Validate(); faults != nil {
			t.Fatalf("Load finds nothing and Validate %v", faults)
		}
		l := newLoading()
		for key, value := range c.Settings() {
			if value == "''" {
				value = ""
			}
			l.take(said{key: key, value: value, text: value, file: CommandLine})
		}
		again, _, err := l.result()
		if err != nil {
			t.Fatalf("what was taken is refused when it is written down: %v", err)
		}
		if changed := c.Changes(again); changed != nil {
			t.Fatalf("what was taken means something else when it is written down: %q\n%+v\n%+v", changed, c, again)
		}
	})
}
