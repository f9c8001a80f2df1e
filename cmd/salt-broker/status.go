package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"salt-broker/config"
	"salt-broker/internal/status"
)

const (
	// statusTimeout is how long the command status waits for an answer.
	statusTimeout = 5 * time.Second
	// watchEvery is how often it asks with --watch.
	watchEvery = time.Second
	// clearScreen is what a terminal takes for: begin at the top left, on an empty screen.
	clearScreen = "\x1b[H\x1b[2J"
)

func newStatusCommand() *cobra.Command {
	var watch, asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what the running salt-broker does",
		Long: `status asks the salt-broker that runs on this machine with the same configuration (status_interface, status_port) and
shows its numbers: totals since it began, or with --watch what changes every second, until Ctrl-C. docs/metrics.rst says
what each number means.

Exit codes: 0 it has answered, 1 it has not, 2 the configuration or a flag is wrong.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			settings, _, err := config.Load(configOptions(c.Flags()))
			if err != nil {
				return misconfigured{err}
			}
			if watch {
				ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
				defer stop()
				return watchStatus(ctx, settings, asJSON, c.OutOrStdout())
			}
			report, err := askStatus(c.Context(), settings)
			if err != nil {
				return err
			}
			return show(c.OutOrStdout(), report, nil, asJSON)
		},
	}
	addConfigFlags(c.Flags())
	c.Flags().BoolVar(&watch, "watch", false, "show it again every second, with rates")
	c.Flags().BoolVar(&asJSON, "json", false, "as the JSON document that the broker gives")
	return c
}

func askStatus(ctx context.Context, c config.Config) (*status.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var said report
	if err := ask(ctx, c, "/status", &said); err != nil {
		return nil, err
	}
	return &said.Report, nil
}

// watchStatus shows the status again and again until ctx ends. A broker that does not answer is no reason to give up: it
// may be starting again.
func watchStatus(ctx context.Context, c config.Config, asJSON bool, w io.Writer) error {
	live := isLive(w) && !asJSON
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var last *status.Report
	for {
		report, err := askStatus(ctx, c)
		if errors.As(err, new(misconfigured)) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if live {
			if _, err := io.WriteString(w, clearScreen); err != nil {
				return err
			}
		}
		if err != nil {
			say(w, err)
		} else if err := show(screenOf(w, live), report, since(report, last), asJSON); err != nil {
			return err
		}
		last = report
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// screen is a terminal that keeps its first line: what is too long for it is left out.
type screen struct {
	io.Writer
	width, height int
}

// screenOf is w, as a screen where it is one that is refreshed and says its size.
func screenOf(w io.Writer, live bool) io.Writer {
	f, ok := w.(*os.File)
	if !live || !ok {
		return w
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 1 || height < 2 {
		return w
	}
	return screen{w, width, height}
}

// Write takes a whole text at a time.
func (s screen) Write(text []byte) (int, error) {
	lines := strings.SplitAfter(string(text), "\n")
	lines = lines[:min(len(lines), s.height-1)] // the cursor has the last one
	for i, line := range lines {
		if letters := []rune(line); len(letters) > s.width {
			lines[i] = string(letters[:s.width-1]) + "…\n"
		}
	}
	if _, err := io.WriteString(s.Writer, strings.Join(lines, "")); err != nil {
		return 0, err
	}
	return len(text), nil
}

// since is last when the numbers of report go on from there: the same process has said both.
func since(report, last *status.Report) *status.Report {
	if last == nil || !last.Started.Equal(report.Started) {
		return nil
	}
	return last
}

func show(w io.Writer, report, last *status.Report, asJSON bool) error {
	text := statusText(report, last)
	if asJSON {
		document, err := json.Marshal(report)
		if err != nil {
			return err
		}
		text = string(document) + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}
