package commands

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"understudy"
	"understudy/config"
)

// startServer runs the server command and waits for its ready line.
func startServer(t *testing.T, args ...string) (ready []string, stop func() int) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	t.Cleanup(interrupt)
	set(t, &stopWithin, patience)
	out, in := io.Pipe()
	var errs lockedBuffer
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, append([]string{"server", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...), Streams{In: strings.NewReader(""), Out: in, Err: &errs})
		in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("no ready line: %v: %s", err, errs.String())
	}
	ready = regexp.MustCompile(`^ready: kafka (\S+:\d+) \(clients are told (\S+:\d+)\), admin (http://\S+:\d+), data (.*)\n$`).FindStringSubmatch(line)
	if ready == nil {
		t.Fatalf("the ready line is %q", line)
	}
	return ready, func() int {
		interrupt()
		return <-done
	}
}

func TestServerServesUntilItIsStopped(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	ready, stop := startServer(t, "--data-dir", dir, "--num-partitions", "2")
	if ready[1] != ready[2] || ready[4] != dir {
		t.Errorf("ready line: %q", ready[0])
	}
	resp, err := http.Get(ready[3] + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %s", resp.Status)
	}
	must(t, "a\nb\n", "produce", "orders", "--brokers", ready[1])
	matches(t, must(t, "", "topic", "describe", "orders", "--brokers", ready[1]), `orders: 2 partitions`)
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}

	ready, stop = startServer(t, "--data-dir", dir)
	if have := must(t, "", "consume", "orders", "--exit-at-end", "--brokers", ready[1]); have != "a\nb\n" && have != "b\na\n" {
		t.Errorf("after a restart there is %q", have)
	}
	stop()
	if have := must(t, "", "log", "verify", "--records", dir); !regexp.MustCompile(`orders-[01]`).MatchString(have) {
		t.Errorf("have %q", have)
	}
}

func TestServerInMemory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	ready, stop := startServer(t, "--in-memory")
	if ready[4] != "in memory" {
		t.Errorf("ready line: %q", ready[0])
	}
	must(t, "x\n", "produce", "t", "--brokers", ready[1])
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left on disk: %v", left)
	}
}

func TestServerRefusesToStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	memory := []string{"server", "--in-memory", "--admin-listen", "off"}
	refuse(t, exitFailed, "is another broker running? take another port with --listen", append(memory, "--listen", taken.Addr().String())...)
	refuse(t, exitFailed, `--listen: listen: "nowhere" is not host:port`, append(memory, "--listen", "nowhere")...)
	refuse(t, exitFailed, "all settings are explained by: understudy config reference", append(memory, "--memory-limit", "1MiB")...)
	refuse(t, exitFailed, "no such file", append(memory, "--config", "/no/such/file.yaml")...)
	refuse(t, exitUsage, "unknown flag: --no-such-setting", append(memory, "--no-such-setting", "1")...)
}

// A second server on the same data directory must leave it alone.
func TestServerLocksItsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, stop := startServer(t, "--data-dir", dir)
	defer stop()
	refuse(t, exitFailed, dir+" is in use by another broker", "server", "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "off")
}

func TestOurBrokerRefusesBadTopicSettings(t *testing.T) {
	cfg := config.Default()
	cfg.InMemory, cfg.Listen, cfg.AdminListen = true, "127.0.0.1:0", config.AdminOff
	cfg.Topics.AutoCreate = false
	b, err := understudy.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.WithoutCancel(t.Context())) })
	t.Setenv(brokersEnv, b.Addr().String())
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte("a\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuse(t, exitFailed, "retention.ms", "topic", "create", "b", "--config", "retention.ms=soon")
	refuse(t, exitFailed, "did you mean retention.ms", "topic", "create", "b", "--config", "retention.m=1")
	refuse(t, exitFailed, "there is no topic missing\nmake it with: understudy topic create missing", "produce", "missing", "--file", file)
	must(t, "", "topic", "create", "b", "--partitions", "2")
	refuse(t, exitFailed, "did you mean segment.bytes", "topic", "alter", "b", "--config", "segment.byte=1")
	refuse(t, exitFailed, "partitions can only be added", "topic", "alter", "b", "--partitions", "2")
}
