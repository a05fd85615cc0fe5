package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const tools = "org.apache.kafka.tools."

// tool runs one of Kafka's command-line tools and returns what it prints on
// standard output.
func tool(t *testing.T, stdin, class string, args ...string) string {
	t.Helper()
	cmd := java(class, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	if err := cmd.Wait(); err != nil || strings.Contains(errs.String(), "ERROR") || strings.Contains(out.String(), "Exception") {
		t.Fatalf("%s %s: %v\n%s\n%s", class, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// ask runs a tool that talks to the broker.
func ask(t *testing.T, stdin, class string, args ...string) string {
	t.Helper()
	return tool(t, stdin, class, append([]string{"--bootstrap-server", server.addr}, args...)...)
}

func mustMatch(t *testing.T, have string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(have) {
			t.Errorf("want %s in:\n%s", p, have)
		}
	}
}

// TestJavaConsole has Kafka's console producer write with each codec, and its
// console consumer and a Go client read it.
func TestJavaConsole(t *testing.T) {
	for _, name := range []string{everyCodec, idempotence, fromTheStart} {
		feature(t, "java", name)
	}
	topic := topicName("java")
	ask(t, "", tools+"TopicCommand", "--create", "--topic", topic, "--partitions", "5", "--replication-factor", "1")
	for partition, codec := range codecs {
		// The console producer cannot choose a partition, so each codec gets a topic of its own.
		topic := fmt.Sprintf("%s-%d", topic, partition)
		ask(t, "", tools+"TopicCommand", "--create", "--topic", topic, "--partitions", "1")
		var in strings.Builder
		for i := range 500 {
			fmt.Fprintf(&in, "h1:a,h2:b%d\tkey %d\tvalue %d\n", i, i, i)
		}
		in.WriteString("NULL\tNULL\tNULL\n")
		ask(t, in.String(), tools+"ConsoleProducer", "--topic", topic, "--compression-codec", codec,
			"--reader-property", "parse.key=true", "--reader-property", "parse.headers=true", "--reader-property", "null.marker=NULL",
			"--command-property", "linger.ms=200", "--command-property", "acks=all")
		mustBeBatches(t, topic, codec)
		have, err := franz{}.consume(timeout(t), topic, fromStart, 501)
		check(t, err)
		for i, r := range have[:500] {
			if string(r.key) != fmt.Sprint("key ", i) || string(r.value) != fmt.Sprint("value ", i) || len(r.headers) != 2 || string(r.headers[1].value) != fmt.Sprint("b", i) {
				t.Fatalf("%s: record %d is %v", codec, i, r)
			}
		}
		if last := have[500]; last.key != nil || last.value != nil || len(last.headers) != 0 {
			t.Errorf("%s: the last record is %v, want nulls", codec, last)
		}
		for _, b := range batchesOf(t, topic, 0) {
			if b.ProducerID < 0 {
				t.Errorf("%s: the batch at offset %d is not idempotent, which is the default", codec, b.FirstOffset)
			}
		}
		consoleReads(t, topic)
	}
}

func consoleReads(t *testing.T, topic string) {
	t.Helper()
	have := ask(t, "", tools+"consumer.ConsoleConsumer", "--topic", topic, "--partition", "0", "--offset", "123", "--max-messages", "378",
		"--formatter-property", "print.key=true", "--formatter-property", "print.offset=true", "--formatter-property", "print.headers=true", "--formatter-property", "null.literal=NULL")
	lines := strings.Split(strings.TrimSpace(have), "\n")
	if len(lines) != 378 || lines[0] != "Offset:123\th1:a,h2:b123\tkey 123\tvalue 123" || lines[377] != "Offset:500\tNO_HEADERS\tNULL\tNULL" {
		t.Errorf("%d lines, the first %q, the last %q", len(lines), lines[0], lines[len(lines)-1])
	}
}

// TestJavaTopics administers a topic with Kafka's tools alone.
func TestJavaTopics(t *testing.T) {
	feature(t, "java", administration)
	topic := topicName("java-topic")
	command := func(args ...string) string { return ask(t, "", tools+"TopicCommand", args...) }
	command("--create", "--topic", topic, "--partitions", "2", "--replication-factor", "1", "--config", "retention.ms=3600000")
	mustMatch(t, command("--describe", "--topic", topic), `PartitionCount: 2\s+ReplicationFactor: 1\s+Configs: .*retention.ms=3600000`, `Partition: 1\s+Leader: 1\s+Replicas: 1\s+Isr: 1`)
	command("--alter", "--topic", topic, "--partitions", "4")
	mustMatch(t, command("--describe", "--topic", topic), `PartitionCount: 4`, `Partition: 3\s+Leader: 1`)
	mustMatch(t, command("--list"), `(?m)^`+topic+`$`)

	configs := func(args ...string) string {
		return ask(t, "", "kafka.admin.ConfigCommand", append([]string{"--entity-type", "topics", "--entity-name", topic}, args...)...)
	}
	configs("--alter", "--add-config", "max.message.bytes=2000000,segment.bytes=2097152")
	mustMatch(t, configs("--describe"), `max.message.bytes=2000000`, `segment.bytes=2097152`, `retention.ms=3600000`)
	configs("--alter", "--delete-config", "retention.ms")
	mustMatch(t, configs("--describe", "--all"), `retention.ms=604800000 sensitive=false`, `cleanup.policy=delete sensitive=false synonyms=\{DEFAULT_CONFIG:log.cleanup.policy=delete\}`)

	sent := samples()
	check(t, franz{}.produce(timeout(t), topic, "lz4", sent))
	offsets := func(time string) string {
		return strings.TrimSpace(ask(t, "", tools+"GetOffsetShell", "--topic-partitions", topic+":0", "--time", time))
	}
	for when, want := range map[string]string{"earliest": "0", "latest": "20", "max-timestamp": "19", fmt.Sprint(sent[7].time.UnixMilli()): "7"} {
		if have := offsets(when); have != topic+":0:"+want {
			t.Errorf("the offset at %s is %s, want %s", when, have, want)
		}
	}

	file := filepath.Join(t.TempDir(), "delete.json")
	check(t, os.WriteFile(file, fmt.Appendf(nil, `{"version":1,"partitions":[{"topic":%q,"partition":0,"offset":7}]}`, topic), 0o600))
	mustMatch(t, ask(t, "", tools+"DeleteRecordsCommand", "--offset-json-file", file), `low_watermark: 7`)
	if have := offsets("earliest"); have != topic+":0:7" {
		t.Errorf("the first offset is %s, want 7", have)
	}
	command("--delete", "--topic", topic)
	mustHavePartitions(t, franz{}, topic, 0)
}

// TestJavaPerformance loads a topic with Kafka's own load generator, and asks
// what lies where.
func TestJavaPerformance(t *testing.T) {
	topic := topicName("java-perf")
	check(t, franz{}.create(timeout(t), topic, 3, map[string]string{"segment.bytes": "4194304"}))
	const records, size = 30000, 1000
	have := ask(t, "", tools+"ProducerPerformance", "--topic", topic, "--num-records", fmt.Sprint(records), "--record-size", fmt.Sprint(size),
		"--throughput", "-1", "--command-property", "acks=all")
	mustMatch(t, have, fmt.Sprintf(`(?m)^%d records sent`, records))

	out := ask(t, "", tools+"LogDirsCommand", "--describe", "--topic-list", topic)
	var dirs struct {
		Brokers []struct {
			LogDirs []struct {
				Error      *string
				Partitions []struct {
					Partition string
					Size      int64
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out[max(0, strings.Index(out, "\n{")):]), &dirs); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	total, partitions := int64(0), 0
	for _, b := range dirs.Brokers {
		for _, d := range b.LogDirs {
			if d.Error != nil {
				t.Errorf("a log directory has an error: %s", *d.Error)
			}
			for _, p := range d.Partitions {
				total, partitions = total+p.Size, partitions+1
			}
		}
	}
	if partitions != 3 || total < records*size || total > records*size*3/2 {
		t.Errorf("%d bytes in %d partitions:\n%s", total, partitions, out)
	}
	dumpIsValid(t, topic, 3, records)
}

// TestJavaDumpsEverySegment has kafka-dump-log read the segment files of a topic
// that each client wrote to with each codec.
func TestJavaDumpsEverySegment(t *testing.T) {
	topic := topicName("dump")
	check(t, franz{}.create(timeout(t), topic, 1, map[string]string{"segment.bytes": "1048576"}))
	records := 0
	for _, l := range libraries {
		for _, codec := range codecs {
			check(t, l.client.produce(timeout(t), topic, codec, samples()))
			records += len(samples())
		}
	}
	dumpIsValid(t, topic, 1, records)
}

var dumpedBatch = regexp.MustCompile(`(?m)^baseOffset: \d+ .*count: (\d+) .*isvalid: (true|false)`)

// dumpIsValid has kafka-dump-log read all segments of a topic: it must find
// every batch valid and every record there.
func dumpIsValid(t *testing.T, topic string, partitions, records int) {
	t.Helper()
	var files []string
	for p := range partitions {
		found, err := filepath.Glob(filepath.Join(server.data, fmt.Sprintf("%s-%d", topic, p), "*.log"))
		check(t, err)
		files = append(files, found...)
	}
	if len(files) < partitions {
		t.Fatalf("%d segments of %d partitions in %s", len(files), partitions, server.data)
	}
	out := tool(t, "", tools+"DumpLogSegments", "--deep-iteration", "--files", strings.Join(files, ","))
	count := 0
	for _, m := range dumpedBatch.FindAllStringSubmatch(out, -1) {
		var n int
		if _, err := fmt.Sscan(m[1], &n); err != nil {
			t.Fatal(err)
		}
		if count += n; m[2] != "true" {
			t.Errorf("not valid: %s", m[0])
		}
	}
	if count != records || strings.Count(out, "| offset: ") != records {
		t.Errorf("%d records in batches and %d by themselves of %d, in %d segments:\n%.2000s", count, strings.Count(out, "| offset: "), records, len(files), out)
	}
	for _, trouble := range []string{"Found", "bytes at the end", "Non-consecutive", "Mismatches"} {
		if strings.Contains(out, trouble) {
			t.Errorf("%s… in:\n%.2000s", trouble, out)
		}
	}
}

// TestJavaAsksForVersions has Kafka's tool for it print what the broker supports.
func TestJavaAsksForVersions(t *testing.T) {
	have := ask(t, "", tools+"BrokerApiVersionsCommand")
	mustMatch(t, have, regexp.QuoteMeta(server.addr)+` \(id: 1 `, `Produce\(0\): 0 to \d+ \[usable: \d+\]`, `Fetch\(1\): \d+ to \d+ \[usable: \d+\]`, `ApiVersions\(18\): 0 to \d`)
}
