package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/config"
)

// logTo returns a log whose terminal is w.
func logTo(t *testing.T, w *bytes.Buffer, change func(c *config.Config)) *logging {
	t.Helper()
	c := config.Default()
	c.LogFile = ""
	if change != nil {
		change(&c)
	}
	l, err := newLogging(c, w, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var allLevels = []logrus.Level{
	logrus.TraceLevel, logrus.DebugLevel, logrus.InfoLevel, logrus.WarnLevel, logrus.ErrorLevel, logrus.FatalLevel,
}

// Each output has a level of its own.
func TestLevels(t *testing.T) {
	from := map[string]int{ // how many of allLevels do not pass
		"all": 0, "garbage": 0, "trace": 0, "debug": 1, "profile": 2, "info": 2, "warning": 3, "error": 4, "critical": 5, "quiet": 6,
	}
	levels := config.Levels()
	if len(levels) != len(from) {
		t.Errorf("levels are %q, and here %v", levels, from)
	}
	for _, console := range levels {
		for _, file := range levels {
			t.Run(console+" and "+file, func(t *testing.T) {
				var terminal bytes.Buffer
				name := filepath.Join(t.TempDir(), "log")
				l := logTo(t, &terminal, func(c *config.Config) {
					c.LogFile, c.LogLevel, c.LogLevelLogfile = name, console, file
				})
				for i, level := range allLevels {
					l.WithField("component", "test").Log(level, fmt.Sprint("line ", i))
				}
				l.close()
				for _, output := range []struct{ name, text, level string }{
					{"terminal", terminal.String(), console}, {"file", readFile(t, name), file},
				} {
					var got, want []string
					for line := range strings.Lines(output.text) {
						got = append(got, line[strings.Index(line, "line"):])
					}
					for i := range allLevels {
						if i >= from[output.level] {
							want = append(want, fmt.Sprintf("line %d component=test\n", i))
						}
					}
					if !slices.Equal(got, want) {
						t.Errorf("%s gets %q, want %q", output.name, got, want)
					}
				}
			})
		}
	}
}

// What the proxies ask before they make a line that nobody may want.
func TestLevelOfTheLogger(t *testing.T) {
	l := logTo(t, &bytes.Buffer{}, func(c *config.Config) { c.LogLevel = "warning" })
	defer l.close()
	if l.IsLevelEnabled(logrus.InfoLevel) || !l.IsLevelEnabled(logrus.WarnLevel) {
		t.Errorf("the level is %v", l.GetLevel())
	}
}

// stuck is a terminal that somebody has stopped.
type stuck struct {
	writing chan struct{} // closed with the first write
	goOn    chan struct{}
	text    bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	if s.text.Len() == 0 {
		close(s.writing)
		<-s.goOn
	}
	return s.text.Write(p)
}

func TestNobodyWaitsForATerminal(t *testing.T) {
	terminal := &stuck{writing: make(chan struct{}), goOn: make(chan struct{})}
	s := newSink(logrus.InfoLevel, consoleLayout, terminal)
	line := func() { s.put(&logrus.Entry{Level: logrus.InfoLevel, Message: "line"}) }
	line()
	<-terminal.writing
	const tooMany = 17
	for range sinkLines + tooMany {
		line()
	}
	s.close(time.Microsecond) // does not wait for it either
	close(terminal.goOn)
	<-s.ended
	if n := strings.Count(terminal.text.String(), "] line\n"); n != 1+sinkLines {
		t.Errorf("%d lines are written, want %d", n, 1+sinkLines)
	}
	want := fmt.Sprintf("[WARNING ] %d lines were not logged here: this output was too slow\n", tooMany)
	if n := strings.Count(terminal.text.String(), want); n != 1 {
		t.Errorf("%q is said %d times", want, n)
	}
	line() // after the end it is as if nobody listened
}

func TestLogFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	writeFile(t, name, "before\n")
	f, err := openLogFile(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { f.file.Close() }()
	write := func(line string) {
		t.Helper()
		if _, err := f.Write([]byte(line + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if err := os.Rename(name, name+".1"); err != nil { // as logrotate does
		t.Fatal(err)
	}
	write("two")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	write("three")
	write("four")
	for file, want := range map[string]string{name + ".1": "before\none\n", name: "three\nfour\n"} {
		if got := readFile(t, file); got != want {
			t.Errorf("%s has %q, want %q", file, got, want)
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
}

// A file that cannot be made anew does not lose the one that is open.
func TestLogFileWithoutItsDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	name := filepath.Join(dir, "log")
	writeFile(t, name, "")
	f, err := openLogFile(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.file.Close()
	if err := os.Rename(dir, dir+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("line\n")); err != nil {
		t.Error(err)
	}
	if got := readFile(t, filepath.Join(dir+".1", "log")); got != "line\n" {
		t.Errorf("the file has %q", got)
	}
}

// log_fmt is for both outputs: every line is an object, of those too that do not come by the logger.
func TestLogFmt(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	_, p := launchReady(t, []string{"-l", "info"}, "log_fmt: json", "log_level_logfile: info", "log_file: "+log)
	p.signal(t, syscall.SIGUSR1)
	p.stderr.expect(t, `"msg":"SIGUSR1: end of stacks"`, p.ended)
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for name, text := range map[string]string{"terminal": p.stderr.String(), "file": readFile(t, log)} {
		lines := 0
		for line := range strings.Lines(text) {
			var said struct {
				Time       time.Time
				Level, Msg string
			}
			if err := json.Unmarshal([]byte(line), &said); err != nil || said.Time.IsZero() || said.Level == "" {
				t.Errorf("%s: %v: %s", name, err, line)
			}
			if said.Msg == "limits" || said.Msg == "stopped" {
				lines++
			}
		}
		if lines != 2 {
			t.Errorf("%s: %d of the lines that are always there", name, lines)
		}
	}
}
