package config

import (
	"fmt"
	"strings"
)

// Fault is one thing that is wrong with what an operator said.
type Fault struct {
	// Key is the key as it was written; "" where a whole file is at fault.
	Key string
	// Value is the value as it was written, shortened; "" where it does not matter.
	Value string
	// Why goes on after the value: what is wrong, and what would be right.
	Why string
	// File is where it was said: a path, or [CommandLine], or the name of a variable; "" for a Config from elsewhere.
	File string
	// Line in File, from 1; 0 where it is not known.
	Line int
}

// CommandLine is the File of what was said by a flag.
const CommandLine = "command line"

// Error is a sentence: `publish_port: 70000 is not a port (1 to 65535) [/etc/salt/broker:3]`.
func (f Fault) Error() string { return sentence(f.Key, f.Value, f.Why, f.File, f.Line) }

// Faults are all of them, in the order of the files.
type Faults []Fault

// Error has a line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// Warning is something that was said and has not the effect that one may expect.
type Warning struct {
	// Key, Value, Why, File and Line are those of a [Fault].
	Key, Value, Why, File string
	Line                  int
}

// String is a sentence: `hash_type: means nothing to a broker; ignored [/etc/salt/broker:3]`.
func (w Warning) String() string { return sentence(w.Key, w.Value, w.Why, w.File, w.Line) }

func sentence(key, value, why, file string, line int) string {
	var b strings.Builder
	if key != "" {
		b.WriteString(key + ": ")
	}
	if value != "" {
		b.WriteString(value + " ")
	}
	b.WriteString(why)
	switch {
	case file != "" && line > 0:
		fmt.Fprintf(&b, " [%s:%d]", file, line)
	case file != "":
		fmt.Fprintf(&b, " [%s]", file)
	}
	return b.String()
}
