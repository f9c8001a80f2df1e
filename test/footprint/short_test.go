//go:build !long

package footprint

import "time"

// Of TestHeartbeatsCostLittle.
const (
	listeners = 500
	measured  = 2 * time.Second
)
