package main

import (
	"io"
	"runtime/debug"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"

	"salt-broker/config"
)

// logging is the log: a logger for everybody, and the outputs behind it.
type logging struct {
	*logrus.Logger
	sinks []*sink
	file  *sink // of them; nil when there is no log file
}

// newLogging opens the log's two outputs, each with a level of its own: the terminal and the file. A file that is new
// belongs to owner.
func newLogging(c config.Config, stderr io.Writer, pid int, owner *account) (*logging, error) {
	l := &logging{Logger: logrus.New()}
	l.SetOutput(io.Discard) // the sinks write
	l.SetFormatter(nothing{})
	l.AddHook(l)
	l.SetLevel(logrus.PanicLevel)
	if c.LogFile != "" {
		file, err := openLogFile(c.LogFile, owner)
		if err != nil {
			return nil, err
		}
		// A crash of the runtime goes to standard error, which a daemon does not have.
		_ = debug.SetCrashOutput(file.file, debug.CrashOptions{})
		l.file = newSink(thresholdOf(c.LogLevelLogfile), fileLayout(pid), file)
		l.add(l.file)
	}
	console := consoleLayout
	if isJournal() {
		console = journalLayout
	}
	l.add(newSink(thresholdOf(c.LogLevel), console, stderr))
	return l, nil
}

func (l *logging) add(s *sink) {
	l.sinks = append(l.sinks, s)
	l.SetLevel(max(l.GetLevel(), s.threshold))
}

// Levels is part of logrus.Hook.
func (l *logging) Levels() []logrus.Level { return logrus.AllLevels }

// Fire is part of logrus.Hook: it gives a line to the outputs that want it.
func (l *logging) Fire(e *logrus.Entry) error {
	for _, s := range l.sinks {
		if e.Level <= s.threshold {
			s.put(e)
		}
	}
	return nil
}

// always logs a line whatever the levels say, quiet alone excepted: what an operator has asked for in this moment.
func (l *logging) always(level logrus.Level, message string) {
	for _, s := range l.sinks {
		if s.threshold != quiet {
			s.put(&logrus.Entry{Time: time.Now(), Level: level, Message: message})
		}
	}
}

// fileOnly logs a line to the file alone.
func (l *logging) fileOnly(level logrus.Level, message string) {
	if l.file != nil && level <= l.file.threshold {
		l.file.put(&logrus.Entry{Time: time.Now(), Level: level, Message: message})
	}
}

// close writes what waits to be written.
func (l *logging) close() {
	for _, s := range l.sinks {
		s.close(time.Second)
	}
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
