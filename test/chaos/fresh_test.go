//go:build long

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// TestFreshSeeds is the long form, `make chaos`: it goes on for the time that SALT_BROKER_CHAOS_TIME says.
func TestFreshSeeds(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("SALT_BROKER_CHAOS_TIME"))
	must(t, err)
	for deadline := time.Now().Add(d); time.Now().Before(deadline); {
		seed := rand.Uint64()
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { chaos(t, plan{seed}, 4*time.Second) }) {
			return // what it has left behind would disturb the next
		}
	}
}
