package local

import (
	"fmt"
	"strings"
	"testing"

	"understudy/cluster/metadata"
	"understudy/persistence/vfs"
)

// filled is a Store of 10,000 keys of 200 bytes on the real disk.
func filled(b *testing.B) (fsys vfs.FS, s *Store) {
	fsys = vfs.OS(b.TempDir())
	s = open(b, fsys)
	for i := range 10 {
		var txn metadata.Txn
		for k := range 1000 {
			key := fmt.Sprintf("partitions/topic-%d/%d", i, k)
			txn.Puts = append(txn.Puts, metadata.Put{Key: key, Value: []byte(strings.Repeat("v", 200))})
		}
		if _, err := s.Commit(ctx, txn); err != nil {
			b.Fatal(err)
		}
	}
	return fsys, s
}

func BenchmarkOpen(b *testing.B) {
	fsys, s := filled(b)
	must(b, s.Close())
	b.ReportAllocs()
	for b.Loop() {
		s := open(b, fsys)
		must(b, s.Close())
	}
}

func BenchmarkLoad(b *testing.B) {
	_, s := filled(b)
	for b.Loop() {
		load(b, s)
	}
}

// BenchmarkCommit commits one key, with its sync and its share of compactions.
func BenchmarkCommit(b *testing.B) {
	_, s := filled(b)
	txn := puts("partitions/topic-0/0", strings.Repeat("w", 200))
	for b.Loop() {
		if _, err := s.Commit(ctx, txn); err != nil {
			b.Fatal(err)
		}
	}
}
