package main

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

var noon = time.Date(2026, 11, 21, 11, 23, 32, 123_900_000, time.UTC)

func TestLayouts(t *testing.T) {
	fields := logrus.Fields{
		"remote": netip.MustParseAddrPort("[2001:db8::1]:4711"), "component": "publish", "error": errors.New("reset by peer"),
		"bytes": 12, "empty": "", "drained": 1500 * time.Millisecond,
	}
	tail := ` bytes=12 component=publish drained=1.5s empty="" error="reset by peer" remote=[2001:db8::1]:4711`
	for _, test := range []struct {
		name    string
		layout  layout
		level   logrus.Level
		message string
		fields  logrus.Fields
		want    string
	}{
		{"file", fileLayout(1234), logrus.WarnLevel, "message", nil, "2026-11-21 11:23:32,123 [salt.broker      :0   ][WARNING ][1234] message"},
		{"file, fields", fileLayout(1), logrus.InfoLevel, "gone", fields, "2026-11-21 11:23:32,123 [salt.broker      :0   ][INFO    ][1] gone" + tail},
		{"console", consoleLayout, logrus.ErrorLevel, "message", nil, "[ERROR   ] message"},
		{"console, fields", consoleLayout, logrus.DebugLevel, "gone", fields, "[DEBUG   ] gone" + tail},
		{"console, critical", consoleLayout, logrus.FatalLevel, "message", nil, "[CRITICAL] message"},
		{"console, trace", consoleLayout, logrus.TraceLevel, "message", nil, "[TRACE   ] message"},
		{"journal, critical", journalLayout(consoleLayout), logrus.FatalLevel, "message", nil, "<2>[CRITICAL] message"},
		{"journal, error", journalLayout(consoleLayout), logrus.ErrorLevel, "message", nil, "<3>[ERROR   ] message"},
		{"journal, warning", journalLayout(consoleLayout), logrus.WarnLevel, "message", nil, "<4>[WARNING ] message"},
		{"journal, info", journalLayout(consoleLayout), logrus.InfoLevel, "message", nil, "<6>[INFO    ] message"},
		{"journal, debug", journalLayout(consoleLayout), logrus.DebugLevel, "message", nil, "<7>[DEBUG   ] message"},
		{"json", jsonLayout, logrus.WarnLevel, "a <message>", nil, `{"level":"warning","msg":"a <message>","time":"2026-11-21T11:23:32.123Z"}`},
		{
			"json, fields", jsonLayout, logrus.FatalLevel, "two\nlines \x9b \u009b", fields,
			`{"bytes":12,"component":"publish","drained":"1.5s","empty":"","error":"reset by peer","level":"fatal",` +
				`"msg":"two\\nlines \\x9b \\u009b","remote":"[2001:db8::1]:4711","time":"2026-11-21T11:23:32.123Z"}`,
		},
		{"json, journal", journalLayout(jsonLayout), logrus.InfoLevel, "message", nil, `<6>{"level":"info","msg":"message","time":"2026-11-21T11:23:32.123Z"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &logrus.Entry{Time: noon, Level: test.level, Message: test.message, Data: test.fields}
			if got := string(test.layout(e)); got != test.want+"\n" {
				t.Errorf("line\n%swant\n%s", got, test.want)
			}
		})
	}
}

// What a peer sends may end up in a message or a field, and must stay on the line that is about it.
func TestNobodyFakesLines(t *testing.T) {
	fake := "x\n2026-11-21 11:23:32,123 [salt.broker      :0   ][ERROR   ][1] fake"
	for _, test := range []struct{ name, text, message, field string }{
		{"plain", "reset", "reset", "reset"},
		{"words", "reset by peer", "reset by peer", `"reset by peer"`},
		{"letters of all kinds", "Zürich-日本", "Zürich-日本", "Zürich-日本"},
		{"newline", fake, strings.Replace(fake, "\n", `\n`, 1), `"` + strings.Replace(fake, "\n", `\n`, 1) + `"`},
		{"carriage return", "a\rb", `a\rb`, `"a\rb"`},
		{"escape sequence", "\x1b[2Jred", `\x1b[2Jred`, `"\x1b[2Jred"`},
		{"C1 control", "\u009b2J", `\u009b2J`, `"\u009b2J"`},
		{"NUL", "a\x00b", `a\x00b`, `"a\x00b"`},
		{"no UTF-8", "a\xff\xfeb", `a\xff\xfeb`, `"a\xff\xfeb"`},
		{"line separator", "a\u2028b", `a\u2028b`, `"a\u2028b"`},
		{"right to left", "a\u202eb", `a\u202eb`, `"a\u202eb"`},
		{"another field", "a reason=b", "a reason=b", `"a reason=b"`},
		{"quotes", `a" b="c`, `a" b="c`, `"a\" b=\"c"`},
		{"backslash", `a\nb`, `a\nb`, `"a\\nb"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &logrus.Entry{Level: logrus.InfoLevel, Message: test.text, Data: logrus.Fields{"key": test.text}}
			if got, want := string(consoleLayout(e)), "[INFO    ] "+test.message+" key="+test.field+"\n"; got != want {
				t.Errorf("line\n%swant\n%s", got, want)
			}
		})
	}
}
