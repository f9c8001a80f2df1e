package supervise

import "context"

// Task is a service that has no event loop: something beside the channels, or a part of one.
type Task struct {
	name, loss string
	live       func(ctx context.Context) error
}

// NewTask makes a service of a function, which runs until ctx ends and returns nil then. Any other end, a panic too, is a
// failure, and it is called again. name and loss are for the log: see [Service].
func NewTask(name, loss string, live func(ctx context.Context) error) *Task {
	return &Task{name, loss, live}
}

// Name implements [Service].
func (t *Task) Name() string { return t.name }

// Loss implements [Service].
func (t *Task) Loss() string { return t.loss }

// Live implements [Service].
func (t *Task) Live(ctx context.Context) error { return t.live(ctx) }

// Turned implements [Service].
func (t *Task) Turned(context.Context) error { return nil }

// KeepLink is what a channel keeps its links to the master with: a tree below the channel's own place in the tree, so
// that a link that fails starts again by itself and the channel goes on. One that fails too often is a failure of the
// channel: it is returned. nil is returned when ctx ends.
func (o Options) KeepLink(ctx context.Context, name string, link func(ctx context.Context) error) error {
	o.GivenUp = nil // the channel fails, not the process
	return New(o, NewTask(name, "the connection to the master was given up", link)).Run(ctx)
}
