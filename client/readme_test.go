package client_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"understudy/client/clienttest"
)

// TestTheReadmesProgramRuns puts the README's program into a module of its own that
// finds this one by a replace, builds it, and runs it until it has done its work.
func TestTheReadmesProgramRuns(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, program, found := strings.Cut(string(text), "<!-- a test compiles and runs this -->\n```go\n")
	program, _, ended := strings.Cut(program, "```\n")
	if !found || !ended {
		t.Fatal("the README has no such program")
	}
	cluster := clienttest.Start(t, 1)
	const address = `"127.0.0.1:9092"`
	if !strings.Contains(program, address) {
		t.Fatalf("it does not use %s", address)
	}
	program = strings.ReplaceAll(program, address, `"`+cluster.Addrs()[0]+`"`)
	dir := t.TempDir()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	_, requires, _ := strings.Cut(string(mod), "require (") // the same versions, so that nothing is fetched
	requires, _, _ = strings.Cut(requires, "\ntool ")
	for name, content := range map[string]string{
		"main.go": program,
		"go.mod":  "module example\n\ngo 1.26.0\n\nrequire understudy v0.0.0\n\nreplace understudy => " + root + "\n\nrequire (" + requires,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "example")
	build := exec.Command("go", "build", "-mod=mod", "-o", binary, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), binary)
	var errs bytes.Buffer
	run.Stderr = &errs
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer run.Process.Kill()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "alice pays for 3 apples") {
			break
		}
	}
	if err := run.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := run.Wait(); err != nil {
		t.Errorf("%v\n%s", err, errs.String())
	}
}
