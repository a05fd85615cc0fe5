//go:build crash

package crash

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/process"
)

// wrapped is a program that runs the binary after a beginning in the shell's language.
func wrapped(t *testing.T, beginning string) (program string) {
	t.Helper()
	binary, err := process.Build()
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(t.TempDir(), "understudy-wrapped")
	script := fmt.Sprintf("#!/bin/sh\n%s '%s' \"$@\"\n", beginning, binary)
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

// TestDiskTakesNoMore has the system refuse a partition's writes in the middle
// of a load. The producer is told, the other partitions go on, and what was
// acknowledged is there when the broker is started without the limit.
func TestDiskTakesNoMore(t *testing.T) {
	data := t.TempDir()
	b := process.Test(t, process.Options{DataDir: data, Binary: wrapped(t, "ulimit -f 8192 && exec")}) // 4 MiB a file
	createTopic(t, b.Addr(), "full", 1, nil)
	createTopic(t, b.Addr(), "sibling", 1, nil)

	value := strings.Repeat("0123456789abcdef", 1<<10)
	acked := fill(t, b, value)
	if acked == 0 || acked*int64(len(value)) > 4<<20 {
		t.Fatalf("%d records of 16 KiB were acknowledged with files of at most 4 MiB", acked)
	}
	if said := complaints(t, b); !strings.Contains(said, "full-0") || !strings.Contains(said, "too large") {
		t.Errorf("the broker does not say that full-0 has failed, and why:\n%s", said)
	}
	produceOne(t, b, "sibling", "still alive")
	b.Kill()

	b = process.Test(t, process.Options{DataDir: data})
	produceOne(t, b, "full", "after")
	ends := endOffsets(t, b.Addr(), "full")
	if ends[0] <= acked {
		t.Errorf("%d records are left of %d and one more", ends[0], acked)
	}
	ctx, cancel := context.WithTimeout(t.Context(), drainTimeout)
	defer cancel()
	cl := newClient(t, b.Addr(), fromStart("full", 1))
	for next := int64(0); next < ends[0]; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for r := range fetches.RecordsAll() {
			if r.Offset != next || r.Offset < acked && string(r.Value) != value {
				t.Fatalf("offset %d instead of %d: %.20q", r.Offset, next, r.Value)
			}
			next++
		}
	}
}

// maxRounds bounds how many times some more records are waited for.
const maxRounds = 1000

// TestSyncsFail has the system answer every tenth fdatasync of each thread
// with an error, under load, and then kills the broker. Nothing is acknowledged
// on the strength of a sync that failed, and a producer that repeats itself is
// not written twice.
func TestSyncsFail(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is not installed: ", err)
	}
	// -D: the broker, not strace, is our child.
	b := process.Test(t, process.Options{DataDir: t.TempDir(), Binary: wrapped(t,
		"exec strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=fdatasync -e inject=fdatasync:error=EIO:when=10+10")})
	w := newWorkload(b.Addr())
	createTopic(t, b.Addr(), w.topic, partitions, nil)
	w.start(t, 4, idempotentOpts)
	for rounds := 0; !strings.Contains(b.Log(), "input/output error"); rounds++ {
		if rounds == maxRounds {
			t.Fatalf("no sync was made to fail, and the broker said:\n%s", b.Log())
		}
		w.awaitAcks(t) // a thread's first nine syncs are sound
	}
	w.awaitAcks(t)
	b.Kill()

	sound, err := process.Start(t.Context(), process.Options{DataDir: b.DataDir(), Listen: b.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sound.Kill)
	w.awaitAcks(t)
	w.finish(t)
	w.judge(t, nil)
}

// fill produces until the broker refuses, and returns how many records it acknowledged.
func fill(t *testing.T, b *process.Broker, value string) (acked int64) {
	t.Helper()
	cl := newClient(t, b.Addr(), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1), kgo.RecordRetries(2),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MetadataMinAge(10*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }))
	defer cl.Close()
	for range 10_000 {
		result := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "full", Value: []byte(value)})
		if err := result.FirstErr(); err != nil {
			t.Logf("after %d records: %v", acked, err)
			return acked
		}
		acked++
	}
	t.Fatal("the limit was never reached")
	return acked
}

func produceOne(t *testing.T, b *process.Broker, topic, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), drainTimeout)
	defer cancel()
	cl := newClient(t, b.Addr())
	defer cl.Close()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		t.Errorf("into %s: %v", topic, err)
	}
}
