package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// logFile is a file that lines are appended to. When it is renamed or deleted, a new one takes its place, so logrotate
// needs neither a signal nor copytruncate: as with the log files of Salt's daemons (Salt: WatchedFileHandler).
type logFile struct {
	path string
	file *os.File
}

const (
	logFileFlags = os.O_WRONLY | os.O_APPEND
	logFileMode  = 0o640
)

// openLogFile opens the file at path, and makes it for owner when there is none; nil is the user of the process.
func openLogFile(path string, owner *account) (*logFile, error) {
	// Only a file that we made is given away: in a directory that the owner may write to, what is there already may be
	// a link to anything.
	f, err := os.OpenFile(path, logFileFlags|os.O_CREATE|os.O_EXCL, logFileMode) //nolint:gosec // the operator names the file
	switch {
	case err == nil && owner != nil:
		err = f.Chown(owner.uid, owner.gid)
	case errors.Is(err, fs.ErrExist):
		f, err = os.OpenFile(path, logFileFlags, 0) //nolint:gosec // the operator names the file
	}
	if err != nil {
		return nil, cannotLog(path, err)
	}
	return &logFile{path: path, file: f}, nil
}

// cannotLog says what to do about a log file.
func cannotLog(path string, err error) error {
	todo := "let the user of salt-broker write there, or name another with log_file ('' for none)"
	if errors.Is(err, fs.ErrNotExist) {
		todo = fmt.Sprintf("make the directory %s, or name another file with log_file ('' for none)", filepath.Dir(path))
	}
	return fmt.Errorf("log_file %s cannot be opened: %w: %s", path, reasonOf(err), todo)
}

// Write appends a line, to a new file if this one is no longer where it was.
func (l *logFile) Write(p []byte) (int, error) {
	if !l.inPlace() {
		if f, err := os.OpenFile(l.path, logFileFlags|os.O_CREATE, logFileMode); err == nil {
			l.file.Close()
			l.file = f
		}
	}
	return l.file.Write(p)
}

func (l *logFile) inPlace() bool {
	there, err := os.Stat(l.path)
	if err != nil {
		return false
	}
	own, err := l.file.Stat()
	return err == nil && os.SameFile(there, own)
}

// reasonOf is an error without the path, which is said elsewhere.
func reasonOf(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
