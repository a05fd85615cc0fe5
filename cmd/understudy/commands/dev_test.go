//go:build unix

package commands

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDevSaysWhatItNeeds(t *testing.T) {
	t.Setenv("CONSUL_HTTP_ADDR", "")
	t.Setenv("PATH", t.TempDir())
	r := run(t, strings.NewReader(""), "dev", "--brokers", "1", "--data-dir", t.TempDir(), "--base-port", itoa(freeRange(t, 1)))
	if r.code != exitFailed || !strings.Contains(r.err, "no consul program") || !strings.Contains(r.err, "CONSUL_HTTP_ADDR") {
		t.Errorf("%d: %s", r.code, r.err)
	}
	for _, bad := range [][]string{{"--brokers", "0"}, {"--brokers", "21"}, {"--base-port", "65000"}, {"--base-port", "0"}} {
		if r := run(t, strings.NewReader(""), append([]string{"dev"}, bad...)...); r.code != exitUsage {
			t.Errorf("%v: %d: %s", bad, r.code, r.err)
		}
	}
}

func TestDevDoesNotBeginOnPortsOfOthers(t *testing.T) {
	port := itoa(freeRange(t, 1))
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := run(t, strings.NewReader(""), "dev", "--brokers", "1", "--data-dir", t.TempDir(), "--base-port", port)
	if r.code != exitFailed || !strings.Contains(r.err, port) || !strings.Contains(r.err, "--base-port") {
		t.Errorf("%d: %s", r.code, r.err)
	}
}

// ends collects what is told of processes that have ended.
type ends chan string

func (e ends) told(p *devProcess, how string) { e <- p.name + ": " + how }

func (e ends) want(t *testing.T, words string) {
	t.Helper()
	select {
	case have := <-e:
		if !strings.Contains(have, words) {
			t.Errorf("it was told %q, not %q", have, words)
		}
	case <-time.After(time.Minute):
		t.Fatalf("nobody was told %q", words)
	}
}

func mkfifo(t *testing.T, name string) {
	t.Helper()
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
}

func shell(t *testing.T, script string) *devProcess {
	return &devProcess{name: "node 1", log: filepath.Join(t.TempDir(), "logs", "1.log"), ready: "ready:", command: []string{"/bin/sh", "-c", script}}
}

func TestAProcessIsEndedAndStartedAgain(t *testing.T) {
	p, told := shell(t, `echo starting; echo ready: here; read forever < "$0"`), make(ends, 1)
	fifo := filepath.Join(t.TempDir(), "never") // a pipe that nobody writes to
	mkfifo(t, fifo)
	p.command = append(p.command, fifo)
	start := func() {
		t.Helper()
		if err := p.start(t.Context(), told.told); err != nil {
			t.Fatal(err)
		}
	}
	start()
	if err := p.start(t.Context(), told.told); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("a second start: %v", err)
	}
	if err := p.signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	told.want(t, "killed")
	if err := p.stop(); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("stop of one that has ended: %v", err)
	}
	start()
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	told.want(t, "terminated")
}

func TestAProcessThatDoesNotStart(t *testing.T) {
	p := shell(t, `echo first >&2; echo the port is taken >&2; exit 3`)
	err := p.start(t.Context(), func(*devProcess, string) { t.Error("told of one that never was ready") })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("%v", err)
	}
	p.command = []string{filepath.Join(t.TempDir(), "missing")}
	if err := p.start(t.Context(), nil); err == nil {
		t.Error("a program that is not there was started")
	}
}

func TestLinesThatMeanNothing(t *testing.T) {
	d := &dev{nodes: []*devProcess{{name: "node 1"}}}
	for _, line := range []string{"kill", "kill 2", "kill x", "kill 1 2", "burn 1", "kill 1"} {
		if err := d.do(context.Background(), line); err == nil {
			t.Errorf("%q was carried out", line)
		}
	}
	if err := d.do(context.Background(), "  "); err != nil {
		t.Error(err)
	}
}

// freeRange is the first of n ports in a row that nobody listens on, and whose
// admin ports are free too.
func freeRange(t *testing.T, n int) int {
	t.Helper()
search:
	for base := 20000 + os.Getpid()%10000; base < 60000; base += n {
		for i := range n {
			if !free(base+i) || !free(base+i+adminOffset) {
				continue search
			}
		}
		return base
	}
	t.Fatal("no ports are free")
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
