//go:build linux

package main

import (
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"runtime"
)

// roleVariable tells this program that it is a child, and which.
const roleVariable = "SALT_BROKER_BENCH_ROLE"

// The roles of a child: what it serves to its parent.
const (
	roleMaster  = "Master"
	roleMinions = "Minions"
)

// play serves a role over standard input and output until the parent closes them.
func play(role string) error {
	// A loop that wakes up must find a processor of Go's scheduler, or what is measured is the wait for one.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 4))
	var service any = &Minions{}
	if role == roleMaster {
		m, err := newMaster()
		if err != nil {
			return err
		}
		service = m
	}
	server := rpc.NewServer()
	if err := server.RegisterName(role, service); err != nil {
		return err
	}
	server.ServeConn(pipes{os.Stdin, os.Stdout})
	return nil // and everything ends with the process
}

// pipes is what a child and its parent talk over.
type pipes struct {
	io.ReadCloser
	io.WriteCloser
}

// Close closes both.
func (p pipes) Close() error {
	_ = p.ReadCloser.Close()
	return p.WriteCloser.Close()
}

// child is this program as another process, in a role.
type child struct {
	*process
	role string
	rpc  *rpc.Client
}

// startChild starts one; reports becomes its end of the pipe from the crowd to the master.
func startChild(role string, reports *os.File) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self) //nolint:gosec // this program
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.ExtraFiles = []*os.File{reports}
	in, inChild, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outChild, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout = outChild, inChild
	p, err := start(cmd)
	_ = inChild.Close()
	_ = outChild.Close()
	if err != nil {
		_ = in.Close()
		_ = out.Close()
		return nil, err
	}
	return &child{p, role, rpc.NewClient(pipes{in, out})}, nil
}

// call has the child do something and waits for it.
func (c *child) call(method string, args, reply any) error {
	if err := c.rpc.Call(c.role+"."+method, args, reply); err != nil {
		if gone := c.ended(); gone != nil {
			err = gone
		}
		return fmt.Errorf("%s: %w", c.role, err)
	}
	return nil
}

// stop ends the child.
func (c *child) stop() {
	_ = c.rpc.Close()
	c.process.stop()
}
