//go:build crash

package crash

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"understudy/integration/process"
	"understudy/messages/batch"
)

// fate is what must become of the partition that was damaged. Whatever it is:
// no byte that differs from what was acknowledged is ever served, and the other
// partitions are whole.
type fate int

const (
	repaired fate = iota // all records are there
	refused              // reading ends with an error, and the broker names file and place
	unready              // the broker does not start, and says why
)

// damage is one thing that happens to a data directory while its broker is down.
type damage struct {
	name  string
	do    func(t *testing.T, s *site)
	clean fate // after an orderly stop
	kill  fate // after kill -9
}

// site is the data directory that is damaged, and what was damaged in it.
type site struct {
	data  string   // the data directory
	dir   string   // the partition's directory
	old   string   // an old recovery checkpoint
	named []string // a refusal must name one of these
}

// log is a segment file of the partition, counted from the last when negative,
// and what is in it.
func (s *site) log(t *testing.T, n int) (file string, content []byte) {
	t.Helper()
	all := files(t, s.dir, ".log")
	if len(all) < 4 {
		t.Fatalf("only %d segments in %s", len(all), s.dir)
	}
	if n < 0 {
		n += len(all)
	}
	content, err := os.ReadFile(all[n])
	if err != nil {
		t.Fatal(err)
	}
	s.named = []string{filepath.Base(all[n])}
	if n > 0 {
		// What is missing at a segment's beginning may be told as the end of the one before.
		s.named = append(s.named, filepath.Base(all[n-1]))
	}
	return all[n], content
}

// used is how many bytes of a segment hold batches; the rest may be preallocated.
func used(content []byte) int {
	rest := content
	for {
		b, more, err := batch.Next(rest)
		if err != nil || b.Magic() != 2 {
			return len(content) - len(rest)
		}
		rest = more
	}
}

// lastBatch is where the last batch of a segment begins.
func lastBatch(content []byte) int {
	at := 0
	for {
		b, _, err := batch.Next(content[at:])
		if err != nil || at+b.Size() >= used(content) {
			return at
		}
		at += b.Size()
	}
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit of a segment.
func flip(segment int, place func(content []byte) int) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		file, content := s.log(t, segment)
		content[place(content)] ^= 0x10
		write(t, file, content)
	}
}

// cut shortens a segment.
func cut(segment int, to func(content []byte) int) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		file, content := s.log(t, segment)
		write(t, file, content[:to(content)])
	}
}

// add appends to a segment after its last batch.
func add(segment int, what []byte) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		file, content := s.log(t, segment)
		write(t, file, append(content[:used(content)], what...))
	}
}

func removeSegment(segment int) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		file, _ := s.log(t, segment)
		remove(t, file)
	}
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// removeAll removes all of the partition's files with an ending.
func removeAll(ending string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) { remove(t, files(t, s.dir, ending)...) }
}

// scramble puts nonsense into all of the partition's files with an ending.
func scramble(ending string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		for _, file := range files(t, s.dir, ending) {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, bytes.Repeat([]byte{0xa7, 0x03, 0x5c}, int(info.Size()/3)+1)[:info.Size()])
		}
	}
}

func middle(content []byte) int    { return used(content) / 2 }
func inHeader(content []byte) int  { return lastBatch(content)/2 - lastBatch(content)/2%4 }
func lengthOf(content []byte) int  { return lastBatch(content) + 10 }
func baseOf(content []byte) int    { return lastBatch(content) + 6 }
func epochOf(content []byte) int   { return lastBatch(content) + 12 }
func inLast(content []byte) int    { return lastBatch(content) + 100 }
func tornTail(content []byte) int  { return used(content) - 10 }
func wholeTail(content []byte) int { return lastBatch(content) }

var damages = []damage{
	{"bit flipped in an old segment", flip(1, middle), refused, refused},
	{"bit flipped somewhere in the first segment", flip(0, inHeader), refused, refused},
	{"bit flipped in the last batch", flip(-1, inLast), refused, refused},
	{"bit flipped in the length of the last batch", flip(-1, lengthOf), refused, refused},
	{"bit flipped in the base offset of the last batch", flip(-1, baseOf), refused, refused},
	{"bit flipped in the leader epoch of the last batch", flip(-1, epochOf), refused, refused},
	{"tail cut off within a batch", cut(-1, tornTail), refused, refused},
	{"tail cut off between batches", cut(-1, wholeTail), refused, refused},
	{"last segment emptied", cut(-1, func([]byte) int { return 0 }), refused, refused},
	{"tail of an old segment cut off", cut(1, tornTail), refused, refused},
	{"old segment lost", removeSegment(1), refused, refused},
	{"first segment lost", removeSegment(0), refused, refused},
	{"last segment lost", removeSegment(-1), refused, refused},
	{"garbage after the last batch", add(-1, bytes.Repeat([]byte("garbage"), 100)), repaired, repaired},
	{"zeros after the last batch", add(-1, make([]byte, 5000)), repaired, repaired},
	{"half a header after the last batch", add(-1, make([]byte, 30)), repaired, repaired},
	{"partition's directory lost", func(t *testing.T, s *site) { remove(t, s.dir); s.named = []string{filepath.Base(s.dir)} }, refused, refused},
	{"offset indexes lost", removeAll(".index"), repaired, repaired},
	{"time indexes lost", removeAll(".timeindex"), repaired, repaired},
	{"offset indexes scrambled", scramble(".index"), repaired, repaired},
	{"time indexes scrambled", scramble(".timeindex"), repaired, repaired},
	{"producer snapshots lost", removeAll(".snapshot"), repaired, repaired},
	{"producer snapshots scrambled", scramble(".snapshot"), repaired, repaired},
	{"leader epochs lost", removeAll("leader-epoch-checkpoint"), repaired, repaired},
	{"leader epochs scrambled", scramble("leader-epoch-checkpoint"), repaired, repaired},
	{"durable mark lost", removeAll("durable-offset"), repaired, repaired},
	{"recovery checkpoint lost", func(t *testing.T, s *site) { remove(t, filepath.Join(s.data, checkpointFile)) }, repaired, repaired},
	{"recovery checkpoint scrambled", func(t *testing.T, s *site) {
		write(t, filepath.Join(s.data, checkpointFile), []byte("nonsense"))
	}, repaired, repaired},
	{"recovery checkpoint emptied", func(t *testing.T, s *site) { write(t, filepath.Join(s.data, checkpointFile), nil) }, repaired, repaired},
	{"everything derived lost", func(t *testing.T, s *site) {
		for _, ending := range []string{".index", ".timeindex", ".snapshot", "leader-epoch-checkpoint", "durable-offset"} {
			removeAll(ending)(t, s)
		}
		remove(t, filepath.Join(s.data, checkpointFile))
	}, repaired, repaired},
	{"metadata lost", func(t *testing.T, s *site) {
		remove(t, filepath.Join(s.data, "metadata"))
		s.named = []string{"metadata"}
	}, unready, unready},
}

// TestDamageWhileDown does each damage to a copy of a data directory, starts a
// broker on it and reads everything.
func TestDamageWhileDown(t *testing.T) {
	p := prepare(t)
	for _, d := range damages {
		t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) {
			t.Run("clean", func(t *testing.T) { suffer(t, p.clean, p.old, d, d.clean) })
			t.Run("killed", func(t *testing.T) { suffer(t, p.killed, p.old, d, d.kill) })
		})
	}
}

// TestOldCheckpoint starts a broker that was killed on a recovery checkpoint
// from long before: it is true still, and only makes for a longer recovery.
func TestOldCheckpoint(t *testing.T) {
	p := prepare(t)
	suffer(t, p.killed, p.old, damage{do: func(t *testing.T, s *site) {
		copyFile(t, s.old, filepath.Join(s.data, checkpointFile))
	}}, repaired)
}

func suffer(t *testing.T, from, old string, d damage, want fate) {
	t.Helper()
	s := &site{data: filepath.Join(t.TempDir(), "data"), old: old}
	copyDir(t, from, s.data)
	s.dir = filepath.Join(s.data, damagedTopic+"-1")
	d.do(t, s)
	b, err := process.Start(t.Context(), process.Options{DataDir: s.data})
	if want == unready {
		if err == nil {
			b.Kill()
			t.Fatal("the broker started")
		}
		if !strings.Contains(err.Error(), s.named[0]) {
			t.Errorf("the broker does not name %s: %v", s.named[0], err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		b.Kill()
		if t.Failed() {
			t.Logf("the broker said:\n%s", b.Log())
		}
	}()
	judgeServing(t, b, s, want)
}

// judgeServing reads all partitions of a broker on a damaged directory.
func judgeServing(t *testing.T, b *process.Broker, s *site, want fate) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), drainTimeout)
	defer cancel()
	r := newReader(t, b.Addr())
	for _, sibling := range []int32{0, 2} {
		if next, err := r.readAll(ctx, sibling, 0); err != nil || next != recordsEach {
			t.Errorf("partition %d, which is whole, was read up to %d: %v", sibling, next, err)
		}
	}
	next, err := r.readAll(ctx, 1, 0)
	switch {
	case errors.Is(err, errServed):
		t.Errorf("after offset %d: %v", next, err)
	case want == repaired && (err != nil || next != recordsEach):
		t.Errorf("it was read up to %d of %d: %v", next, recordsEach, err)
	case want == refused && err == nil:
		t.Errorf("it was read up to %d of %d without an error", next, recordsEach)
	case want == refused:
		t.Logf("up to %d, then: %v", next, err)
		namesThePlace(t, b, s)
	case want == repaired:
		lookups(t, ctx, b, r)
		goOn(t, b)
	}
	everythingElse(t, ctx, r)
}

// namesThePlace checks that the broker says which file is bad, and where.
func namesThePlace(t *testing.T, b *process.Broker, s *site) {
	t.Helper()
	said := complaints(t, b)
	place := regexp.MustCompile(`(offset|position|at|byte)s? \d+|has \d+ bytes|no such file`)
	for line := range strings.Lines(said) {
		named := slices.ContainsFunc(s.named, func(name string) bool { return strings.Contains(line, name) })
		if named && place.MatchString(line) && !strings.Contains(line, "ready: kafka") {
			return
		}
	}
	t.Errorf("the broker names no place in %s:\n%s", s.named[0], said)
}

// lookups checks that a repaired partition finds offsets and times.
func lookups(t *testing.T, ctx context.Context, b *process.Broker, r *reader) {
	t.Helper()
	for from := int64(0); from < recordsEach; from += 97 {
		batches, _, err := r.fetch(ctx, 1, from)
		if err != nil || len(batches) == 0 || batches[0].BaseOffset() > from || batches[0].LastOffset() < from {
			t.Fatalf("fetch from offset %d: %d batches, %v", from, len(batches), err)
		}
	}
	admin := kadm.NewClient(r.cl)
	for want := int64(3); want < recordsEach; want += 311 {
		listed, err := admin.ListOffsetsAfterMilli(ctx, firstTime+timeStep*want-5, damagedTopic)
		if err != nil {
			t.Fatal(err)
		}
		if at, _ := listed.Lookup(damagedTopic, 1); at.Err != nil || at.Offset != want {
			t.Fatalf("time %d is at offset %d (%v), want %d", firstTime+timeStep*want-5, at.Offset, at.Err, want)
		}
	}
}

// goOn checks that a repaired partition takes writes where it left off.
func goOn(t *testing.T, b *process.Broker) {
	t.Helper()
	writeDamaged(t, b.Addr(), recordsEach, recordsEach+10)
	for p, end := range endOffsets(t, b.Addr(), damagedTopic) {
		if end != recordsEach+10 {
			t.Errorf("partition %d ends at %d, want %d", p, end, recordsEach+10)
		}
	}
}

// everythingElse reads a damaged partition from places after the damage: what
// is given there must be right, too.
func everythingElse(t *testing.T, ctx context.Context, r *reader) {
	t.Helper()
	for from := int64(0); from < recordsEach; from += 250 {
		if next, err := r.readAll(ctx, 1, from); errors.Is(err, errServed) {
			t.Errorf("reading from %d, after offset %d: %v", from, next, err)
		}
	}
}
