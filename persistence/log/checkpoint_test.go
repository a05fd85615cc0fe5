package log

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"testing"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

func someCheckpoints() map[string]Checkpoint {
	return map[string]Checkpoint{
		"a/orders-3": {
			Clean: true, Generation: 3, Start: 5, End: 1 << 40, Recovery: 77, Segment: 70, Position: 1 << 30, Snapshot: 70,
			Segments: []segment.Info{{Base: 0, Size: 9, MaxTimestamp: -1, MaxOffset: -1, First: -1}, {Base: 70, Size: 1 << 31, MaxTimestamp: 1_700_000_000_000, MaxOffset: 99, First: 1}},
			Epochs:   []replica.EpochStart{{Epoch: 0, Start: 0}, {Epoch: 7, Start: 70}},
		},
		"b": {Snapshot: messages.NoOffset, Segments: []segment.Info{}},
	}
}

func TestCheckpointFile(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	if _, _, err := ReadCheckpoints(disk, "checkpoints"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	want := someCheckpoints()
	for range 2 {
		if err := WriteCheckpoints(disk, "checkpoints", 1, want); err != nil {
			t.Fatal(err)
		}
		_, got, err := ReadCheckpoints(disk, "checkpoints")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	content, err := vfs.ReadFile(disk, "checkpoints", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(content) * 8 {
		change(t, disk, "checkpoints", flip(bit))
		if _, _, err := ReadCheckpoints(disk, "checkpoints"); messages.KindOf(err) != messages.CorruptMessage {
			t.Fatalf("bit %d: %v", bit, err)
		}
		change(t, disk, "checkpoints", flip(bit))
	}
}

func TestContradictoryCheckpointsAreRefused(t *testing.T) {
	for _, c := range []Checkpoint{
		{Start: -1},
		{Start: 5, End: 4},
		{Start: 0, End: 4},
		{Start: 0, End: 4, Segments: []segment.Info{{Base: 1, Size: 9}}},
		{Start: 0, End: 4, Segments: []segment.Info{{Base: 0, Size: 9}, {Base: 0, Size: 9}}},
		{Start: 0, End: 4, Segments: []segment.Info{{Base: 0, Size: 9}, {Base: 5, Size: 9}}},
	} {
		c.Clean = true
		if _, err := Open(quiet(vfs.NewMem(vfs.MemOptions{})), &c); messages.KindOf(err) != messages.CorruptMessage {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestStateRoundTripAndFloor(t *testing.T) {
	s := state{start: 12}
	for _, to := range []messages.Offset{100, 400, 300, -1, 50, 60} {
		s = s.truncated(to)
		read, err := decodeState(s.encode())
		if err != nil || !reflect.DeepEqual(read, s) {
			t.Fatalf("%+v, %v", read, err)
		}
	}
	for generation, want := range map[uint64]messages.Offset{0: -1, 3: -1, 4: 50, 5: 60} {
		if floor, ok := s.floor(generation); !ok || floor != want {
			t.Errorf("floor of generation %d is %d, want %d", generation, floor, want)
		}
	}
	if _, ok := s.floor(6); ok {
		t.Error("nothing was truncated since")
	}
	for i := range int64(100) { // the list stays short, and never claims too much
		s = s.truncated(1000 + i)
	}
	if floor, _ := s.floor(50); len(s.cuts) > maxCuts || floor > 1000+44 {
		t.Errorf("%d cuts, floor %d", len(s.cuts), floor)
	}
}

func FuzzDecode(f *testing.F) {
	disk := vfs.NewMem(vfs.MemOptions{})
	if err := WriteCheckpoints(disk, "c", 1, someCheckpoints()); err != nil {
		f.Fatal(err)
	}
	content, _ := vfs.ReadFile(disk, "c", 1<<20)
	f.Add(content[checkpointHead:])
	f.Add([]byte("log-state 1\nstart 4\ngeneration 2\ncut 1 5\n"))
	f.Add([]byte("0\n2\n1 0\n4 40\n"))
	f.Add(mark{1, 2, 1, 4}.appendTo(nil, 5))
	f.Fuzz(func(t *testing.T, content []byte) {
		r := fields{rest: content}
		for range 3 {
			readCheckpoint(&r)
		}
		if _, _, err := decodeCheckpoints(content); err == nil && len(content) < checkpointHead {
			t.Fatal("no error")
		}
		_, _ = decodeState(content)
		if epochs, err := decodeEpochs(content); err == nil {
			again, err := decodeEpochs(encodeEpochs(epochs))
			if err != nil || len(again) != len(epochs) {
				t.Fatal(epochs, again, err)
			}
		}
		decodeMark(content)
	})
}

// FuzzRecover opens a log whose segment goes on, behind what was durable, with any
// bytes. It must end up with the durable records and perhaps more, all valid.
func FuzzRecover(f *testing.F) {
	m := newMaker()
	first := m.batches(2, 2)
	tail := join2(m.batches(2, 1))
	f.Add(tail, true)
	f.Add(tail[:70], false)
	f.Add(append(make([]byte, 100), tail...), true)
	f.Fuzz(func(t *testing.T, tail []byte, known bool) {
		o := quiet(vfs.NewMem(vfs.MemOptions{}))
		l := open(t, o, nil)
		appendAll(t, l, first...)
		flushed(t, l)
		c := l.Checkpoint()
		l.Close(false)
		change(t, o.FS, fileName(0, ".log"), func(b []byte) []byte { return append(b, tail...) })
		checkpoint := &c
		if !known {
			checkpoint = nil
		}
		l = open(t, o, checkpoint)
		got := readAll(t, l.Publish(l.End()), 1<<20)
		if l.End() < c.Recovery || string(got[:c.Position]) != string(join2(first)) {
			t.Fatalf("ends at %d", l.End())
		}
		l.Producers()
		if l.Err() != nil {
			t.Fatal(l.Err())
		}
	})
}

// FuzzIndexFiles opens a log whose index files hold any bytes.
func FuzzIndexFiles(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 200}, []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, offsets, times []byte) {
		o := quiet(vfs.NewMem(vfs.MemOptions{}))
		o.Settings.IndexIntervalBytes = 1
		l := open(t, o, nil)
		m := newMaker()
		var written []batch.Batch
		for range 12 {
			written = append(written, m.batch(2))
		}
		appendAll(t, l, written...)
		if err := l.Close(true); err != nil {
			t.Fatal(err)
		}
		c := l.Checkpoint()
		for name, content := range map[string][]byte{".index": offsets, ".timeindex": times} {
			change(t, o.FS, fileName(0, name), func([]byte) []byte { return content })
		}
		l = open(t, o, &c)
		wantBytes(t, l, written)
		wantTimes(t, l, written)
	})
}

func TestKeysTellEntriesApart(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	many := map[string]Checkpoint{}
	for i := range 1000 {
		many[fmt.Sprint("topic-", i)] = Checkpoint{End: int64(i), Start: int64(i), Segments: []segment.Info{}}
	}
	if err := WriteCheckpoints(disk, "c", 1, many); err != nil {
		t.Fatal(err)
	}
	_, got, err := ReadCheckpoints(disk, "c")
	if err != nil || !maps.EqualFunc(got, many, func(a, b Checkpoint) bool { return reflect.DeepEqual(a, b) }) {
		t.Fatal(err)
	}
}

// TestACleanOpeningKeepsTheTruncations changes a log that was opened by a clean
// checkpoint. What was claimed before its truncations is void as ever: by an older
// checkpoint, or by the mark, which is older than an empty log that was closed.
func TestACleanOpeningKeepsTheTruncations(t *testing.T) {
	truncations := map[string]func(l *Log) error{
		"some": func(l *Log) error { return l.Truncate(25) },
		"all":  func(l *Log) error { return l.TruncateAll(20) },
	}
	for name, truncate := range truncations {
		disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
		l, m := open(t, quiet(disk), nil), newMaker()
		appendAll(t, l, m.batches(10, 5)...)
		flushed(t, l)
		old := l.Checkpoint()
		disk = disk.Cut(vfs.LoseNone, nil) // all that is written reaches the disk some time
		l = open(t, quiet(disk), &old)
		if err := errors.Join(truncate(l), l.Close(true)); err != nil {
			t.Fatal(err)
		}
		c := l.Checkpoint()
		l = open(t, quiet(disk), &c)
		m.next, m.epoch = l.End(), 1
		appendAll(t, l, m.batches(2, 5)...)
		flushed(t, l)
		if err := l.SetStart(22); err != nil {
			t.Fatal(err)
		}
		c = l.Checkpoint()
		disk = disk.Cut(vfs.LoseAll, nil)
		for _, c := range []*Checkpoint{&c, &old} {
			l, err := Open(quiet(disk), c)
			if err != nil || l.End() != m.next {
				t.Fatalf("%s: %v", name, err)
			}
			l.Close(false)
		}
	}
}
