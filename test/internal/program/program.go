// Package program builds the program under test, for packages that start it.
package program

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build builds it in dir, as a release does but for its version, and returns its path.
func Build(dir string, flags ...string) (string, error) {
	path := filepath.Join(dir, "salt-broker")
	args := append([]string{"build", "-buildvcs=false", "-o", path}, flags...)
	c := exec.Command("go", append(args, "salt-broker/cmd/salt-broker")...) //nolint:gosec // flags of tests
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
}
