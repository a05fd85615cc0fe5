//go:build unix

package logfile

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"understudy/persistence/segment"
)

// grow makes a file much larger than it is, without taking up the disk.
func grow(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}

// allocated is how much memory something takes, all in all.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestFilesThatAreMuchTooLargeAreNotRead has each of the files beside a log be as large
// as none can be.
func TestFilesThatAreMuchTooLargeAreNotRead(t *testing.T) {
	for _, name := range []string{segment.Name(0, segment.IndexSuffix), segment.Name(0, segment.TimeSuffix), epochFileName} {
		dir := partition(t)
		grow(t, filepath.Join(dir, name), 600<<20)
		var r Report
		if took := allocated(func() { r = verify(t, dir) }); took > 256<<20 {
			t.Errorf("%s: %d MiB of memory", name, took>>20)
		}
		if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].What, "larger") {
			t.Errorf("%s: %v", name, r.Problems)
		}
	}
}

// TestWhatIsNoFileIsNotWaitedFor has a pipe, which nobody writes to, in place of a file.
func TestWhatIsNoFileIsNotWaitedFor(t *testing.T) {
	dir := partition(t)
	path := filepath.Join(dir, epochFileName)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	if r := verify(t, dir); len(r.Problems) != 1 || !strings.Contains(r.Problems[0].What, "no regular file") {
		t.Error(r.Problems)
	}
}

// TestABatchThatClaimsToBeHugeIsNotReadIntoMemory has damage make a batch as long as the
// rest of a large file.
func TestABatchThatClaimsToBeHugeIsNotReadIntoMemory(t *testing.T) {
	dir := partition(t)
	path := filepath.Join(dir, segment.Name(0, segment.LogSuffix))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(content[8:], 900<<20)
	write(t, path, content)
	grow(t, path, 1<<30)
	var r Report
	if took := allocated(func() { r = verify(t, dir) }); took > 256<<20 {
		t.Errorf("%d MiB of memory", took>>20)
	}
	if len(r.Problems) == 0 || !strings.Contains(r.Problems[0].What, "CRC is") {
		t.Error(r.Problems)
	}
}
