//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a child. It does not outlive this one.
type process struct {
	cmd  *exec.Cmd
	pid  int
	done chan struct{}
	said *tail
}

// start runs a command. What it writes to standard error is kept, and to standard output too unless that is taken.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{}), said: &tail{}}
	cmd.Stderr = p.said
	if cmd.Stdout == nil {
		cmd.Stdout = p.said
	}
	// A process group of its own: an interrupt at the terminal is this process's to handle.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel takes the end of this thread for the end of the parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState says how it ended
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// ended says whether the process has gone, and why.
func (p *process) ended() error {
	select {
	case <-p.done:
		return errors.Join(fmt.Errorf("%s has ended: %s", p.cmd.Path, p.cmd.ProcessState), p.said.err())
	default:
		return nil
	}
}

// stop asks the process to end, and makes it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-p.done:
	case <-patience.C:
		_ = syscall.Kill(-p.pid, syscall.SIGKILL) // its workers too
		<-p.done
	}
}

const stopPatience = 3 * time.Second

// family is the process and its children, of which nginx has some.
func (p *process) family() []int {
	all := []int{p.pid}
	for i := 0; i < len(all); i++ {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", all[i]))
		if err != nil {
			continue
		}
		for _, task := range tasks {
			children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", all[i], task.Name()))
			for _, child := range strings.Fields(string(children)) {
				if pid, err := strconv.Atoi(child); err == nil {
					all = append(all, pid)
				}
			}
		}
	}
	return all
}

// cpu is the processor time that a process has used: all its threads, those that have ended too, user and system, in
// nanoseconds (clock_getcpuclockid(3)). /proc/<pid>/stat has the same number in hundredths of seconds.
func cpu(pids ...int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		const wholeProcess = 2
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|wholeProcess), &t); err != nil {
			return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// memory is the resident memory of processes, in bytes, without the pages of program files, which the kernel shares among
// all that run them. What several of these processes share is counted once: Pss of smaps_rollup (proc(5)).
func memory(pids ...int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, fmt.Errorf("memory: %w", err)
		}
		for _, name := range [...]string{"Pss_Anon:", "Pss_Shmem:"} {
			kib, err := strconv.ParseInt(strings.TrimSuffix(field(text, name), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("memory of process %d: %s in smaps_rollup: %w", pid, name, err)
			}
			sum += kib << 10
		}
	}
	return sum, nil
}

// field is what stands behind a name in one of the files of /proc, "" when it is not there.
func field(text []byte, name string) string {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(rest), ":"))
		}
	}
	return ""
}

// tail keeps the last of what was written to it.
type tail struct {
	mu    sync.Mutex
	bytes []byte
}

const tailBytes = 2 << 10

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - tailBytes; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
	}
	return len(p), nil
}

// err is what was written, as an error; nil when that is nothing.
func (t *tail) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := strings.TrimSpace(string(t.bytes)); text != "" {
		return errors.New(text)
	}
	return nil
}
