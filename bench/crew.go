//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// crew is the processes of one round: a relay between a master and its minions.
type crew struct {
	master, minions *child
	relay           *running
}

// assemble starts all three. A relay that takes that long to be ready is given up.
func assemble(t *tools, r *relay, connections int) (c *crew, err error) {
	c = &crew{}
	defer func() {
		if err != nil {
			c.dismiss()
		}
	}()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _, _ = read.Close(), write.Close() }()
	if c.master, err = startChild(roleMaster, read); err != nil {
		return nil, err
	}
	if c.minions, err = startChild(roleMinions, write); err != nil {
		return nil, err
	}
	var master State
	if err := c.master.call("State", struct{}{}, &master); err != nil {
		return nil, err
	}
	if c.relay, err = r.begin(t, master.Ports, connections); err != nil {
		return nil, err
	}
	return c, c.awaitReady(r)
}

const startPatience = 10 * time.Second

// awaitReady returns when the relay listens and, if it keeps links to the master, has them.
func (c *crew) awaitReady(r *relay) error {
	for deadline := time.Now().Add(startPatience); ; time.Sleep(5 * time.Millisecond) {
		if err := c.relay.ended(); err != nil {
			return err
		}
		var master State
		if err := c.master.call("State", struct{}{}, &master); err != nil {
			return err
		}
		if (!r.links || master.Subscribers > 0 && master.Requesters > 0) && c.relay.listens() {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s: %d and %d links to the master", r.name, startPatience, master.Subscribers,
				master.Requesters)
		}
	}
}

// dismiss ends all three.
func (c *crew) dismiss() {
	if c.relay != nil {
		c.relay.stop()
	}
	for _, one := range []*child{c.minions, c.master} {
		if one != nil {
			one.stop()
		}
	}
}

// verdict is what the stand-ins found wrong.
func (c *crew) verdict() error {
	return errors.Join(c.minions.call("Verdict", &struct{}{}, &struct{}{}), c.master.call("Verdict", &struct{}{}, &struct{}{}),
		c.relay.ended())
}

// usage is the processor time of the relay and of the two stand-ins.
type usage struct {
	at                     time.Time
	relay, master, minions time.Duration
}

func (c *crew) usage() (u usage, err error) {
	u.at = time.Now()
	var errs [3]error
	u.relay, errs[0] = cpu(c.relay.pids()...)
	u.master, errs[1] = cpu(c.master.pid)
	u.minions, errs[2] = cpu(c.minions.pid)
	return u, errors.Join(errs[:]...)
}

// since is what was used since an earlier look.
func (u usage) since(before usage) usage {
	return usage{
		at: u.at, relay: u.relay - before.relay, master: u.master - before.master, minions: u.minions - before.minions,
	}
}

// settle waits until the relay has nothing more to do, and returns what everybody has used until then. It looks that often.
func (c *crew) settle(look time.Duration) (usage, error) {
	const looks = 100
	quiet := look / 100 // of processor time in a look: timers may still tick
	last, err := c.usage()
	for range looks {
		if err != nil {
			return last, err
		}
		time.Sleep(look)
		var now usage
		now, err = c.usage()
		calm := now.relay-last.relay < quiet && now.minions-last.minions < quiet
		last = now
		if calm {
			break
		}
	}
	return last, err
}
