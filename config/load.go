package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Options say where a configuration comes from.
type Options struct {
	// Path is what -c says: a directory, or a file. "" when it was not given.
	Path string
	// Env looks up a variable, as os.LookupEnv does. nil: there are none.
	Env func(name string) (string, bool)
	// Flags are keys that were given on the command line, with the text of their values. They win over everything else.
	Flags map[string]string
}

// Variables of the environment. Those with CONF_FILE and LOGFILE are Uyuni's.
const (
	envConfig    = "SALT_BROKER_CONFIG"    // a directory, or a file
	envConfFile  = "SALT_BROKER_CONF_FILE" // a file
	envConfigDir = "SALT_CONFIG_DIR"       // a directory
	envLogFile   = "SALT_BROKER_LOGFILE"   // log_file; wins over the files
)

const (
	defaultDir = "/etc/salt"
	mainFile   = "broker" // in a directory
	maxFile    = 1 << 20  // bytes of one file
)

// File is the main file: what -c, SALT_BROKER_CONFIG, SALT_BROKER_CONF_FILE and SALT_CONFIG_DIR say, in this order, else
// /etc/salt/broker. An empty variable is one that is not set.
func (o Options) File() string {
	file, _ := o.file()
	return file
}

// file returns the main file and who named it.
func (o Options) file() (file, by string) {
	if o.Path != "" {
		return inside(o.Path), "-c"
	}
	if place := o.env(envConfig); place != "" {
		return inside(place), envConfig
	}
	if place := o.env(envConfFile); place != "" {
		return place, envConfFile
	}
	if place := o.env(envConfigDir); place != "" {
		return filepath.Join(place, mainFile), envConfigDir
	}
	return filepath.Join(defaultDir, mainFile), ""
}

func (o Options) env(name string) string {
	if o.Env == nil {
		return ""
	}
	text, _ := o.Env(name)
	return text
}

// inside is the main file in place, or place itself when it is a file.
func inside(place string) string {
	if info, err := os.Stat(place); err == nil && !info.IsDir() {
		return place
	}
	return filepath.Join(place, mainFile)
}

// Load reads the configuration: the main file and what it includes, over that the environment, over that the flags. The
// error is of type [Faults] and has everything that is wrong; the warnings are complete in either case. The Config is
// only good without an error.
func Load(o Options) (Config, []Warning, error) {
	l := newLoading()
	l.files(o)
	l.environment(o)
	l.flags(o)
	return l.result()
}

// files reads the main file and what it includes.
func (l *loading) files(o Options) {
	file, by := o.file()
	data, err := readFile(file)
	if err != nil {
		l.faults = append(l.faults, Fault{Why: missing(file, by, err)})
		return
	}
	l.read(file, data)
	for _, included := range l.included(file) {
		data, err := readFile(included)
		if err != nil {
			l.faults = append(l.faults, Fault{Why: "cannot be read: " + reason(err), File: included})
			continue
		}
		l.read(included, data)
	}
}

// missing says what to do about a main file that cannot be read.
func missing(file, by string, err error) string {
	why := "cannot read " + file
	if by != "" {
		why += " (from " + by + ")"
	}
	why += ": " + reason(err)
	if errors.Is(err, fs.ErrNotExist) {
		why += "; write it, it may be empty, or say with -c in which directory the file broker is"
	}
	return why
}

// reason is an error without the path, which is said elsewhere.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return err.Error()
}

// readFile reads a whole file of at most maxFile bytes: somebody may name /dev/zero.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it has more than %s", bytesText(maxFile))
	}
	return data, err
}

// included are the files that default_include of the main file names, sorted, without the main file itself.
func (l *loading) included(main string) []string {
	glob := Default().DefaultInclude
	s, given := l.where["default_include"]
	if given && (!setText(&glob, s.value) || !(pattern{&glob}).ok()) || glob == "" {
		return nil // the fault is found with those of all other keys
	}
	if !filepath.IsAbs(glob) {
		glob = filepath.Join(filepath.Dir(main), glob)
	}
	// Glob finds nothing in a directory that it cannot read, and says nothing: who may connect could be in there.
	dir := filepath.Dir(glob)
	if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.faults = append(l.faults, Fault{Why: "cannot be read: " + reason(err), File: dir})
		return nil
	}
	found, _ := filepath.Glob(glob) // its only error is a bad pattern
	found = slices.DeleteFunc(found, func(name string) bool { return name == filepath.Clean(main) })
	if given && len(found) == 0 {
		l.warn(s, "names no file")
	}
	slices.Sort(found)
	return found
}

// environment takes over what is set by a variable and not by a file.
func (l *loading) environment(o Options) {
	if name := o.env(envLogFile); name != "" {
		l.put(said{key: "log_file", value: name, text: shown(name), file: envLogFile})
	}
}

// flags takes over the command line.
func (l *loading) flags(o Options) {
	for _, flag := range slices.Sorted(maps.Keys(o.Flags)) {
		l.take(said{key: flag, value: o.Flags[flag], text: shown(o.Flags[flag]), file: CommandLine})
	}
}
