package footprint

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"salt-broker/test/internal/program"
)

// executable is the path of the program under test.
var executable string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "footprint")
	if err != nil {
		panic(err)
	}
	if executable, err = program.Build(dir); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code) //nolint:forbidigo // what goleak does otherwise
	}))
}
