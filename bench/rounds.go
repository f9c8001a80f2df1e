//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
)

// conductor has all relays do all scenarios, in turn.
type conductor struct {
	options options
	tools   *tools
	record  Record
	pace    pace
	out     io.Writer
}

// measure does what was asked for. What has been measured is kept and shown when it is cut short too.
func measure(ctx context.Context, o options, w io.Writer) error {
	t, err := newTools(o.saltBroker)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(t.dir) }()
	c := &conductor{options: o, tools: t, record: newRecord(t), pace: full, out: w}
	if o.quick {
		c.record.Quick, c.pace = true, quick
	}
	there := c.look()
	c.record.describe(w)
	if len(there) == 0 {
		return errors.New("none of the relays is there")
	}
	failed := 0
	for _, s := range o.scenarios {
		failed += c.perform(ctx, s, there)
		if ctx.Err() != nil {
			break
		}
	}
	c.record.judge(w)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if failed > 0 {
		return fmt.Errorf("%d rounds failed: the tables say which, and why", failed)
	}
	return nil
}

// newTools makes a place for files and asks for as many descriptors as there may be, for this process and its children.
func newTools(saltBroker string) (*tools, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("limit of open files: %w", err)
	}
	// By name, or Go gives children the limit that it was started with.
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("limit of open files: %w", err)
	}
	dir, err := os.MkdirTemp("", "salt-broker-bench-")
	if err != nil {
		return nil, err
	}
	const most = 1 << 16 // what the floor has room for
	return &tools{saltBroker: saltBroker, dir: dir, limit: int(min(limit.Max, most))}, nil
}

// look finds out which relays are there.
func (c *conductor) look() (there []*relay) {
	for _, r := range c.options.relays {
		v, err := r.version(c.tools)
		if err != nil {
			c.record.Missing[r.name] = err.Error()
			continue
		}
		c.record.Relays[r.name] = v
		there = append(there, r)
	}
	return there
}

// perform does one scenario: rounds in which each relay has its turn, another one first each time. It returns how many
// turns failed.
func (c *conductor) perform(ctx context.Context, s *scenario, there []*relay) (failed int) {
	result := Result{Name: s.name, Says: s.says, Left: map[string]string{}}
	able := slices.DeleteFunc(slices.Clone(there), func(r *relay) bool {
		why := r.fits(s.minions+s.askers, c.tools.limit)
		if r.cannot != nil && why == "" {
			why = r.cannot(s)
		}
		if why != "" {
			result.Left[r.name] = why
		}
		return why != ""
	})
	rounds := c.options.rounds
	if s.once {
		rounds = 1
	}
	for round := range rounds {
		for i := range able {
			if ctx.Err() != nil {
				break
			}
			one := c.turn(ctx, s, able[(i+round)%len(able)], round)
			if ctx.Err() != nil {
				break // cut short: not its fault
			}
			if one.Error != "" {
				failed++
			}
			result.Rounds = append(result.Rounds, one)
		}
	}
	if len(result.Rounds) == 0 && ctx.Err() != nil {
		return failed
	}
	result.report(c.out, relayNames(c.options.relays))
	c.record.Scenarios = append(c.record.Scenarios, result)
	if c.options.out != "" {
		if err := c.record.save(c.options.out); err != nil {
			_, _ = fmt.Fprintf(c.out, "the record could not be kept: %v\n", err)
			failed++
		}
	}
	return failed
}

// turn is one relay's in one round.
func (c *conductor) turn(ctx context.Context, s *scenario, r *relay, round int) Round {
	one := Round{Round: round + 1, Relay: r.name}
	w := &worker{scenario: s, pace: c.pace, cut: ctx.Done(), values: map[string]float64{}}
	err := func() (err error) {
		if w.crew, err = assemble(c.tools, r, s.minions+s.askers); err != nil {
			return err
		}
		defer w.dismiss()
		release := context.AfterFunc(ctx, w.dismiss) // and then everything fails at once
		defer release()
		if c.options.profiles != "" && r.name == ours && round == 0 {
			p, err := startProfile(c.options.profiles, s.name, w.relay.pids())
			if err != nil {
				return err
			}
			defer p.finish(c.out)
		}
		return errors.Join(s.work(w), w.verdict())
	}()
	if err != nil {
		one.Error = err.Error()
		return one
	}
	one.Values = w.values
	if w.took > 0 {
		one.Master, one.Minions = w.spent.master.Seconds()/w.took.Seconds(), w.spent.minions.Seconds()/w.took.Seconds()
	}
	return one
}
