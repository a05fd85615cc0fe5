package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/vfs"
)

func testDir(t testing.TB, files vfs.FS, limit int) *Dir {
	t.Helper()
	if err := files.MkdirAll("orders-3"); err != nil {
		t.Fatal(err)
	}
	return &Dir{FS: files, Files: NewFiles(limit), Path: "orders-3"}
}

// chain makes batches from an offset on, of sizes and timestamps that vary.
func chain(base messages.Offset, n int, seed uint64) (all []batch.Batch) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	now := int64(1_700_000_000_000)
	for range n {
		bu := batch.NewBuilder(batch.NoProducer)
		for range 1 + rnd.IntN(5) {
			now += rnd.Int64N(20) - 8
			bu.Add(now, nil, make([]byte, rnd.IntN(300)))
		}
		b := bu.Build(nil)
		b.Stamp(base, 0)
		base = b.NextOffset()
		all = append(all, b)
	}
	return all
}

// filled is a segment with batches, appended a few at a time.
func filled(t testing.TB, dir *Dir, batches []batch.Batch, interval int64) *Segment {
	t.Helper()
	s, err := Create(dir, batches[0].BaseOffset())
	if err != nil {
		t.Fatal(err)
	}
	for some := range slices.Chunk(batches, 3) {
		if err := s.Append(some, Writing{IndexInterval: interval}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// kafkaIndexes are the index files that Kafka's LogSegment would write for batches
// that are appended one by one and then sealed.
func kafkaIndexes(batches []batch.Batch, interval int64) (offsets, times []byte) {
	base, position, since := batches[0].BaseOffset(), int64(0), int64(0)
	newest, newestOffset, last := int64(-1), int64(-1), int64(-1)
	addTime := func() {
		if newest > last {
			times = TimeEntry{newest, uint32(newestOffset - base)}.AppendTo(times)
			last = newest
		}
	}
	for _, b := range batches {
		if b.MaxTimestamp() > newest {
			newest, newestOffset = b.MaxTimestamp(), b.LastOffset()
		}
		if since > interval {
			offsets = Entry{uint32(b.LastOffset() - base), uint32(position)}.AppendTo(offsets)
			addTime()
			since = 0
		}
		position += int64(len(b))
		since += int64(len(b))
	}
	addTime()
	return offsets, times
}

func content(t testing.TB, files vfs.FS, name string) []byte {
	t.Helper()
	f, err := files.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if err := readFull(f, b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"00000000000000368769.log": true, "00000000000000000000.timeindex": true,
		"00000000000000368769.log.deleted": true, "99999999999999999999.log": false,
		"0000000000000368769.log": false, "00000000000000368769": false, "0000000000000036876x.log": false,
		"-0000000000000368769.log": false, "log-state": false, "": false,
	} {
		base, suffix, ok := ParseName(name)
		if ok != want || ok && Name(base, suffix) != name {
			t.Errorf("%q: %d, %q, %t", name, base, suffix, ok)
		}
	}
}

func TestFilesAreWhatKafkaWrites(t *testing.T) {
	for _, interval := range []int64{1, 500, 4096, 1 << 30} {
		files := vfs.NewMem(vfs.MemOptions{})
		batches := chain(368769, 3000, 1)
		s := filled(t, testDir(t, files, 10), batches, interval)
		if err := s.Seal(); err != nil {
			t.Fatal(err)
		}
		offsets, times := kafkaIndexes(batches, interval)
		var log []byte
		for _, b := range batches {
			log = append(log, b...)
		}
		for suffix, want := range map[string][]byte{LogSuffix: log, IndexSuffix: offsets, TimeSuffix: times} {
			if got := content(t, files, "orders-3/"+Name(368769, suffix)); !bytes.Equal(got, want) {
				t.Errorf("interval %d: %s has %d bytes, want %d", interval, suffix, len(got), len(want))
			}
		}
	}
}

// TestRebuiltIndexes builds the indexes again, in every state that the files may
// have been left in, and finds the same as was written.
func TestRebuiltIndexes(t *testing.T) {
	batches := chain(100, 800, 2)
	wantOffsets, wantTimes := kafkaIndexes(batches, defaultInterval)
	for _, keep := range []int{-1, 0, 1, 7, 8, 12, 24, 100, 240, len(wantTimes) - 1, len(wantTimes)} {
		for _, which := range []string{IndexSuffix, TimeSuffix} {
			files := vfs.NewMem(vfs.MemOptions{})
			dir := testDir(t, files, 10)
			s := filled(t, dir, batches, defaultInterval)
			if err := s.Seal(); err != nil {
				t.Fatal(err)
			}
			info := s.Info()
			s.Close()
			name := "orders-3/" + Name(100, which)
			if keep < 0 {
				if err := files.Remove(name); err != nil {
					t.Fatal(err)
				}
			} else if f, err := files.Open(name); err != nil {
				t.Fatal(err)
			} else if size, _ := f.Size(); int64(keep) < size {
				if err := f.Truncate(int64(keep)); err != nil {
					t.Fatal(err)
				}
			}
			s = Restore(dir, info)
			if _, err := s.Index(); err != nil {
				t.Fatal(err)
			}
			if s.Info() != info {
				t.Fatalf("%s of %d bytes: %+v, want %+v", which, keep, s.Info(), info)
			}
			if err := s.Seal(); err != nil {
				t.Fatal(err)
			}
			if got := content(t, files, "orders-3/"+Name(100, IndexSuffix)); !bytes.Equal(got, wantOffsets) {
				t.Errorf("%s of %d bytes: offset index has %d bytes, want %d", which, keep, len(got), len(wantOffsets))
			}
			if got := content(t, files, "orders-3/"+Name(100, TimeSuffix)); !bytes.Equal(got, wantTimes) {
				t.Errorf("%s of %d bytes: time index has %d bytes, want %d", which, keep, len(got), len(wantTimes))
			}
		}
	}
}

func TestFindInEveryState(t *testing.T) {
	batches := chain(1000, 900, 3)
	dir := testDir(t, vfs.NewMem(vfs.MemOptions{}), 10)
	s := filled(t, dir, batches, 200)
	find := func(state string) {
		f, err := s.Pin()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Unpin()
		at := int64(0)
		for _, b := range batches {
			for _, offset := range []messages.Offset{b.BaseOffset(), b.LastOffset()} {
				p, err := s.Find(f, s.Peek(), offset, s.Size())
				if want := (Place{at, at + int64(len(b)), b.BaseOffset()}); err != nil || p != want {
					t.Fatalf("%s: %d is at %+v, want %+v (%v)", state, offset, p, want, err)
				}
			}
			at += int64(len(b))
		}
		end := batches[len(batches)-1].NextOffset()
		if p, err := s.Find(f, s.Peek(), end, s.Size()); err != nil || p.Position != p.End {
			t.Fatalf("%s: %+v, %v", state, p, err)
		}
	}
	find("being written")
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	find("sealed")
	s = Restore(dir, s.Info())
	find("restored")
}

func TestSpans(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		var set []span
		var have [64]bool
		for range rnd.IntN(12) {
			from := rnd.Int64N(60)
			if rnd.IntN(6) == 0 {
				set = cutSpans(set, from)
				clear(have[from:])
				continue
			}
			to := from + rnd.Int64N(64-from)
			set = addSpan(set, from, to)
			for i := from; i < to; i++ {
				have[i] = true
			}
		}
		for at := range int64(64) {
			want := at
			for want < 64 && have[want] {
				want++
			}
			if got := coverEnd(set, at); got != want {
				t.Fatalf("%v: from %d to %d, want %d", set, at, got, want)
			}
		}
		for i := 1; i < len(set); i++ {
			if set[i-1].to >= set[i].from {
				t.Fatalf("%v is not disjoint", set)
			}
		}
	}
}

func TestVerifyLooksOnce(t *testing.T) {
	batches := chain(0, 50, 4)
	disk := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
	dir := testDir(t, disk, 10)
	s := filled(t, dir, batches, 100)
	size := s.Size()
	verify := func(s *Segment, to int64) (int64, error) {
		f, err := s.Pin()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Unpin()
		return s.Verify(f, Place{0, int64(len(batches[0])), 0}, to, size, nil)
	}
	broken := vfs.Rule{Ops: vfs.OpRead, Path: "*.log", Err: syscall.EIO}
	reads := disk.Add(broken)
	if end, err := verify(s, size); err != nil || end != size || reads.Struck() > 0 {
		t.Fatal("what this process has written is not looked at", end, err)
	}
	disk.Clear()
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	s = Restore(dir, s.Info())
	half := int64(len(batches[0]) + len(batches[1]) + 1)
	if end, err := verify(s, half); err != nil || end != half-1 {
		t.Fatal("ends at a batch", end, err)
	}
	if end, err := verify(s, 1); err != nil || end < int64(len(batches[0])) {
		t.Fatal("the first batch is whole", end, err)
	}
	if end, err := verify(s, size); err != nil || end != size {
		t.Fatal(end, err)
	}
	reads = disk.Add(broken)
	if end, err := verify(s, size); err != nil || end != size || reads.Struck() > 0 {
		t.Fatal("was looked at twice", end, err)
	}
}

// handles are files of a directory that exist.
func handles(t testing.TB, dir *Dir, n int) (all []*Handle) {
	t.Helper()
	for i := range n {
		h := NewHandle(dir, fmt.Sprint("file-", i))
		if _, err := h.Create(); err != nil {
			t.Fatal(err)
		}
		h.Unpin()
		all = append(all, h)
	}
	return all
}

func TestFilesStayBelowTheBound(t *testing.T) {
	dir := testDir(t, vfs.NewMem(vfs.MemOptions{}), 5)
	all := handles(t, dir, 20)
	if n := dir.Files.Len(); n != 5 {
		t.Fatalf("%d open", n)
	}
	for _, h := range all[:8] { // more than may be open, but in use
		if _, err := h.Pin(); err != nil {
			t.Fatal(err)
		}
	}
	if n := dir.Files.Len(); n != 8 {
		t.Fatalf("%d open", n)
	}
	for _, h := range all[:8] {
		f, err := h.Pin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Size(); err != nil {
			t.Fatal("a pinned file was closed", err)
		}
		h.Unpin()
		h.Unpin()
	}
	if _, err := all[9].Pin(); err != nil {
		t.Fatal(err)
	}
	if n := dir.Files.Len(); n > 5 {
		t.Fatalf("%d open", n)
	}
	all[9].Kill() // closed when it is let go of
	if f, err := all[9].Pin(); !errors.Is(err, ErrGone) {
		t.Fatal(f, err)
	}
	before := dir.Files.Len()
	all[9].Unpin()
	if n := dir.Files.Len(); n != before-1 {
		t.Fatalf("%d open, before %d", n, before)
	}
}

func TestFilesMakeRoomWhenTheProcessHasTooMany(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
	dir := testDir(t, disk, 100)
	all := handles(t, dir, 20)
	extra := NewHandle(dir, "one more")
	disk.Add(vfs.Rule{Ops: vfs.OpCreate, Path: "one more", Err: syscall.EMFILE, Times: 1})
	if _, err := extra.Create(); err != nil {
		t.Fatal(err)
	}
	if n := dir.Files.Len(); n != 11 {
		t.Fatalf("%d open", n)
	}
	_ = all
}

func TestFilesUnderLoad(t *testing.T) {
	dir := testDir(t, vfs.NewMem(vfs.MemOptions{}), 3)
	all := handles(t, dir, 10)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 0))
			for range 3000 {
				h := all[rnd.IntN(len(all))]
				f, err := h.Pin()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := f.Size(); err != nil {
					t.Error(err)
				}
				h.Unpin()
			}
		})
	}
	wg.Wait()
	if n := dir.Files.Len(); n > 3+4 {
		t.Fatalf("%d open", n)
	}
}

func TestShorterFileIsRefused(t *testing.T) {
	dir := testDir(t, vfs.NewMem(vfs.MemOptions{}), 3)
	s := Restore(dir, Info{Base: 0, Size: 10})
	if _, err := s.Pin(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	f, err := dir.FS.Create("orders-3/" + Name(0, LogSuffix))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := s.Pin(); err == nil || !strings.Contains(err.Error(), "10 are missing") {
		t.Fatal(err)
	}
	if n := dir.Files.Len(); n != 0 {
		t.Fatalf("%d open", n)
	}
}

// TestLargeBatchesAreWrittenInPieces looks at what reaches the file.
func TestLargeBatchesAreWrittenInPieces(t *testing.T) {
	var batches []batch.Batch
	next := int64(0)
	for _, size := range []int{10, 1 << 20, 100, 200, pieceSize, 3, 70_000, 70_000, 70_000, 70_000, 70_000} {
		bu := batch.NewBuilder(batch.NoProducer)
		bu.Add(1, nil, make([]byte, size))
		b := bu.Build(nil)
		b.Stamp(next, 0)
		next++
		batches = append(batches, b)
	}
	for range 2 * maxVec {
		b := slices.Clone(batches[0])
		b.Stamp(next, 0)
		next++
		batches = append(batches, b)
	}
	rec := &recorder{}
	if err := writePieces(rec, batches, 5); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 5)
	for _, b := range batches {
		want = append(want, b...)
	}
	if !bytes.Equal(rec.content, want) {
		t.Fatal("other bytes")
	}
	if n := len(want); len(rec.sizes) > n/pieceSize+4 || slices.Max(rec.sizes) > pieceSize {
		t.Fatalf("pieces %v", rec.sizes)
	}
}

type recorder struct {
	vfs.File
	content []byte
	sizes   []int
}

func (r *recorder) WriteVAt(buffers [][]byte, offset int64) (int64, error) {
	size := 0
	for _, b := range buffers {
		size += len(b)
	}
	r.sizes = append(r.sizes, size)
	r.content = append(r.content, make([]byte, int(offset)+size-len(r.content))...)
	for _, b := range buffers {
		copy(r.content[offset:], b)
		offset += int64(len(b))
	}
	return int64(size), nil
}

func FuzzScan(f *testing.F) {
	var good []byte
	for _, b := range chain(0, 3, 1) {
		good = append(good, b...)
	}
	f.Add(good)
	f.Add(good[:100])
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := Scan(bytes.NewReader(raw), 0, int64(len(raw)))
		defer s.Close()
		at := int64(0)
		for s.Next() {
			if s.Position() != at || s.End() > int64(len(raw)) || s.Size() < batch.HeaderSize {
				t.Fatalf("batch at %d to %d after %d", s.Position(), s.End(), at)
			}
			at = s.End()
			if s.CheckCRC() != (batch.Batch(raw[s.Position():s.End()]).CheckCRC() == nil) {
				t.Fatal("CRCs differ")
			}
		}
		if s.Err() == nil && at != int64(len(raw)) {
			t.Fatalf("ends at %d without an error", at)
		}
	})
}
