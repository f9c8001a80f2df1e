//go:build long

package footprint

import "time"

// Of TestHeartbeatsCostLittle.
const (
	listeners = 10000
	measured  = 20 * time.Second
)
