//go:build linux

package service_test

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// loop finds the thread of the process that is an event loop with minions: it sleeps in epoll_wait, on a set with more
// descriptors than anything else of salt-broker has.
func (l *life) loop(pid string) (thread int) {
	l.t.Helper()
	call := regexp.MustCompile(`^\d+ 0x([0-9a-f]+) `) // the number of what it waits in, and the first argument
	eventually(l.t, "an event loop sleeps", func() bool {
		tasks, err := filepath.Glob(l.path("/proc/" + pid + "/task/*"))
		if err != nil {
			l.t.Fatal(err)
		}
		for _, task := range tasks {
			text, _ := os.ReadFile(filepath.Join(task, "syscall"))
			set := call.FindSubmatch(text)
			if set == nil {
				continue
			}
			fd, _ := strconv.ParseInt(string(set[1]), 16, 64)
			in, _ := os.ReadFile(l.path("/proc/" + pid + "/fdinfo/" + strconv.FormatInt(fd, 10)))
			if strings.Count(string(in), "tfd:") > minions/10 {
				thread = l.outside(task)
				return true
			}
		}
		return false
	})
	return thread
}

// outside is the number that a thread of the machine has for the test: the first of the two in its status.
func (l *life) outside(task string) int {
	l.t.Helper()
	machine, err := os.Readlink("/proc/" + l.leader + "/ns/pid")
	if err != nil {
		l.t.Fatal(err)
	}
	threads, err := filepath.Glob("/proc/[0-9]*/task/*")
	if err != nil {
		l.t.Fatal(err)
	}
	for _, thread := range threads {
		text, _ := os.ReadFile(filepath.Join(thread, "status"))
		_, numbers, _ := strings.Cut(string(text), "\nNSpid:\t")
		numbers, _, _ = strings.Cut(numbers, "\n")
		f := strings.Fields(numbers)
		if within, _ := os.Readlink(filepath.Join(thread, "ns/pid")); within == machine && len(f) == 2 && f[1] == filepath.Base(task) {
			n, _ := strconv.Atoi(f[0])
			return n
		}
	}
	l.t.Fatalf("nobody is thread %s of the machine", task)
	return 0
}

// hold stops one thread, as a debugger does, while the others of its process go on, until release is called.
func (l *life) hold(thread int) (release func()) {
	l.t.Helper()
	held, letGo, gone := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		runtime.LockOSThread() // ptrace goes by thread; it is thrown away with the goroutine
		err := unix.PtraceSeize(thread)
		if err == nil {
			err = unix.PtraceInterrupt(thread)
		}
		if err == nil {
			_, err = unix.Wait4(thread, nil, unix.WALL, nil)
		}
		held <- err
		<-letGo
		_ = unix.PtraceDetach(thread) // it may have ended
	}()
	if err := <-held; err != nil {
		close(letGo)
		l.t.Fatalf("thread %d: %v", thread, err)
	}
	return func() {
		close(letGo)
		<-gone
	}
}
