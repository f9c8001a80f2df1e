package main

import (
	"os"
	"strings"

	"github.com/spf13/pflag"

	"salt-broker/config"
)

// settings are the flags that stand for keys of the configuration, named as those of Salt's daemons.
var settings = []struct{ flag, short, key, help string }{
	{"log-level", "l", "log_level", "`LEVEL` of what goes to the terminal, default " + config.Default().LogLevel + ":\n" + strings.Join(config.Levels(), ", ")},
	{"log-file", "", "log_file", "write the log to this `FILE`, '' for none; default " + config.Default().LogFile},
	{"log-file-level", "", "log_level_logfile", "`LEVEL` of what goes to the log file; default: as to the terminal"},
	{"user", "u", "user", "become this `USER` once started as root"},
	{"pid-file", "", "pidfile", "write the process ID to this `FILE`; default: nowhere"},
}

// addConfigFlags gives fs the flags that say where the configuration is and what shall be different from it.
func addConfigFlags(fs *pflag.FlagSet) {
	fs.StringP("config-dir", "c", "", "`DIR` with the file broker, or a file of any name; default /etc/salt")
	for _, s := range settings {
		fs.StringP(s.flag, s.short, "", s.help)
	}
	fs.SortFlags = false
}

// configOptions says where the configuration comes from, after fs has been parsed.
func configOptions(fs *pflag.FlagSet) config.Options {
	o := config.Options{Env: os.LookupEnv, Flags: map[string]string{}}
	o.Path, _ = fs.GetString("config-dir") // addConfigFlags has made it a string
	for _, s := range settings {
		if f := fs.Lookup(s.flag); f.Changed {
			o.Flags[s.key] = f.Value.String()
		}
	}
	return o
}
