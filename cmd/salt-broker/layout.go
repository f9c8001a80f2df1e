package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sirupsen/logrus"

	"salt-broker/config"
)

// layout makes a line of the log, newline included.
type layout func(e *logrus.Entry) []byte

// loggerName is what stands where Salt's daemons have the name of a Python module.
const loggerName = "salt.broker"

// fileLayout is Salt's default of log_fmt_logfile and log_datefmt_logfile:
//
//	%(asctime)s,%(msecs)03d [%(name)-17s:%(lineno)-4d][%(levelname)-8s][%(process)d] %(message)s
//
// A Go program has no line numbers worth a column; it is 0.
func fileLayout(pid int) layout {
	return func(e *logrus.Entry) []byte {
		return fmt.Appendf(nil, "%s,%03d [%-17s:%-4d][%-8s][%d] %s\n", e.Time.Format("2006-01-02 15:04:05"),
			e.Time.Nanosecond()/1e6, loggerName, 0, levelName(e.Level), pid, said(e))
	}
}

// fileLayoutOf is what lines of the log file look like.
func fileLayoutOf(c config.Config, pid int) layout {
	if c.LogFmt == config.LogFmtJSON {
		return jsonLayout
	}
	return fileLayout(pid)
}

// consoleLayoutOf is what lines on standard error look like.
func consoleLayoutOf(c config.Config) layout {
	console := layout(consoleLayout)
	if c.LogFmt == config.LogFmtJSON {
		console = jsonLayout
	}
	if isJournal() {
		return journalLayout(console)
	}
	return console
}

// consoleLayout is Salt's default of log_fmt_console: [%(levelname)-8s] %(message)s.
func consoleLayout(e *logrus.Entry) []byte {
	return fmt.Appendf(nil, "[%-8s] %s\n", levelName(e.Level), said(e))
}

// journalLayout is another one behind the priority that journald takes off a line: sd-daemon(3).
func journalLayout(line layout) layout {
	return func(e *logrus.Entry) []byte { return append([]byte(priority(e.Level)), line(e)...) }
}

// jsonLayout is an object with the fields of a line, and time, level and msg. Numbers are numbers, everything else is text.
func jsonLayout(e *logrus.Entry) []byte {
	data := make(logrus.Fields, len(e.Data))
	for key, value := range e.Data {
		switch value.(type) {
		case bool, int, int32, int64, uint32, uint64, float64:
			data[key] = value
		default:
			data[key] = escaped(fmt.Sprint(value))
		}
	}
	plain := &logrus.Entry{Time: e.Time, Level: e.Level, Message: escaped(e.Message), Data: data}
	line, _ := jsonFormat.Format(plain) // numbers and text can be said
	return line
}

var jsonFormat = &logrus.JSONFormatter{TimestampFormat: "2006-01-02T15:04:05.000Z07:00", DisableHTMLEscape: true}

// priority is syslog's number for a level, between angle brackets.
func priority(l logrus.Level) string {
	switch l {
	case logrus.PanicLevel, logrus.FatalLevel:
		return "<2>"
	case logrus.ErrorLevel:
		return "<3>"
	case logrus.WarnLevel:
		return "<4>"
	case logrus.InfoLevel:
		return "<6>"
	}
	return "<7>"
}

// levelName is Salt's name of a level.
func levelName(l logrus.Level) string {
	switch l {
	case logrus.PanicLevel, logrus.FatalLevel:
		return "CRITICAL"
	case logrus.ErrorLevel:
		return "ERROR"
	case logrus.WarnLevel:
		return "WARNING"
	case logrus.InfoLevel:
		return "INFO"
	case logrus.DebugLevel:
		return "DEBUG"
	}
	return "TRACE"
}

// said is the message with its fields behind it, in the order of their names.
func said(e *logrus.Entry) string {
	var b strings.Builder
	b.WriteString(escaped(e.Message))
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		b.WriteByte(' ')
		b.WriteString(escaped(key))
		b.WriteByte('=')
		b.WriteString(fieldValue(e.Data[key]))
	}
	return b.String()
}

// fieldValue is a value in one word, in quotes where it would be more than one.
func fieldValue(v any) string {
	text := fmt.Sprint(v)
	needsQuotes := text == "" || strings.ContainsFunc(text, func(r rune) bool {
		return r == ' ' || r == '"' || r == '=' || r == '\\' || !unicode.IsPrint(r) || r == utf8.RuneError
	})
	if needsQuotes {
		return strconv.Quote(text)
	}
	return text
}

// escaped is text that stays on its line: what a peer sends ends up in messages, and must neither begin a line that
// looks like one of ours nor turn a terminal's colors on.
func escaped(text string) string {
	plain := func(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }
	if !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if plain(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.Quote(text[:n])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[n:]
	}
	return b.String()
}
