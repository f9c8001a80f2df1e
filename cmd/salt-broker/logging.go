package main

import (
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"

	"salt-broker/config"
)

// logging is the log: a logger for everybody, and the outputs behind it.
type logging struct {
	*logrus.Logger
	stderr io.Writer
	pid    int

	mu       sync.RWMutex // nobody who holds it waits for an output
	c        config.Config
	debug    bool  // everything from debug on passes, whatever c says: see toggleDebug
	terminal *sink // standard error
	file     *sink // nil when there is no log file
}

// newLogging opens the log's two outputs, each with a level of its own: the terminal and the file. A file that is new
// belongs to owner.
func newLogging(c config.Config, stderr io.Writer, pid int, owner *account) (*logging, error) {
	l := &logging{Logger: logrus.New(), stderr: stderr, pid: pid, c: c}
	l.SetOutput(io.Discard) // the sinks write
	l.SetFormatter(nothing{})
	l.AddHook(l)
	file, err := l.openFile(c, owner)
	if err != nil {
		return nil, err
	}
	l.file = file
	l.terminal = newSink(quiet, consoleLayoutOf(c), stderr)
	l.setThresholds()
	return l, nil
}

// openFile opens the log file of c; nil where there is none.
func (l *logging) openFile(c config.Config, owner *account) (*sink, error) {
	if c.LogFile == "" {
		return nil, nil
	}
	file, err := openLogFile(c.LogFile, owner)
	if err != nil {
		return nil, err
	}
	// A crash of the runtime goes to standard error, which a daemon does not have.
	_ = debug.SetCrashOutput(file.file, debug.CrashOptions{})
	return newSink(quiet, fileLayoutOf(c, l.pid), file), nil
}

// setThresholds gives the outputs their levels. The caller holds mu, or is alone.
func (l *logging) setThresholds() {
	least := logrus.Level(quiet)
	if l.debug {
		least = logrus.DebugLevel
	}
	all := logrus.Level(quiet)
	set := func(s *sink, level string) {
		s.threshold = max(thresholdOf(level), least)
		all = max(all, s.threshold)
	}
	set(l.terminal, l.c.LogLevel)
	if l.file != nil {
		set(l.file, l.c.LogLevelLogfile)
	}
	l.SetLevel(all)
}

// apply has the log follow c: levels and the file. An error says that the file cannot be opened, and nothing has changed
// then. Lines that wait for the former file go there.
func (l *logging) apply(c config.Config) error {
	former := (*sink)(nil)
	if c.LogFile != l.c.LogFile { // only apply changes it
		file, err := l.openFile(c, nil)
		if err != nil {
			return err
		}
		if file == nil {
			_ = debug.SetCrashOutput(nil, debug.CrashOptions{})
		}
		l.mu.Lock()
		former, l.file = l.file, file
		l.mu.Unlock()
	}
	l.mu.Lock()
	l.c = c
	l.setThresholds()
	l.mu.Unlock()
	if former != nil {
		former.close(time.Second)
	}
	return nil
}

// toggleDebug lets everything from debug on pass to both outputs, or, the next time, what the levels say again.
func (l *logging) toggleDebug() (on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.debug = !l.debug
	l.setThresholds()
	return l.debug
}

// debugging is what SIGUSR2 does.
func (l *logging) debugging() {
	said := "SIGUSR2: log_level and log_level_logfile hold again"
	if l.toggleDebug() {
		said = "SIGUSR2: everything from debug on is logged until the next SIGUSR2"
	}
	l.always(said, nil)
}

// each calls fn for the outputs.
func (l *logging) each(fn func(s *sink)) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.file != nil {
		fn(l.file)
	}
	fn(l.terminal)
}

// Levels is part of logrus.Hook.
func (l *logging) Levels() []logrus.Level { return logrus.AllLevels }

// Fire is part of logrus.Hook: it gives a line to the outputs that want it.
func (l *logging) Fire(e *logrus.Entry) error {
	l.each(func(s *sink) {
		if e.Level <= s.threshold {
			s.put(e)
		}
	})
	return nil
}

// always logs a line, at info, whatever the levels say, quiet alone excepted: what somebody has asked for in this moment,
// and that the process begins or ends.
func (l *logging) always(message string, fields logrus.Fields) {
	l.each(func(s *sink) {
		if s.threshold != quiet {
			s.put(&logrus.Entry{Time: time.Now(), Level: logrus.InfoLevel, Message: message, Data: fields})
		}
	})
}

// fileOnly logs a line to the file alone.
func (l *logging) fileOnly(level logrus.Level, message string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.file != nil && level <= l.file.threshold {
		l.file.put(&logrus.Entry{Time: time.Now(), Level: level, Message: message})
	}
}

// close writes what waits to be written.
func (l *logging) close() {
	if l.file != nil {
		l.file.close(time.Second)
	}
	l.terminal.close(time.Second)
}

// quiet lets nothing pass: nobody logs at logrus' panic level, which panics.
const quiet = logrus.PanicLevel

// thresholdOf is logrus' level for one of Salt's (Salt: salt/_logging/impl.py, LOG_LEVELS). Where logrus has none, it is
// the next that shows less; salt-broker has no lines of these levels anyway.
func thresholdOf(level string) logrus.Level {
	switch level {
	case "all", "garbage", "trace":
		return logrus.TraceLevel
	case "debug":
		return logrus.DebugLevel
	case "profile", "info":
		return logrus.InfoLevel
	case "warning":
		return logrus.WarnLevel
	case "error":
		return logrus.ErrorLevel
	case "critical":
		return logrus.FatalLevel
	}
	return quiet
}

// isJournal says whether standard error is read by journald. JOURNAL_STREAM names its socket: the variable alone is
// inherited by programs whose standard error is something else.
func isJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}

// nothing formats nothing: logrus itself writes nowhere.
type nothing struct{}

func (nothing) Format(*logrus.Entry) ([]byte, error) { return nil, nil }
