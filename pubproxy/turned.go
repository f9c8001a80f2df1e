package pubproxy

import "context"

// Turned returns nil when every event loop of the proxy has turned once since it was called, and an error that names
// those that have not when ctx ends before. It is safe from any goroutine, also when Run has returned.
func (p *Proxy) Turned(ctx context.Context) error { return p.group.Turned(ctx) }
