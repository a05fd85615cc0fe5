package log

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// stopped is a log whose broker was killed, with everything durable, and its
// records.
func stopped(t testing.TB) (o Options, c Checkpoint, written []batch.Batch) {
	t.Helper()
	o = quiet(vfs.NewMem(vfs.MemOptions{}))
	o.Settings.SegmentBytes = 6000
	l := open(t, o, nil)
	m := newMaker()
	m.producer = 7
	for i := range 10 {
		m.epoch = int32(i / 3)
		written = append(written, m.batches(4, 3)...)
		appendAll(t, l, written[len(written)-4:]...)
		flushed(t, l)
		if i == 6 {
			c = l.Checkpoint()
		}
	}
	if len(l.segs) < 3 || len(c.Segments) < 2 || c.Segments[1].Base >= l.active().Base() {
		t.Fatal("too few segments")
	}
	l.Close(false)
	return o, c, written
}

func fileName(base messages.Offset, suffix string) string {
	return orders.String() + "/" + segment.Name(base, suffix)
}

// change reads a file, changes it and writes it back.
func change(t testing.TB, fs vfs.FS, name string, how func([]byte) []byte) {
	t.Helper()
	content, err := vfs.ReadFile(fs, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(how(content), 0); err != nil {
		t.Fatal(err)
	}
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[at/8] ^= 1 << (at % 8)
		return b
	}
}

// bases lists the segments of a directory.
func bases(t testing.TB, fs vfs.FS) (bases []messages.Offset, sizes []int64) {
	t.Helper()
	entries, err := fs.ReadDir(orders.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if base, suffix, ok := segment.ParseName(e.Name); ok && suffix == segment.LogSuffix {
			bases, sizes = append(bases, base), append(sizes, e.Size)
		}
	}
	return bases, sizes
}

// TestFlippedBitsAreNeverServed flips single bits of the log. Whatever is read
// afterwards is what was written; and either it is all there, or an error names
// the file.
func TestFlippedBitsAreNeverServed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for round := range 300 {
		o, c, written := stopped(t)
		all, sizes := bases(t, o.FS)
		i := rnd.IntN(len(all))
		bit := rnd.IntN(int(sizes[i]) * 8)
		change(t, o.FS, fileName(all[i], ".log"), flip(bit))
		for _, known := range []*Checkpoint{&c, nil} {
			l, err := Open(o, known)
			if err == nil {
				err = sameOrError(t, l, written)
				if again := sameOrError(t, l, written); (err == nil) != (again == nil) {
					t.Fatalf("round %d: read once it is %v, read again %v", round, err, again)
				}
				l.Close(false)
			}
			// A leader epoch that is too high is noticed by the batch after it.
			if err != nil && !strings.Contains(err.Error(), fileName(all[i], ".log at")) && !strings.Contains(err.Error(), "after epoch") {
				t.Fatalf("round %d, checkpoint %t: %v does not name the file", round, known != nil, err)
			}
			if err == nil && known == nil {
				t.Fatalf("round %d: bit %d of segment %d, nothing was noticed", round, bit, all[i])
			}
		}
	}
}

// sameOrError reads everything and compares what it gets with what was written.
func sameOrError(t *testing.T, l *Log, written []batch.Batch) error {
	t.Helper()
	if l.End() != written[len(written)-1].NextOffset() {
		t.Fatalf("ends at %d without an error", l.End())
	}
	v := l.Publish(l.End())
	var failed error
	for _, b := range written {
		s, err := v.Read(b.BaseOffset(), 1, true)
		if err != nil {
			failed = err
			continue
		}
		got, err := s.Bytes(nil)
		s.Release()
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(b) {
			t.Fatalf("other bytes at %d", b.BaseOffset())
		}
	}
	return failed
}

// TestNothingIsPassedOverForDamage turns each bit of each batch's header, and reads at
// each offset below each high watermark. What comes is the batch that was written
// there, or an error: never nothing, or one that is further on.
func TestNothingIsPassedOverForDamage(t *testing.T) {
	o := quiet(vfs.NewMem(vfs.MemOptions{}))
	o.Settings.SegmentBytes = 1000
	m := newMaker()
	written := m.batches(6, 3)
	l := open(t, o, nil)
	for _, b := range written {
		appendAll(t, l, b)
		flushed(t, l)
	}
	c := l.Checkpoint()
	l.Close(false)
	all, _ := bases(t, o.FS)
	if len(all) < 3 {
		t.Fatal(len(all), "segments")
	}
	at := 0 // in the segment
	for _, b := range written {
		if slices.Contains(all, b.BaseOffset()) {
			at = 0
		}
		name := fileName(all[segmentAt(l.segs, b.BaseOffset())], ".log")
		for bit := range batch.HeaderSize * 8 {
			turn := flip(at*8 + bit)
			change(t, o.FS, name, turn)
			if damaged, err := Open(o, &c); err == nil {
				eachOrError(t, damaged, written)
				damaged.Close(false)
			}
			change(t, o.FS, name, turn)
			if t.Failed() {
				t.Fatalf("bit %d of the batch at %d", bit, b.BaseOffset())
			}
		}
		at += len(b)
	}
}

// TestProducersAreNotReadFromDamage turns each bit of the header of the last batch. What is known of producers then is what it was, or an error.
func TestProducersAreNotReadFromDamage(t *testing.T) {
	o, c, written := stopped(t)
	l := open(t, o, &c)
	want := slices.Collect(l.Producers().All())
	name, at := l.active().Path(), int(l.active().Size())-len(written[len(written)-1])
	l.Close(false)
	failed := 0
	for bit := range batch.HeaderSize * 8 {
		turn := flip(at*8 + bit)
		change(t, o.FS, name, turn)
		if l, err := Open(o, &c); err == nil {
			s, err := l.loadProducers()
			if err != nil {
				failed++
			} else if got := slices.Collect(s.All()); !slices.Equal(got, want) {
				t.Errorf("bit %d: %v, want %v", bit, got, want)
			}
			l.Close(false)
		}
		change(t, o.FS, name, turn)
	}
	if failed == 0 {
		t.Error("nothing was noticed")
	}
}

// eachOrError reads at each offset below each high watermark.
func eachOrError(t *testing.T, l *Log, written []batch.Batch) {
	for _, last := range written {
		v := l.Publish(last.NextOffset())
		for _, b := range written {
			for at := b.BaseOffset(); at < b.NextOffset() && at < v.HighWatermark; at++ {
				s, err := v.Read(at, 1, true)
				if err != nil {
					continue
				}
				if s == nil {
					t.Errorf("nothing at %d below %d", at, v.HighWatermark)
					continue
				}
				got, err := s.Bytes(nil)
				s.Release()
				if err != nil || string(got) != string(b) {
					t.Errorf("another batch at %d below %d: %v", at, v.HighWatermark, err)
				}
			}
		}
	}
}

func TestCutOffTailsAreMissed(t *testing.T) {
	o, _, written := stopped(t)
	all, sizes := bases(t, o.FS)
	last := len(all) - 1
	for _, cut := range []int64{1, 60, 61, sizes[last] - 1, sizes[last]} {
		for i := range all {
			if cut > sizes[i] {
				continue
			}
			o, c, _ := stopped(t)
			change(t, o.FS, fileName(all[i], ".log"), func(b []byte) []byte { return b[:int64(len(b))-cut] })
			for _, known := range []*Checkpoint{&c, nil} {
				_, err := Open(o, known)
				if kind := messages.KindOf(err); kind != messages.StorageError && kind != messages.CorruptMessage {
					t.Fatalf("segment %d without %d bytes, checkpoint %t: %v", all[i], cut, known != nil, err)
				}
				if !strings.Contains(err.Error(), segment.Name(all[i], ".log")) {
					t.Fatalf("%v does not name the file", err)
				}
			}
			o.AcceptLoss = true
			l := open(t, o, &c)
			if l.Report().Lost == nil || l.End() >= written[len(written)-1].NextOffset() {
				t.Fatalf("%+v", l.Report())
			}
			end := l.End()
			l.Close(false)
			o.AcceptLoss = false
			if l = open(t, o, &c); l.End() != end { // once accepted, it is gone
				t.Fatalf("ends at %d, before at %d", l.End(), end)
			}
		}
	}
}

func TestMissingSegmentsAreMissed(t *testing.T) {
	o, _, _ := stopped(t)
	all, _ := bases(t, o.FS)
	for i := range all {
		o, c, _ := stopped(t)
		if err := o.FS.Remove(fileName(all[i], ".log")); err != nil {
			t.Fatal(err)
		}
		for _, known := range []*Checkpoint{&c, nil} {
			if _, err := Open(o, known); messages.KindOf(err) != messages.StorageError {
				t.Fatalf("without segment %d, checkpoint %t: %v", all[i], known != nil, err)
			}
		}
	}
	o, c, _ := stopped(t)
	if err := o.FS.RemoveAll(o.Dir); err != nil {
		t.Fatal(err)
	}
	_, err := Open(o, &c)
	wantKind(t, err, messages.StorageError, "no segment has offset 0")
	o.AcceptLoss = true
	if l := open(t, o, &c); l.End() != c.Recovery {
		t.Fatalf("ends at %d", l.End()) // the offsets are not given out again
	}
}

// TestATornTailIsCut is what a loss of power leaves behind what was durable.
func TestATornTailIsCut(t *testing.T) {
	for torn := 1; torn < 700; torn += 23 {
		o := quiet(vfs.NewMem(vfs.MemOptions{PowerCuts: true}))
		l := open(t, o, nil)
		m := newMaker()
		written := m.batches(5, 3)
		appendAll(t, l, written...)
		flushed(t, l)
		c := l.Checkpoint()
		tail := join2(m.batches(2, 3))
		l.Close(false)
		name := fileName(0, ".log")
		change(t, o.FS, name, func(b []byte) []byte { return append(b, tail[:min(torn, len(tail)-1)]...) })
		for _, known := range []*Checkpoint{&c, nil} {
			l := open(t, o, known)
			if n := len(written[0]); torn < n && l.End() != written[4].NextOffset() {
				t.Fatalf("ends at %d", l.End())
			}
			if known != nil && (l.Report().File != name || l.Report().Cut == 0) {
				t.Fatalf("%+v", l.Report())
			}
			l.Close(false)
		}
	}
}

func TestLostAndWrongIndexesAreRepaired(t *testing.T) {
	garbage := map[string]func([]byte) []byte{
		"empty":   func([]byte) []byte { return nil },
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"half":    func(b []byte) []byte { return b[:max(len(b)-3, 0)] },
		"zeros":   func(b []byte) []byte { return make([]byte, len(b)) },
		"longer":  func(b []byte) []byte { return append(b, make([]byte, 24)...) },
		"ones":    func(b []byte) []byte { return []byte(strings.Repeat("\xff", len(b))) },
		"shifted": func(b []byte) []byte { return append([]byte{0}, b...) },
		"bit":     func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
	}
	for what, how := range garbage {
		for _, suffix := range []string{".index", ".timeindex", "both"} {
			for _, clean := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s %s clean=%t", what, suffix, clean), func(t *testing.T) {
					o, written, c := indexed(t, clean)
					all, _ := bases(t, o.FS)
					for _, base := range all {
						for _, s := range []string{".index", ".timeindex"} {
							if s == suffix || suffix == "both" {
								change(t, o.FS, fileName(base, s), how)
							}
						}
					}
					l := open(t, o, &c)
					wantBytes(t, l, written)
					wantTimes(t, l, written)
				})
			}
		}
	}
	t.Run("removed", func(t *testing.T) {
		o, written, c := indexed(t, true)
		all, _ := bases(t, o.FS)
		for _, base := range all {
			for _, s := range []string{".index", ".timeindex"} {
				if err := o.FS.Remove(fileName(base, s)); err != nil {
					t.Fatal(err)
				}
			}
		}
		l := open(t, o, &c)
		wantBytes(t, l, written)
		wantTimes(t, l, written)
	})
}

// indexed is a stopped log with dense indexes.
func indexed(t *testing.T, clean bool) (Options, []batch.Batch, Checkpoint) {
	t.Helper()
	o := quiet(vfs.NewMem(vfs.MemOptions{}))
	o.Settings.SegmentBytes, o.Settings.IndexIntervalBytes = 10_000, 1
	l := open(t, o, nil)
	m := newMaker()
	written := m.batches(60, 2)
	appendAll(t, l, written...)
	flushed(t, l)
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	c := l.Checkpoint()
	c.Clean = clean
	return o, written, c
}

func TestLostSnapshotIsReplayed(t *testing.T) {
	for _, how := range []func([]byte) []byte{
		func([]byte) []byte { return nil },
		flip(77),
		func(b []byte) []byte { return b[:len(b)-1] },
	} {
		o, c, written := stopped(t)
		want := history{batches: written}.producers()
		entries, err := o.FS.ReadDir(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name, snapshotSuffix) {
				change(t, o.FS, o.Dir+"/"+e.Name, how)
			}
		}
		got, _ := open(t, o, &c).Producers().MarshalBinary()
		if string(got) != string(want) {
			t.Fatal("other producers")
		}
	}
}

// TestASnapshotThatIsTooLongIsPassedOver is of those that were written before there was a
// bound for how many producers are known.
func TestASnapshotThatIsTooLongIsPassedOver(t *testing.T) {
	o, c, written := stopped(t)
	want := history{batches: written}.producers()
	l := open(t, o, &c)
	offsets, err := l.snapshots()
	if err != nil || len(offsets) == 0 {
		t.Fatal(offsets, err)
	}
	for _, at := range offsets {
		f, err := o.FS.Open(fileName(at, snapshotSuffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(maxSnapshot+1), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := l.Producers().MarshalBinary()
	if string(got) != string(want) || l.Err() != nil {
		t.Fatal("other producers", l.Err())
	}
}

func TestLostEpochsAreReadOffTheBatches(t *testing.T) {
	for _, content := range []string{"", "0\n1\n", "1\n0\n", "0\n2\n3 0\n2 9\n", "0\nx\n"} {
		o, c, written := stopped(t)
		change(t, o.FS, o.Dir+"/"+epochsName, func([]byte) []byte { return []byte(content) })
		l := open(t, o, &c)
		want := history{batches: written}.epochs()
		if fmt.Sprint(l.Epochs()) != fmt.Sprint(want) {
			t.Fatalf("epochs %v, want %v", l.Epochs(), want)
		}
		flushed(t, l)
		got, err := l.readEpochs()
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("file has %v, %v", got, err)
		}
	}
}

func TestDamagedStateIsRefused(t *testing.T) {
	o, _, _ := stopped(t)
	l := open(t, o, nil)
	if err := l.SetStart(20); err != nil {
		t.Fatal(err)
	}
	l.Close(false)
	change(t, o.FS, o.Dir+"/"+stateName, flip(130))
	_, err := Open(o, nil)
	wantKind(t, err, messages.CorruptMessage, stateName)
}

// TestStaleCheckpoints opens logs by checkpoints that are not the last ones.
func TestStaleCheckpoints(t *testing.T) {
	o, c, written := stopped(t)
	l := open(t, o, &c)
	wantBytes(t, l, written)
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	// A clean one that is too old is found out before anything is overwritten.
	c.Clean = true
	l = open(t, o, &c)
	m := newMaker()
	m.next, m.epoch = l.End(), 100
	wantKind(t, l.Append(m.batches(1, 1)), messages.StorageError, "older than the log")
	l.Close(false)
	c.Clean = false
	wantBytes(t, open(t, o, &c), written)
}

func TestACleanCheckpointOfCutFilesIsFoundOut(t *testing.T) {
	o, _, c := indexed(t, true)
	all, _ := bases(t, o.FS)
	name := fileName(all[len(all)-1], ".log")
	change(t, o.FS, name, func(b []byte) []byte { return b[:len(b)-10] })
	l := open(t, o, &c)
	_, err := l.Publish(l.End()).Read(l.End()-1, 100, true)
	wantKind(t, err, messages.StorageError, name, "10 are missing")
	m := newMaker()
	m.next = l.End()
	wantKind(t, l.Append(m.batches(1, 1)), messages.StorageError, name)
	l.Close(false)
	c.Clean = false
	_, err = Open(o, &c)
	wantKind(t, err, messages.StorageError, name, "10 are missing")
}

// TestMarkAllowsNoSilentLoss kills the broker long after its last checkpoint, and
// damages what came after that.
func TestMarkAllowsNoSilentLoss(t *testing.T) {
	o, _, _ := stopped(t)
	all, sizes := bases(t, o.FS)
	last := len(all) - 1
	change(t, o.FS, fileName(all[last], ".log"), flip(int(sizes[last]-5)*8))
	l := open(t, o, &Checkpoint{Segments: []segment.Info{{}}}) // the checkpoint of a log that was empty
	_, err := l.Publish(l.End()).Read(l.End()-1, 100, true)
	wantKind(t, err, messages.CorruptMessage, fileName(all[last], ".log"), "CRC")
	var damage *segment.Damage
	if !errors.As(err, &damage) {
		t.Fatal(err)
	}
}

// TestAWrongBaseOffsetStaysUnreadable flips a bit outside of the checksum. The
// first reader finds it out; what it leaves behind, such as an index that was
// built anew or what counts as checked, must not lead the next one past it.
func TestAWrongBaseOffsetStaysUnreadable(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, k := range []int{3, 57} { // in the first segment, and in the last
			t.Run(fmt.Sprintf("clean=%v/batch=%d", clean, k), func(t *testing.T) {
				l, written := withWrongBase(t, clean, k)
				v := l.Publish(l.End())
				for range 3 {
					for i, b := range written {
						s, err := v.Read(b.BaseOffset(), 1_000_000, true)
						if i == k && err == nil {
							t.Error("the damaged batch is served")
						}
						if s != nil {
							wantOneAfterTheOther(t, s, b.BaseOffset())
						}
					}
				}
			})
		}
	}
}

// withWrongBase opens a log in which batch k claims another offset.
func withWrongBase(t *testing.T, clean bool, k int) (*Log, []batch.Batch) {
	t.Helper()
	o := quiet(vfs.NewMem(vfs.MemOptions{}))
	o.Settings.SegmentBytes = 200_000
	l := open(t, o, nil)
	written := newMaker().batches(60, 150) // each larger than the distance of index entries
	for _, b := range written {
		appendAll(t, l, b)
	}
	flushed(t, l)
	if err := l.Close(clean); err != nil {
		t.Fatal(err)
	}
	c := l.Checkpoint()
	all, _ := bases(t, o.FS)
	base := all[segmentOf(all, written[k].BaseOffset())]
	at := 0
	for _, b := range written[:k] {
		if b.BaseOffset() >= base {
			at += len(b)
		}
	}
	change(t, o.FS, fileName(base, ".log"), flip((at+6)*8+4))
	return open(t, o, &c), written
}

// wantOneAfterTheOther checks that the batches of a slice follow each other.
func wantOneAfterTheOther(t *testing.T, s *Slice, next messages.Offset) {
	t.Helper()
	defer s.Release()
	got, err := s.Bytes(nil)
	for err == nil && len(got) > 0 {
		var b batch.Batch
		if b, got, err = batch.Next(got); err == nil && b.BaseOffset() != next {
			t.Errorf("offset %d follows where %d should", b.BaseOffset(), next)
		}
		if err == nil {
			next = b.NextOffset()
		}
	}
}

// segmentOf is which segment an offset is in.
func segmentOf(bases []messages.Offset, offset messages.Offset) int {
	i := 0
	for i+1 < len(bases) && bases[i+1] <= offset {
		i++
	}
	return i
}

// TestAcceptedLossOfTheStateKeepsGenerations has a truncation follow the loss of the state:
// what was claimed before it is void.
func TestAcceptedLossOfTheStateKeepsGenerations(t *testing.T) {
	o, _, _ := stopped(t)
	l := open(t, o, nil)
	for range 3 {
		if err := l.Truncate(l.End() - 1); err != nil {
			t.Fatal(err)
		}
	}
	flushed(t, l)
	c := l.Checkpoint()
	l.Close(false)
	change(t, o.FS, o.Dir+"/"+stateName, flip(30))
	accepting := o
	accepting.AcceptLoss = true
	l = open(t, accepting, &c)
	if err := l.Truncate(20); err != nil {
		t.Fatal(err)
	}
	l.Close(false)
	l = open(t, o, &c)
	if l.End() > 20 {
		t.Fatal(l.End())
	}
}
