//go:build consul

package commands

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDev runs a whole cluster of processes with a Consul of its own, ends one
// node as a crash would, and starts everything a second time.
func TestDev(t *testing.T) {
	binary := os.Getenv("CONSUL_BINARY")
	if binary == "" {
		t.Fatal("CONSUL_BINARY names no consul: use `make test-consul`")
	}
	bin := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(bin, "consul")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONSUL_HTTP_ADDR", "")
	t.Setenv("PATH", bin)
	t.Setenv(asCommand, "1") // os.Executable is this test
	dir := t.TempDir()
	for round := range 2 {
		seeds, tell, stop := startDev(t, dir)
		if round == 0 {
			must(t, "", "topic", "create", "orders", "--partitions", "6", "--brokers", seeds)
		}
		tell("kill 2")
		must(t, "a\nb\n", "produce", "orders", "--brokers", seeds)
		tell("start 2")
		stop()
	}
}

// startDev runs the dev command until it is ready.
func startDev(t *testing.T, dir string) (seeds string, tell func(string), stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	in, commands := io.Pipe()
	lines, out := io.Pipe()
	var errs lockedBuffer
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, []string{"dev", "--base-port", itoa(freeRange(t, 3)), "--data-dir", dir}, Streams{In: in, Out: out, Err: &errs})
		out.Close()
	}()
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		if rest, ok := strings.CutPrefix(scan.Text(), "ready: "); ok {
			seeds = rest
			break
		}
	}
	go io.Copy(io.Discard, lines)
	if seeds == "" {
		t.Fatalf("not ready: %s", errs.String())
	}
	return seeds, func(line string) { io.WriteString(commands, line+"\n") }, func() {
		io.WriteString(commands, "quit\n")
		if code := <-done; code != exitOK {
			t.Errorf("exit code %d: %s", code, errs.String())
		}
		cancel()
	}
}

// asCommand, when set, has the test binary be the command.
const asCommand = "UNDERSTUDY_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(Main(os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	os.Exit(m.Run())
}
