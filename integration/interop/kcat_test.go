package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// kcat runs kcat, which is librdkafka, and returns what it prints.
func kcat(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(timeout(t), "kcat", append([]string{"-b", server.addr}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil || bytes.Contains(errs.Bytes(), []byte("ERROR")) {
		t.Fatalf("kcat %s: %v\n%s", strings.Join(args, " "), err, &errs)
	}
	return out.String()
}

// kcatRead reads a partition from a place to its end. Each field is printed with
// its length before it, so that any bytes come through.
func kcatRead(t *testing.T, topic, from string) []record {
	t.Helper()
	return kcatRecords(t, kcat(t, "", "-C", "-q", "-e", "-t", topic, "-p", "0", "-o", from, "-f", `%o %T %K %S\n%k%s%h\n`))
}

// kcatRecords reads "OFFSET TIME KEYLENGTH VALUELENGTH\nKEYVALUEname=value,…\n" as often as it comes.
func kcatRecords(t *testing.T, out string) (records []record) {
	t.Helper()
	for out != "" {
		head, rest, _ := strings.Cut(out, "\n")
		var offset, millis int64
		var key, value int
		if _, err := fmt.Sscan(head, &offset, &millis, &key, &value); err != nil {
			t.Fatalf("%q: %v", head, err)
		}
		r := record{offset: offset, time: time.UnixMilli(millis)}
		r.key, rest = take(rest, key)
		r.value, rest = take(rest, value)
		if r.headers, rest = kcatHeaders(rest); !strings.HasPrefix(rest, "\n") {
			t.Fatalf("after %v: %.40q", r, rest)
		}
		records, out = append(records, r), rest[1:]
	}
	return records
}

// take splits so many bytes off; -1 is a null.
func take(s string, n int) ([]byte, string) {
	if n < 0 {
		return nil, s
	}
	return []byte(s[:n]), s[n:]
}

// kcatHeaders reads the headers that samples have, which kcat prints unquoted.
func kcatHeaders(s string) ([]header, string) {
	for _, r := range append(samples(), asHeldBy(partial{}, samples())...) {
		var printed []string
		for _, h := range r.headers {
			printed = append(printed, h.name+"="+string(h.value))
		}
		if text := strings.Join(printed, ","); text != "" && strings.HasPrefix(s, text) {
			return r.headers, s[len(text):]
		}
	}
	return nil, s
}

func TestKcatProduces(t *testing.T) {
	feature(t, "kcat", everyCodec)
	feature(t, "kcat", idempotence)
	for _, codec := range codecs {
		for _, idempotence := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/idempotent=%v", codec, idempotence), func(t *testing.T) {
				topic := topicName("kcat")
				check(t, franz{}.create(timeout(t), topic, 1, nil))
				var in strings.Builder
				for i := range 1000 {
					fmt.Fprintf(&in, "k%d:some value %d\n", i, i)
				}
				// A NULL key, an empty value that -Z makes null.
				in.WriteString(":no key\nno value:\n")
				kcat(t, in.String(), "-P", "-t", topic, "-p", "0", "-K", ":", "-Z", "-z", codec, "-H", "a=1", "-H", "b=2",
					"-X", "linger.ms=200", "-X", "enable.idempotence="+strconv.FormatBool(idempotence), "-X", "acks=all")
				mustBeBatches(t, topic, codec)
				have, err := franz{}.consume(timeout(t), topic, fromStart, 1002)
				check(t, err)
				for i, r := range have[:1000] {
					if string(r.key) != fmt.Sprint("k", i) || string(r.value) != fmt.Sprint("some value ", i) || len(r.headers) != 2 || string(r.headers[1].value) != "2" {
						t.Fatalf("record %d is %v", i, r)
					}
				}
				if have[1000].key != nil || have[1001].value != nil {
					t.Errorf("have %v and %v, want a null key and a null value", have[1000], have[1001])
				}
			})
		}
	}
}

// TestKcatConsumes reads from everywhere that kcat can begin.
func TestKcatConsumes(t *testing.T) {
	feature(t, "kcat", fromATime)
	topic, sent := topicName("kcat-consume"), samples()
	check(t, franz{}.create(timeout(t), topic, 1, nil))
	check(t, franz{}.produce(timeout(t), topic, "zstd", sent))
	for from, want := range map[string][]record{
		"beginning": sent,
		"end":       nil,
		"13":        sent[13:],
		"-5":        sent[15:], // the last five
		fmt.Sprintf("s@%d", sent[7].time.UnixMilli()): sent[7:],
	} {
		mustEqual(t, kcatRead(t, topic, from), want)
	}
	if out := kcat(t, "", "-Q", "-t", fmt.Sprintf("%s:0:%d", topic, sent[7].time.UnixMilli()), "-t", topic+":0:-1"); !strings.Contains(out, "offset 7") && !strings.Contains(out, "offset 20") {
		t.Errorf("have %q", out)
	}
}

func TestKcatLargeMessage(t *testing.T) {
	feature(t, "kcat", largeMessages)
	topic := topicName("kcat-large")
	check(t, franz{}.create(timeout(t), topic, 1, map[string]string{"max.message.bytes": "10000000"}))
	large := strings.Repeat("0123456789abcdef", 8<<20/16)
	kcat(t, large, "-P", "-t", topic, "-X", "message.max.bytes=16000000")
	if have := kcat(t, "", "-C", "-q", "-e", "-t", topic, "-f", "%s"); have != large {
		t.Errorf("%d bytes came back of %d", len(have), len(large))
	}
}

// TestKcatLists asks for metadata, and makes a topic by asking for it.
func TestKcatLists(t *testing.T) {
	topic := topicName("kcat-made-by-producing")
	kcat(t, "hello\n", "-P", "-t", topic, "-X", "topic.metadata.propagation.max.ms=30000")
	var listed struct {
		Brokers []struct {
			ID   int
			Name string
		}
		Topics []struct {
			Topic      string
			Partitions []struct{ Partition, Leader int }
		}
	}
	if err := json.Unmarshal([]byte(kcat(t, "", "-L", "-J", "-t", topic)), &listed); err != nil {
		t.Fatal(err)
	}
	if len(listed.Brokers) != 1 || listed.Brokers[0].Name != server.addr || len(listed.Topics) != 1 || len(listed.Topics[0].Partitions) != 1 || listed.Topics[0].Partitions[0].Leader != listed.Brokers[0].ID {
		t.Errorf("have %+v", listed)
	}
}

// TestKcatAcks produces with each kind of acknowledgement. Without any, only
// reading tells when the records are there.
func TestKcatAcks(t *testing.T) {
	for _, acks := range []string{"0", "1", "all"} {
		topic := topicName("kcat-acks-" + acks)
		check(t, franz{}.create(timeout(t), topic, 1, nil))
		kcat(t, strings.Repeat("line\n", 1000), "-P", "-t", topic, "-X", "acks="+acks)
		if have := kcat(t, "", "-C", "-q", "-t", topic, "-c", "1000"); have != strings.Repeat("line\n", 1000) {
			t.Errorf("acks=%s: %d bytes came back", acks, len(have))
		}
	}
}

// TestKcatOfLongAgo speaks as clients did before Kafka 0.10, whose format for
// messages is no longer taken: it must be told so, and not wait for ever.
func TestKcatOfLongAgo(t *testing.T) {
	topic := topicName("kcat-of-long-ago")
	check(t, franz{}.create(timeout(t), topic, 1, nil))
	cmd := exec.CommandContext(timeout(t), "kcat", "-P", "-b", server.addr, "-t", topic,
		"-X", "api.version.request=false", "-X", "broker.version.fallback=0.9.0.1", "-X", "message.timeout.ms=20000")
	cmd.Stdin = strings.NewReader("from the past\n")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("it was taken")
	}
	if os.Getenv(referenceEnv) == "" && !strings.Contains(string(out), "Message format on broker does not support request") {
		t.Errorf("it was told: %s", out)
	}
	if _, end, err := (franz{}).bounds(timeout(t), topic); err != nil || end != 0 {
		t.Errorf("the topic ends at %d (%v)", end, err)
	}
}
