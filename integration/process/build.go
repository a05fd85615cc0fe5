package process

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// BinaryEnv names an executable to test instead of building one.
const BinaryEnv = "UNDERSTUDY_TEST_BINARY"

// RaceEnv, when set, makes Build build with the race detector.
const RaceEnv = "UNDERSTUDY_TEST_RACE"

// Build builds the static binary and returns its path. It is built once in the
// life of a test process; Cleanup removes it.
func Build() (string, error) { return built() }

var (
	buildDir string
	built    = sync.OnceValues(build)
)

func build() (string, error) {
	if binary := os.Getenv(BinaryEnv); binary != "" {
		return filepath.Abs(binary)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	if buildDir, err = os.MkdirTemp("", "understudy-test-"); err != nil {
		return "", err
	}
	binary, cgo := filepath.Join(buildDir, "understudy"), "0"
	args := []string{"build", "-trimpath", "-o", binary}
	if os.Getenv(RaceEnv) != "" {
		args, cgo = append(args, "-race"), "1"
	}
	cmd := exec.Command("go", append(args, "./cmd/understudy")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
}

// moduleRoot is the folder of the broker's module, also for a test in another
// module that replaces it with a folder.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "understudy").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return string(bytes.TrimSpace(out)), nil
}

// Cleanup removes what Build made. TestMain calls it last.
func Cleanup() {
	if buildDir != "" {
		_ = os.RemoveAll(buildDir) // a leftover in the folder for temporary files
	}
}
