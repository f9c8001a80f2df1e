//go:build linux

package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// screen is where the report goes: a terminal, on which figures are refreshed in their place, or anything that takes lines.
type screen struct {
	w     io.Writer
	live  bool
	lines int // of the block that is refreshed
}

func newScreen(w io.Writer, live bool) *screen { return &screen{w: w, live: live} }

// ECMA-48: up by some lines, and delete to the end of the line.
const (
	cursorUp  = "\x1b[%dA"
	eraseLine = "\x1b[K"
)

// line writes a line that stays. Nobody can be told when the output has gone.
func (s *screen) line(format string, args ...any) {
	s.end()
	_, _ = fmt.Fprintf(s.w, format+"\n", args...)
}

// progress writes a line that the next one replaces on a terminal; elsewhere it writes nothing.
func (s *screen) progress(format string, args ...any) {
	if s.live {
		s.block([]string{fmt.Sprintf(format, args...)})
	}
}

// show writes figures: over the last ones on a terminal, else as one line.
func (s *screen) show(f figures) {
	if s.live {
		s.block(f.block())
	} else {
		s.line("%s", f.line())
	}
}

func (s *screen) block(lines []string) {
	var b strings.Builder
	if s.lines > 0 {
		fmt.Fprintf(&b, cursorUp, s.lines)
	}
	for _, line := range lines {
		b.WriteString("\r" + line + eraseLine + "\n")
	}
	for range s.lines - len(lines) { // what a longer block has left
		b.WriteString("\r" + eraseLine + "\n")
	}
	s.lines = max(s.lines, len(lines))
	_, _ = io.WriteString(s.w, b.String())
}

// end leaves the block where it is.
func (s *screen) end() { s.lines = 0 }

// said shows what the broker has written.
func (s *screen) said(text string) {
	if text == "" {
		return
	}
	s.line("The broker said:")
	for line := range strings.Lines(text) {
		s.line("  %s", strings.TrimRight(line, "\n"))
	}
}

// grouped is a number with commas between thousands.
func grouped[T int | uint64](n T) string {
	digits := strconv.FormatUint(uint64(n), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// short is a duration in milliseconds or seconds.
func short(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.1f ms", ms)
	}
}

// size is a number of bytes in a unit that fits.
func size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%d B", n)
	}
}
