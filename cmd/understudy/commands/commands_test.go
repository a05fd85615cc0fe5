package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy"
	"understudy/config"
)

// withBrokers runs a test against an independent implementation of the protocol
// and against our own broker.
func withBrokers(t *testing.T, test func(t *testing.T)) {
	t.Run("kfake", func(t *testing.T) {
		cluster(t)
		test(t)
	})
	t.Run("understudy", func(t *testing.T) {
		cfg := config.Default()
		cfg.InMemory, cfg.Listen, cfg.AdminListen = true, "127.0.0.1:0", config.AdminOff
		b, err := understudy.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Stop(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		t.Setenv(brokersEnv, b.Addr().String())
		test(t)
	})
}

// cluster starts an independent implementation of the protocol and makes it the
// default of --brokers.
func cluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	t.Setenv(brokersEnv, strings.Join(c.ListenAddrs(), ","))
	return c
}

const patience = 5 * time.Minute // before a test gives up; no test passes by waiting for it

// set gives a variable another value until the test ends.
func set[T any](t *testing.T, variable *T, value T) {
	t.Helper()
	before := *variable
	*variable = value
	t.Cleanup(func() { *variable = before })
}

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

func run(t *testing.T, in io.Reader, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs lockedBuffer
	code := Run(ctx, args, Streams{In: in, Out: &out, Err: &errs})
	return result{code, out.String(), errs.String()}
}

// must runs a command that has to succeed and returns its output.
func must(t *testing.T, in string, args ...string) string {
	t.Helper()
	r := run(t, strings.NewReader(in), args...)
	if r.code != exitOK {
		t.Fatalf("understudy %s: exit code %d: %s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out
}

// refuse runs a command that has to fail in the way that is wanted.
func refuse(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	r := run(t, strings.NewReader(""), args...)
	if r.code != code || !strings.Contains(r.err, want) {
		t.Errorf("understudy %s: exit code %d, want %d; have %q, want %q", strings.Join(args, " "), r.code, code, r.err, want)
	}
}

// lockedBuffer is written to by the command and by its client's goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func matches(t *testing.T, have string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(have) {
			t.Errorf("want %s in:\n%s", p, have)
		}
	}
}

func TestTopicFromCreationToDeletion(t *testing.T) { withBrokers(t, testTopicFromCreationToDeletion) }

func testTopicFromCreationToDeletion(t *testing.T) {
	if have := must(t, "", "topic", "create", "orders", "--partitions", "3", "--replicas", "1", "--config", "retention.ms=5000"); have != "created orders: 3 partitions, 1 copy of each\n" {
		t.Errorf("have %q", have)
	}
	matches(t, must(t, "", "topic", "list"), `(?m)^TOPIC +PARTITIONS +REPLICAS\s*$`, `(?m)^orders +3 +1\s*$`)
	matches(t, must(t, "", "topic", "describe"), `orders: 3 partitions, 1 copy of each, id \S{22}\n`, `  retention.ms = 5000\n`, `(?m)^ +2 +[01] .* 0 +0 +0 *$`)
	must(t, "", "topic", "alter", "orders", "--partitions", "4", "--config", "max.message.bytes=2000000", "--unset", "retention.ms")
	matches(t, must(t, "", "topic", "describe", "orders"), `4 partitions`, `max.message.bytes = 2000000`)

	var described []topicDescription
	decode(t, must(t, "", "topic", "describe", "orders", "-o", "json"), &described)
	if len(described) != 1 || len(described[0].Partitions) != 4 || described[0].Partitions[3].Start != 0 || len(described[0].Settings) == 0 {
		t.Errorf("have %+v", described)
	}
	var listed []listedTopic
	decode(t, must(t, "", "topic", "list", "-o", "json"), &listed)
	if len(listed) != 1 || listed[0].Name != "orders" || listed[0].Partitions != 4 || listed[0].Replicas != 1 || listed[0].ID != described[0].ID {
		t.Errorf("have %+v", listed)
	}
	if have := must(t, "", "topic", "delete", "orders"); have != "deleted orders\n" {
		t.Errorf("have %q", have)
	}
	if have := must(t, "", "topic", "list", "-o", "json"); have != "[]\n" {
		t.Errorf("have %q", have)
	}
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func TestTopicErrorsSayWhatToDo(t *testing.T) { withBrokers(t, testTopicErrorsSayWhatToDo) }

func testTopicErrorsSayWhatToDo(t *testing.T) {
	must(t, "", "topic", "create", "a")
	refuse(t, exitFailed, "topic a is there already\nlook at it with: understudy topic describe a", "topic", "create", "a")
	must(t, "", "topic", "create", "a", "--if-not-exists")
	must(t, "", "topic", "delete", "none", "--if-exists")
	refuse(t, exitFailed, "there is no topic none\nmake it with: understudy topic create none", "topic", "describe", "none")
	refuse(t, exitFailed, "there is no topic none", "topic", "delete", "none")
	refuse(t, exitFailed, "there is no topic none", "topic", "alter", "none", "--config", "retention.ms=1")
	refuse(t, exitFailed, "partitions can only be added", "topic", "alter", "a", "--partitions", "0")
	refuse(t, exitFailed, "try --replicas 1", "topic", "create", "b", "--replicas", "3")
	refuse(t, exitUsage, "nothing to change", "topic", "alter", "a")
	refuse(t, exitUsage, "write it as NAME=VALUE", "topic", "create", "b", "--config", "retention")
}

func TestProduceAndConsume(t *testing.T) { withBrokers(t, testProduceAndConsume) }

func testProduceAndConsume(t *testing.T) {
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		topic := "t-" + codec
		must(t, "", "topic", "create", topic)
		r := run(t, strings.NewReader("k1=v1\nplain\nk2=\n\nk3=a=b\nlast"), "produce", topic, "--key-separator", "=", "--compression", codec, "--header", "h=1", "--header", "i=x=y")
		if r.code != 0 || !strings.Contains(r.err, "produced 6 lines (") {
			t.Fatalf("exit code %d: %s", r.code, r.err)
		}
		have := must(t, "", "consume", topic, "--exit-at-end", "--format", `%t/%p/%o %K:%k %S:%v %h%%\n`)
		want := ""
		for i, line := range []string{"2:k1 2:v1", "-1: 5:plain", "2:k2 0:", "-1: 0:", "2:k3 3:a=b", "-1: 4:last"} {
			want += fmt.Sprintf("%s/0/%d %s h=1,i=x=y%%\n", topic, i, line)
		}
		if have != want {
			t.Errorf("%s: have\n%swant\n%s", codec, have, want)
		}
	}
}

func TestProduceAcksAndPartition(t *testing.T) { withBrokers(t, testProduceAcksAndPartition) }

func testProduceAcksAndPartition(t *testing.T) {
	must(t, "", "topic", "create", "t", "--partitions", "3")
	for _, acks := range []string{"all", "1", "0"} {
		must(t, acks+"\n", "produce", "t", "--acks", acks, "--partition", "2")
	}
	if have := must(t, "", "consume", "t", "--count", "3", "--partition", "2"); have != "all\n1\n0\n" {
		t.Errorf("have %q", have)
	}
	if have := must(t, "", "consume", "t", "--exit-at-end", "--partition", "0"); have != "" {
		t.Errorf("have %q", have)
	}
	refuse(t, exitUsage, "--acks 2: it is all, 1 or 0", "produce", "t", "--acks", "2")
	refuse(t, exitUsage, "--compression brotli: it is none, gzip", "produce", "t", "--compression", "brotli")
	refuse(t, exitFailed, "no partition 7\nit has 0 to 2", "consume", "t", "--partition", "7")
}

func TestProduceFromAFile(t *testing.T) { withBrokers(t, testProduceFromAFile) }

func testProduceFromAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lines")
	var text strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&text, "line %d %s\n", i, strings.Repeat("x", i%200))
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "", "produce", "new-topic", "--file", file) // made by producing
	if have := must(t, "", "consume", "new-topic", "--exit-at-end"); have != text.String() {
		t.Errorf("%d bytes came back of %d", len(have), text.Len())
	}
	refuse(t, exitFailed, "no such file", "produce", "t", "--file", file+"x")
}

func TestProduceNamesTheLineThatIsTooLong(t *testing.T) {
	withBrokers(t, testProduceNamesTheLineThatIsTooLong)
}

func testProduceNamesTheLineThatIsTooLong(t *testing.T) {
	must(t, "", "topic", "create", "t", "--config", "max.message.bytes=100000")
	for _, long := range []int{100_001, 100_000, 99_990, 5_000_000} {
		r := run(t, strings.NewReader("one\ntwo\n"+strings.Repeat("x", long)+"\nfour\n"), "produce", "t")
		if r.code != exitFailed || !strings.Contains(r.err, "line 3 is too long: topic t takes messages of up to 100000 bytes\nallow longer ones with: understudy topic alter t --config max.message.bytes=N") {
			t.Errorf("exit code %d: %s", r.code, r.err)
		}
		if !strings.Contains(r.err, "produced 2 lines") {
			t.Errorf("the lines before were not sent: %s", r.err)
		}
	}
	must(t, strings.Repeat("x", 99_000)+"\n", "produce", "t")
}

func TestConsumeFrom(t *testing.T) { withBrokers(t, testConsumeFrom) }

func testConsumeFrom(t *testing.T) {
	must(t, "", "topic", "create", "t", "--partitions", "1")
	must(t, "a\nb\nc\nd\n", "produce", "t")
	middle := time.Now().Add(time.Hour)
	for from, want := range map[string]string{
		"start": "a\nb\nc\nd\n", "2": "c\nd\n", "-1": "d\n", "-100": "a\nb\nc\nd\n", "end": "", "1000": "",
		"1h-ago": "a\nb\nc\nd\n", "2001-01-01": "a\nb\nc\nd\n", middle.Format(time.RFC3339): "", "@0": "a\nb\nc\nd\n",
	} {
		if have := must(t, "", "consume", "t", "--exit-at-end", "--from="+from); have != want {
			t.Errorf("from %s: have %q, want %q", from, have, want)
		}
	}
	matches(t, run(t, nil, "consume", "t", "--exit-at-end", "--from", "1000").err, `partition 0: offset 1000 is not there; beginning at 4`)
	if have := must(t, "", "consume", "t", "--count", "2", "--from", "1"); have != "b\nc\n" {
		t.Errorf("have %q", have)
	}
	refuse(t, exitUsage, `"noon" is not a place to begin`, "consume", "t", "--from", "noon")
	refuse(t, exitUsage, `%z is no placeholder`, "consume", "t", "--format", "%z")
	refuse(t, exitFailed, `there is no topic none`, "consume", "none")
}

func TestConsumeJSON(t *testing.T) { withBrokers(t, testConsumeJSON) }

func testConsumeJSON(t *testing.T) {
	must(t, "k:\xff\xfe\nvalue <&>\n", "produce", "t", "--key-separator", ":", "--header", "n=v")
	lines := strings.Split(strings.TrimSpace(must(t, "", "consume", "t", "--exit-at-end", "--format", "json")), "\n")
	if len(lines) != 2 {
		t.Fatalf("have %q", lines)
	}
	var r jsonRecord
	decode(t, lines[0], &r)
	if r.Topic != "t" || r.Offset != 0 || r.Key == nil || *r.Key != "k" || r.Value != nil || r.ValueBase64 != "//4=" || len(r.Headers) != 1 || r.Headers[0].Name != "n" || *r.Headers[0].Value != "v" {
		t.Errorf("have %s", lines[0])
	}
	r = jsonRecord{}
	decode(t, lines[1], &r)
	if r.Key != nil || *r.Value != "value <&>" || r.Offset != 1 {
		t.Errorf("have %s", lines[1])
	}
}

// A consumer without an end waits for more, and shows what comes at once.
func TestConsumeFollowsUntilInterrupted(t *testing.T) {
	withBrokers(t, testConsumeFollowsUntilInterrupted)
}

func testConsumeFollowsUntilInterrupted(t *testing.T) {
	must(t, "", "topic", "create", "t")
	ctx, interrupt := context.WithCancel(t.Context())
	in, out := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, []string{"consume", "t"}, Streams{In: strings.NewReader(""), Out: out, Err: io.Discard})
	}()
	must(t, "first\n", "produce", "t")
	b := make([]byte, 6)
	if _, err := io.ReadFull(in, b); err != nil || string(b) != "first\n" {
		t.Fatalf("have %q, %v", b, err)
	}
	interrupt()
	if code := <-done; code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestConsumeEndsQuietlyWhenNobodyReads(t *testing.T) {
	withBrokers(t, testConsumeEndsQuietlyWhenNobodyReads)
}

func testConsumeEndsQuietlyWhenNobodyReads(t *testing.T) {
	must(t, "a\nb\n", "produce", "t")
	var errs lockedBuffer
	code := Run(t.Context(), []string{"consume", "t"}, Streams{In: strings.NewReader(""), Out: brokenWriter{}, Err: &errs})
	if code != exitOK || errs.String() != "" {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestProduceInterrupted(t *testing.T) { withBrokers(t, testProduceInterrupted) }

func testProduceInterrupted(t *testing.T) {
	must(t, "", "topic", "create", "t")
	ctx, interrupt := context.WithCancel(t.Context())
	in, lines := io.Pipe()
	var errs lockedBuffer
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, []string{"produce", "t"}, Streams{In: in, Out: io.Discard, Err: &errs})
	}()
	fmt.Fprintf(lines, "first\n")
	if have := must(t, "", "consume", "t", "--count", "1"); have != "first\n" {
		t.Errorf("have %q", have)
	}
	interrupt()
	if code := <-done; code != exitInterrupted || !strings.Contains(errs.String(), "produced 1 line (5 B)") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

func TestNoBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	for _, line := range [][]string{{"topic", "list"}, {"produce", "t"}, {"consume", "t"}} {
		refuse(t, exitFailed, "no broker answers at "+address+": connection refused\nstart one with: understudy server\n", append(line, "--brokers", address)...)
	}
	refuse(t, exitFailed, "cannot be resolved", "topic", "list", "--brokers", "no-such-host.invalid")
}

func TestNotABroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	refuse(t, exitFailed, "closed the connection", "topic", "list", "--brokers", l.Addr().String())
}

// The address that the broker tells is not the one it was reached at, and leads nowhere.
func TestAdvertisedAddressLeadsNowhere(t *testing.T) {
	set(t, &retryFor, 100*time.Millisecond)
	c := cluster(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().(*net.TCPAddr).Port
	l.Close()
	c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		resp.ControllerID = 1
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = 1, "127.0.0.1", int32(dead)
		resp.Brokers = append(resp.Brokers, b)
		return resp, nil, true
	})
	refuse(t, exitFailed, fmt.Sprintf("tells clients to connect to 127.0.0.1:%d, and there nobody answers", dead), "topic", "create", "t")
}

func TestWrongCalls(t *testing.T) {
	refuse(t, exitUsage, `there is no command "serve"`, "serve")
	refuse(t, exitUsage, `did you mean "create"?`, "topic", "craete")
	refuse(t, exitUsage, "say which topic: understudy produce TOPIC", "produce")
	refuse(t, exitUsage, `"b" is one argument too many`, "consume", "a", "b")
	refuse(t, exitUsage, "unknown flag: --no\nsee: understudy topic list --help", "topic", "list", "--no")
	refuse(t, exitUsage, "it is text or json", "topic", "list", "-o", "xml")
	for _, line := range [][]string{{}, {"topic"}, {"config"}, {"produce", "--help"}} {
		if have := must(t, "", line...); !strings.Contains(have, "Usage:") {
			t.Errorf("%v: have %q", line, have)
		}
	}
}

func TestVersion(t *testing.T) {
	matches(t, must(t, "", "version"), `^understudy \S+.*, go1\.\d+\S* \w+/\w+\n$`)
	var v versionInfo
	decode(t, must(t, "", "version", "-o", "json"), &v)
	if v.Go == "" || v.Platform == "" {
		t.Errorf("have %+v", v)
	}
}

func TestConfigCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broker.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("num.partitions: 6\n")
	t.Setenv("UNDERSTUDY_LOG_LEVEL", "debug")
	matches(t, must(t, "", "config", "check", file), `broker.yaml is valid\n`, `num.partitions +6 +\S+broker.yaml:1`, `log.level +debug +UNDERSTUDY_LOG_LEVEL`)
	var checked checkResult
	decode(t, must(t, "", "config", "check", file, "-o", "json"), &checked)
	if !checked.Valid || len(checked.Settings) == 0 {
		t.Errorf("have %+v", checked)
	}
	write("num.partition: 6\nnode.id: x\n")
	refuse(t, exitFailed, `broker.yaml:1:1: unknown setting "num.partition"; did you mean "num.partitions"?`, "config", "check", file)
	refuse(t, exitFailed, "2 problems in the configuration", "config", "check", file)
	r := run(t, nil, "config", "check", file, "-o", "json")
	decode(t, r.out, &checked)
	if r.code != exitFailed || checked.Valid || len(checked.Problems) != 2 {
		t.Errorf("exit code %d, %+v", r.code, checked)
	}
	refuse(t, exitUsage, "say which file", "config", "check")
	for _, format := range []string{"text", "markdown", "yaml", "json"} {
		if have := must(t, "", "config", "reference", "-o", format); !strings.Contains(have, "queued.max.request.bytes") {
			t.Errorf("%s: have %q", format, have)
		}
	}
	refuse(t, exitUsage, "it is one of text, markdown, yaml, json", "config", "reference", "-o", "pdf")
}
