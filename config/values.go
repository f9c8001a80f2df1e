package config

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is one field of a [Config], seen as what a file says.
type value interface {
	// set takes over what YAML made of a file's words; false when it is of another kind.
	set(raw any) bool
	// ok says whether the value is one of those that are allowed.
	ok() bool
	// want ends the sentence that begins with the key and a value that is not allowed.
	want() string
	// String is the value as a file would have it.
	String() string
}

const (
	kibibyte = int64(1) << 10
	mebibyte = int64(1) << 20
	gibibyte = int64(1) << 30
)

// port is a TCP port. Salt takes '4506' for a number as well.
type port struct{ p *int }

func (v port) set(raw any) bool { return setInt(v.p, raw) }
func (v port) ok() bool         { return 1 <= *v.p && *v.p <= 65535 }
func (v port) want() string     { return "is not a port (1 to 65535)" }
func (v port) String() string   { return strconv.Itoa(*v.p) }

// optionalPort is a TCP port, or 0 where none is to be opened.
type optionalPort struct{ p *int }

func (v optionalPort) set(raw any) bool { return setInt(v.p, raw) }
func (v optionalPort) ok() bool         { return 0 <= *v.p && *v.p <= 65535 }
func (v optionalPort) want() string     { return "is not a port (0 to 65535, 0 for none)" }
func (v optionalPort) String() string   { return strconv.Itoa(*v.p) }

// count is a number of things.
type count struct {
	p           *int
	least, most int
	system      bool // -1 is allowed: the system's own
}

func (v count) set(raw any) bool { return setInt(v.p, raw) }
func (v count) ok() bool {
	return v.least <= *v.p && *v.p <= v.most || v.system && *v.p == -1
}

func (v count) want() string {
	return fmt.Sprintf("is not a whole number from %d to %d", v.least, v.most) + orSystem(v.system)
}
func (v count) String() string { return strconv.Itoa(*v.p) }

// period is a time in the unit that Salt gives the key.
type period struct {
	p           *time.Duration
	unit        time.Duration
	least, most int64 // units
	system      bool  // -1 is allowed: the system's own
}

func (v period) orSystem() period { v.system = true; return v }

func (v period) set(raw any) bool {
	f, ok := number(raw)
	if !ok || math.Abs(f) > math.MaxInt64/2/float64(v.unit) {
		return false
	}
	*v.p = time.Duration(f * float64(v.unit))
	return true
}

func (v period) ok() bool {
	d := *v.p
	return time.Duration(v.least)*v.unit <= d && d <= time.Duration(v.most)*v.unit || v.system && d == -v.unit
}

func (v period) want() string {
	unit := "seconds"
	if v.unit == time.Millisecond {
		unit = "milliseconds"
	}
	return fmt.Sprintf("is not a number of %s from %d to %d", unit, v.least, v.most) + orSystem(v.system)
}

func (v period) String() string {
	return strconv.FormatFloat(float64(*v.p)/float64(v.unit), 'f', -1, 64)
}

func orSystem(allowed bool) string {
	if allowed {
		return ", or -1 for the system's own"
	}
	return ""
}

// size is a number of bytes, in multiples of 1024 where it has a suffix.
type size struct {
	p           *int64
	least, most int64
}

// suffixes of sizes, in lower case. KB and MB are not among them: half of the world takes them for multiples of 1000.
var suffixes = map[string]int64{
	"": 1, "k": kibibyte, "m": mebibyte, "g": gibibyte, "kib": kibibyte, "mib": mebibyte, "gib": gibibyte,
}

func (v size) set(raw any) bool {
	text, isText := raw.(string)
	if !isText {
		var n int
		ok := setInt(&n, raw)
		*v.p = int64(n)
		return ok
	}
	text = strings.ToLower(strings.TrimSpace(text))
	digits := strings.TrimRight(text, "kmgib")
	unit, known := suffixes[text[len(digits):]]
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || !known || n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return false
	}
	*v.p = n * unit
	return true
}

func (v size) ok() bool { return v.least <= *v.p && *v.p <= v.most }

func (v size) want() string {
	return fmt.Sprintf("is not a size from %s to %s (bytes, or with KiB, MiB, GiB)", bytesText(v.least), bytesText(v.most))
}
func (v size) String() string { return bytesText(*v.p) }

func bytesText(n int64) string {
	switch {
	case n != 0 && n%gibibyte == 0:
		return fmt.Sprintf("%d GiB", n/gibibyte)
	case n != 0 && n%mebibyte == 0:
		return fmt.Sprintf("%d MiB", n/mebibyte)
	case n != 0 && n%kibibyte == 0:
		return fmt.Sprintf("%d KiB", n/kibibyte)
	}
	return strconv.FormatInt(n, 10)
}

// boolean is true or false. Salt reads YAML 1.1, where yes and on are true; 0 and 1 are common as well.
type boolean struct{ p *bool }

func (v boolean) set(raw any) bool {
	switch fmt.Sprint(raw) { // YAML's own True arrives as true
	case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "1":
		*v.p = true
	case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "0":
		*v.p = false
	default:
		return false
	}
	return true
}
func (v boolean) ok() bool     { return true }
func (v boolean) want() string { return "is not True or False" }

func (v boolean) String() string {
	if *v.p {
		return "True"
	}
	return "False"
}

// keepalive is a boolean that may be -1 as well, libzmq's word for what the system does by itself: nothing.
type keepalive struct{ boolean }

func (v keepalive) set(raw any) bool {
	if n := 0; setInt(&n, raw) && n == -1 {
		*v.p = false
		return true
	}
	return v.boolean.set(raw)
}
func (v keepalive) want() string { return "is not True or False, or -1 for the system's own" }

// address is an IP address: what a socket is bound to, so no name.
type address struct {
	p        *string
	optional bool
}

func (v address) set(raw any) bool { return setText(v.p, raw) }
func (v address) ok() bool {
	if *v.p == "" {
		return v.optional
	}
	_, err := netip.ParseAddr(*v.p)
	return err == nil
}
func (v address) want() string   { return "is not an IP address" }
func (v address) String() string { return quoted(*v.p) }

// path is an absolute path or nothing.
type path struct{ p *string }

func (v path) set(raw any) bool { return setText(v.p, raw) }
func (v path) ok() bool {
	return *v.p == "" || filepath.IsAbs(*v.p) && !strings.HasSuffix(*v.p, "/") && !strings.Contains(*v.p, "\x00")
}
func (v path) want() string   { return "is not the absolute path of a file" }
func (v path) String() string { return quoted(*v.p) }

// pattern is a glob or nothing.
type pattern struct{ p *string }

func (v pattern) set(raw any) bool { return setText(v.p, raw) }
func (v pattern) ok() bool         { _, err := filepath.Match(*v.p, ""); return err == nil }
func (v pattern) want() string     { return "is not a pattern of file names" }
func (v pattern) String() string   { return quoted(*v.p) }

// user is the name or number of an account, or nothing.
type user struct{ p *string }

func (v user) set(raw any) bool {
	if n := 0; setInt(&n, raw) {
		*v.p = strconv.Itoa(n)
		return true
	}
	return setText(v.p, raw)
}

func (v user) ok() bool {
	for i, r := range *v.p {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && (i == 0 || r != '-' && r != '.' && r != '$') {
			return false
		}
	}
	return true
}
func (v user) want() string   { return "is not the name of a user" }
func (v user) String() string { return quoted(*v.p) }

// level is how much is logged.
type level struct{ p *string }

// levels are Salt's, from everything to nothing (Salt: salt/_logging/impl.py).
var levels = []string{"all", "garbage", "trace", "debug", "profile", "info", "warning", "error", "critical", "quiet"}

// Levels are the names that `log_level` and `log_level_logfile` take, from everything to nothing.
func Levels() []string { return slices.Clone(levels) }

func (v level) set(raw any) bool {
	ok := setText(v.p, raw)
	*v.p = strings.ToLower(*v.p) // as Salt does
	return ok
}
func (v level) ok() bool       { return slices.Contains(levels, *v.p) }
func (v level) want() string   { return "is not a log level (" + strings.Join(levels, ", ") + ")" }
func (v level) String() string { return quoted(*v.p) }

// setInt takes whole numbers, also as text.
func setInt(p *int, raw any) bool {
	switch raw := raw.(type) {
	case int:
		*p = raw
		return true
	case string:
		n, err := strconv.Atoi(strings.TrimSpace(raw))
		*p = n
		return err == nil
	}
	return false
}

// number takes numbers, also as text.
func number(raw any) (float64, bool) {
	switch raw := raw.(type) {
	case int:
		return float64(raw), true
	case float64:
		return raw, !math.IsNaN(raw)
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(raw), 64)
		return f, err == nil && !math.IsNaN(f)
	}
	return 0, false
}

func setText(p *string, raw any) bool {
	text, ok := raw.(string)
	*p = text
	return ok
}

// quoted is text as a file would have it.
func quoted(text string) string {
	if text == "" {
		return "''"
	}
	return text
}
