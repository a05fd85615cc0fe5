package logfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
	"understudy/persistence/segment"
)

// partition writes the files of a partition with two segments of two batches of
// three records each, with indexes over every batch, and gives its directory.
func partition(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "orders-0")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	offset := messages.Offset(0)
	for seg := range 2 {
		base := offset
		var log, index, times []byte
		for i := range 2 {
			fields := batch.NoProducer
			fields.Attributes = int16(batch.Zstd)
			bu := batch.NewBuilder(fields)
			for r := range 3 {
				bu.Add(int64(1000*offset)+int64(r), []byte("key"), fmt.Append(nil, "value ", r))
			}
			at := len(log)
			var b batch.Batch
			var err error
			if log, b, err = appendBatch(log, bu); err != nil {
				t.Fatal(err)
			}
			b.Stamp(offset, int32(seg*3+i))
			offset = b.NextOffset()
			index = segment.Entry{Offset: uint32(b.LastOffset() - base), Position: uint32(at)}.AppendTo(index)
			times = segment.TimeEntry{Timestamp: b.MaxTimestamp(), Offset: uint32(b.LastOffset() - base)}.AppendTo(times)
		}
		write(t, filepath.Join(dir, segment.Name(base, segment.LogSuffix)), log)
		write(t, filepath.Join(dir, segment.Name(base, segment.IndexSuffix)), index)
		write(t, filepath.Join(dir, segment.Name(base, segment.TimeSuffix)), times)
	}
	write(t, filepath.Join(dir, epochFileName), []byte("0\n4\n0 0\n1 3\n3 6\n4 9\n"))
	return dir
}

func appendBatch(log []byte, bu *batch.Builder) ([]byte, batch.Batch, error) {
	b, err := codec.Build(nil, bu, batch.Zstd, codec.DefaultLevel)
	log = append(log, b...)
	return log, batch.Batch(log[len(log)-len(b):]), err
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func verify(t *testing.T, dir string) Report {
	t.Helper()
	found, err := Find([]string{dir})
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	r, err := Verify(found[0], Options{Records: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerifyOfAGoodPartition(t *testing.T) {
	r := verify(t, partition(t))
	if len(r.Problems) != 0 || len(r.Notes) != 0 || r.Segments != 2 || r.Batches != 4 || r.Records != 12 || r.Start != 0 || r.End != 12 {
		t.Errorf("have %+v", r)
	}
}

// Each harm must be found, with the file and the byte position where it is.
func TestVerifyFindsHarm(t *testing.T) {
	const first, second = "00000000000000000000", "00000000000000000006"
	size := func(dir string) int64 { // of a batch
		info, _ := os.Stat(filepath.Join(dir, first+".log"))
		return info.Size() / 2
	}
	flip := func(file string, at func(int64) int64) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, file)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			content[at(size(dir))] ^= 0x10
			write(t, path, content)
		}
	}
	at := func(n int64) func(int64) int64 { return func(int64) int64 { return n } }
	for _, c := range []struct {
		name string
		harm func(*testing.T, string)
		file string
		pos  func(size int64) int64
		what string
	}{
		{"a flipped bit in the records", flip(first+".log", at(70)), first + ".log", at(0), "CRC is"},
		{"a flipped bit in the second batch", flip(first+".log", func(s int64) int64 { return s + 30 }), first + ".log", func(s int64) int64 { return s }, "CRC is"},
		{"a length that cannot be", flip(second+".log", at(8)), second + ".log", at(0), "cannot be read"},
		{"an old magic", flip(second+".log", at(16)), second + ".log", at(0), "cannot be read"},
		{"an offset that jumps", flip(second+".log", func(s int64) int64 { return s + 6 }), second + ".log", func(s int64) int64 { return s }, "offsets 9 to "},
		{"an epoch that falls", flip(second+".log", at(15)), second + ".log", func(s int64) int64 { return s }, "leader epoch 4 after 19"},
		{"a torn tail", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, second+".log"), 2*size(dir)-5); err != nil {
				t.Fatal(err)
			}
		}, second + ".log", func(s int64) int64 { return s }, "cannot be read"},
		{"a segment that is missing", func(t *testing.T, dir string) {
			if err := os.Rename(filepath.Join(dir, second+".log"), filepath.Join(dir, "00000000000000000008.log")); err != nil {
				t.Fatal(err)
			}
		}, "00000000000000000008.log", at(-1), "begins at offset 8, but the segment before ends at 6"},
		{"an index entry with a wrong position", flip(first+".index", at(15)), first + ".index", at(8), "position"},
		{"an index entry with a wrong offset", flip(first+".index", at(11)), first + ".index", at(8), "the log ends at offset 6"},
		{"an index of half an entry", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, first+".index"), 12); err != nil {
				t.Fatal(err)
			}
		}, first + ".index", at(8), "4 bytes are no whole entry"},
		{"a time index entry with a wrong time", flip(second+".timeindex", at(7)), second + ".timeindex", at(0), "newest time"},
		{"an epoch file with a wrong offset", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, epochFileName), []byte("0\n4\n0 0\n1 2\n3 6\n4 9\n"))
		}, epochFileName, at(-1), "epoch 1 begins at offset 2, in the log at 3"},
		{"an epoch file without an epoch", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, epochFileName), []byte("0\n3\n0 0\n1 3\n4 9\n"))
		}, epochFileName, at(-1), "epoch 3 is missing"},
		{"an epoch file that lies about its length", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, epochFileName), []byte("0\n3\n0 0\n"))
		}, epochFileName, at(-1), "holds 1 epochs"},
		{"an epoch file of something else", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, epochFileName), []byte("hello"))
		}, epochFileName, at(-1), `version "hello"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := partition(t)
			s := size(dir)
			c.harm(t, dir)
			r := verify(t, dir)
			for _, p := range r.Problems {
				if filepath.Base(p.File) == c.file && p.Position == c.pos(s) && strings.Contains(p.String(), c.what) {
					return
				}
			}
			t.Errorf("not found at position %d of %s: %s; there are %v", c.pos(s), c.file, c.what, r.Problems)
		})
	}
}

func TestMissingIndexesAreNotedOnly(t *testing.T) {
	dir := partition(t)
	for _, name := range []string{segment.Name(0, segment.IndexSuffix), segment.Name(6, segment.TimeSuffix), epochFileName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if r := verify(t, dir); len(r.Problems) != 0 || len(r.Notes) != 3 {
		t.Errorf("have %+v", r)
	}
}

func TestZerosBehindAnIndexAreNoEntries(t *testing.T) {
	dir := partition(t)
	for _, suffix := range []string{segment.IndexSuffix, segment.TimeSuffix} {
		path := filepath.Join(dir, segment.Name(6, suffix))
		content, _ := os.ReadFile(path)
		write(t, path, append(content, make([]byte, 240)...))
	}
	if r := verify(t, dir); len(r.Problems) != 0 {
		t.Errorf("have %+v", r.Problems)
	}
}

func TestCompacted(t *testing.T) {
	dir := partition(t)
	if err := os.Remove(filepath.Join(dir, epochFileName)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, segment.Name(0, segment.LogSuffix))
	content, _ := os.ReadFile(path)
	for _, name := range []string{segment.Name(0, segment.IndexSuffix), segment.Name(0, segment.TimeSuffix)} {
		_ = os.Remove(filepath.Join(dir, name))
	}
	write(t, path, content[len(content)/2:])
	found, _ := Find([]string{dir})
	if r, _ := Verify(found[0], Options{}); len(r.Problems) == 0 {
		t.Error("a gap was not found")
	}
	if r, _ := Verify(found[0], Options{Compacted: true}); len(r.Problems) != 0 {
		t.Errorf("have %+v", r.Problems)
	}
}

func TestFind(t *testing.T) {
	dir := partition(t)
	root := filepath.Dir(dir)
	for _, name := range []string{"orders-10", "orders-2"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, name, segment.Name(5, segment.LogSuffix)), nil)
	}
	found, err := Find([]string{root})
	if err != nil || len(found) != 3 || filepath.Base(found[1].Dir) != "orders-2" || len(found[0].Segments) != 2 || found[0].Segments[1].Base != 6 {
		t.Errorf("%+v, %v", found, err)
	}
	if one, err := Find([]string{filepath.Join(dir, segment.Name(6, segment.LogSuffix))}); err != nil || one[0].Segments[0].Base != 6 {
		t.Errorf("%+v, %v", one, err)
	}
	if r, err := Verify(found[1], Options{}); err != nil || r.Start != 5 || r.End != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, path := range []string{filepath.Join(dir, epochFileName), t.TempDir()} {
		if _, err := Find([]string{path}); err == nil {
			t.Errorf("%s was taken", path)
		}
	}
	if _, err := Find([]string{filepath.Join(root, "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("have %v", err)
	}
}
