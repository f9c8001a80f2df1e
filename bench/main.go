//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // a command
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := execute(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // a command
	}
}

// options is what a user may ask for.
type options struct {
	rounds              int
	scenarios           []*scenario
	relays              []*relay
	quick, list         bool
	grow, document, ha  bool
	saltBroker          string
	out, show, profiles string
	event               string
}

func parse(args []string, w io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(w)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each relay gets its turn")
	scenario := flags.String("scenario", "", "only these scenarios, or kinds of them (stream for stream-100 and stream-1000), separated by commas")
	peers := flags.String("peers", "", "only these relays, separated by commas: "+strings.Join(relayNames(relays), ","))
	flags.BoolVar(&o.quick, "quick", false, "rounds of a fraction of a second: to see that it works, not to measure")
	flags.BoolVar(&o.list, "list", false, "say which scenarios there are")
	flags.BoolVar(&o.grow, "grow", false, "salt-broker alone, with one loop and with two, at more numbers of minions")
	flags.BoolVar(&o.document, "document", false, "measure nothing, and write what bench/results has into the documents; run it in the repository")
	flags.BoolVar(&o.ha, "ha", false, "no load: what minions notice when masters, paths and brokers fail; the same -out")
	flags.StringVar(&o.event, "event", "", "with -ha only what has this in its name")
	flags.StringVar(&o.saltBroker, "salt-broker", "bin/salt-broker", "the program to measure")
	flags.StringVar(&o.out, "out", "", "keep everything in this file, as JSON; with -show, what several files have as one")
	flags.StringVar(&o.show, "show", "", "measure nothing, and show the tables of files that -out has made, separated by commas")
	flags.StringVar(&o.profiles, "profiles", "", "a directory for `perf` profiles of salt-broker, one for each scenario (needs perf; such rounds are slower)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("what is %q? There are only flags: -h says which", flags.Arg(0))
	}
	if o.scenarios = scenariosFor(*scenario); len(o.scenarios) == 0 {
		return o, fmt.Errorf("-scenario %s: there is none like that; -list says which there are", *scenario)
	}
	o.relays, err = relaysFor(*peers)
	if o.grow {
		o.scenarios, o.relays = growing(), growers
	}
	return o, err
}

// scenariosFor is those that the names stand for: stream-100 for itself, stream for all of that kind, nothing for all.
func scenariosFor(names string) []*scenario {
	return slices.DeleteFunc(slices.Clone(scenarios), func(s *scenario) bool {
		return names == "" && s.more || names != "" && !slices.ContainsFunc(strings.Split(names, ","), func(name string) bool {
			return s.name == name || !s.more && strings.HasPrefix(s.name, name+"-")
		})
	})
}

func scenarioNamed(name string) *scenario {
	for _, s := range scenarios {
		if s.name == name {
			return s
		}
	}
	return nil
}

func relaysFor(names string) ([]*relay, error) {
	if names == "" {
		return relays, nil
	}
	var some []*relay
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(relays, func(r *relay) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-peers %s: nobody is called that; there are %s", name, strings.Join(relayNames(relays), ", "))
		}
		some = append(some, relays[i])
	}
	return some, nil
}

func relayNames(some []*relay) []string {
	var names []string
	for _, r := range some {
		names = append(names, r.name)
	}
	return names
}

// execute does what a command line asks for.
func execute(ctx context.Context, args []string, w io.Writer) error {
	o, err := parse(args, w)
	if err != nil {
		return err
	}
	switch {
	case o.list:
		for _, s := range scenarios {
			_, _ = fmt.Fprintf(w, "%-20s %s\n", s.name, s.says)
		}
		return nil
	case o.document:
		return document(".")
	case o.ha:
		return fail(ctx, o, w)
	case o.show != "":
		r, err := load(strings.Split(o.show, ",")...)
		if err != nil {
			return err
		}
		r.describe(w)
		r.report(w, relayNames(o.relays))
		if o.out != "" {
			return r.save(o.out)
		}
		return nil
	}
	return measure(ctx, o, w)
}
