package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/persistence/vfs"
)

var ctx = context.Background()

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, fsys vfs.FS) *Store {
	t.Helper()
	s, err := Open(fsys, "meta", Options{})
	must(t, err)
	return s
}

func load(t testing.TB, s *Store) metadata.State {
	t.Helper()
	state, err := s.Load(ctx)
	must(t, err)
	return state
}

// equal tells whether two states are the same.
func equal(a, b metadata.State) bool {
	return a.Revision == b.Revision && maps.EqualFunc(a.Entries, b.Entries, func(x, y metadata.Entry) bool {
		return x.Revision == y.Revision && bytes.Equal(x.Value, y.Value)
	})
}

func puts(pairs ...string) metadata.Txn {
	var txn metadata.Txn
	for i := 0; i < len(pairs); i += 2 {
		txn.Puts = append(txn.Puts, metadata.Put{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return txn
}

// both runs a test on a Store in memory and on one on disk.
func both(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Run("memory", func(t *testing.T) { test(t, NewMemory()) })
	t.Run("disk", func(t *testing.T) {
		fsys := vfs.NewMem(vfs.MemOptions{})
		s := open(t, fsys)
		test(t, s)
		before := load(t, s)
		must(t, s.Close())
		if again := load(t, open(t, fsys)); !equal(before, again) {
			t.Errorf("found %v when opened again, want %v", again, before)
		}
	})
}

func TestCommit(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		if state := load(t, s); state.Revision != 0 || len(state.Entries) != 0 {
			t.Fatalf("a new store holds %v", state)
		}
		steps := []struct {
			name     string
			txn      metadata.Txn
			revision int64
			err      error
			want     string
		}{
			{"two puts", puts("a", "1", "b", "2"), 1, nil, "a=1@1 b=2@1"},
			{"replace", puts("a", "3"), 2, nil, "a=3@2 b=2@1"},
			{"check holds", metadata.Txn{
				Checks: []metadata.Check{{Key: "a", Revision: 2}, {Key: "new", Revision: 0}},
				Puts:   puts("new", "n").Puts,
			}, 3, nil, "a=3@2 b=2@1 new=n@3"},
			{"check fails", metadata.Txn{
				Checks: []metadata.Check{{Key: "a", Revision: 1}}, Puts: puts("a", "x").Puts, Deletes: []string{"b"},
			}, 3, metadata.ErrConflict, "a=3@2 b=2@1 new=n@3"},
			{"check of one that is there", metadata.Txn{
				Checks: []metadata.Check{{Key: "a", Revision: 0}}, Puts: puts("c", "x").Puts,
			}, 3, metadata.ErrConflict, "a=3@2 b=2@1 new=n@3"},
			{"delete", metadata.Txn{Deletes: []string{"a", "missing"}}, 4, nil, "b=2@1 new=n@3"},
			{"nothing to change", metadata.Txn{Deletes: []string{"missing"}}, 4, nil, "b=2@1 new=n@3"},
			{"only a check", metadata.Txn{Checks: []metadata.Check{{Key: "b", Revision: 1}}}, 4, nil, "b=2@1 new=n@3"},
			{"put and delete", metadata.Txn{Puts: puts("b", "").Puts, Deletes: []string{"new"}}, 5, nil, "b=@5"},
		}
		for _, step := range steps {
			revision, err := s.Commit(ctx, step.txn)
			if revision != step.revision || !errors.Is(err, step.err) || (err == nil) != (step.err == nil) {
				t.Fatalf("%s: got %d, %v; want %d, %v", step.name, revision, err, step.revision, step.err)
			}
			if got := show(load(t, s)); got != step.want {
				t.Fatalf("%s: holds %q, want %q", step.name, got, step.want)
			}
		}
	})
}

func show(state metadata.State) string {
	var all []string
	for _, p := range snapshotOf(state).puts {
		all = append(all, fmt.Sprintf("%s=%s@%d", p.key, p.entry.Value, p.entry.Revision))
	}
	return strings.Join(all, " ")
}

func TestCommitRefusesAmbiguity(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		for _, txn := range []metadata.Txn{
			puts("a", "1", "a", "2"),
			{Deletes: []string{"a", "a"}},
			{Puts: puts("a", "1").Puts, Deletes: []string{"a"}},
		} {
			if _, err := s.Commit(ctx, txn); messages.KindOf(err) != messages.InvalidRequest {
				t.Errorf("%v: got error %v, want an invalid request", txn, err)
			}
		}
		if _, err := s.Commit(ctx, puts("a", "1")); err != nil {
			t.Error("a refused transaction has harmed the store:", err)
		}
	})
}

func TestValuesAreCopied(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		value := []byte("one")
		_, err := s.Commit(ctx, metadata.Txn{Puts: []metadata.Put{{Key: "a", Value: value}}})
		must(t, err)
		copy(value, "two")
		state := load(t, s)
		delete(state.Entries, "a")
		if got := show(load(t, s)); got != "a=one@1" {
			t.Errorf("holds %q", got)
		}
	})
}

func TestContext(t *testing.T) {
	s := NewMemory()
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Commit(over, puts("a", "1")); err != context.Canceled {
		t.Errorf("Commit: got error %v", err)
	}
	if _, err := s.Load(over); err != context.Canceled {
		t.Errorf("Load: got error %v", err)
	}
	if _, err := s.Watch(over, 0); err != context.Canceled {
		t.Errorf("Watch: got error %v", err)
	}
	if state := load(t, s); state.Revision != 0 {
		t.Error("a canceled Commit was carried out")
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemory()
		got := make([]int64, 3)
		last := make([]error, 3)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				for after := int64(0); after < 2; {
					after, _ = s.Watch(ctx, after)
					got[i] = after
				}
				_, last[i] = s.Watch(ctx, 2)
			})
		}
		synctest.Wait()
		for want := range int64(3) {
			for i := range got {
				if got[i] != want {
					t.Fatalf("watcher %d is at %d, want %d", i, got[i], want)
				}
			}
			_, err := s.Commit(ctx, puts("a", fmt.Sprint(want)))
			must(t, err)
			synctest.Wait()
			if want == 1 {
				must(t, s.Close())
				break
			}
		}
		wg.Wait()
		for _, err := range last {
			if err != ErrClosed {
				t.Errorf("watching a closed store: got error %v", err)
			}
		}
	})
}

func TestClosed(t *testing.T) {
	for _, s := range []*Store{NewMemory(), open(t, vfs.NewMem(vfs.MemOptions{}))} {
		must(t, s.Close())
		_, commitErr := s.Commit(ctx, puts("a", "1"))
		_, loadErr := s.Load(ctx)
		for call, err := range map[string]error{"Commit": commitErr, "Load": loadErr, "Close": s.Close()} {
			if err != ErrClosed {
				t.Errorf("%s: got error %v", call, err)
			}
		}
	}
}

func TestConcurrentCommits(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		const writers, each = 8, 25
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for done := 0; done < each; {
					state, err := s.Load(ctx)
					must(t, err)
					seen := state.Entries["counter"]
					_, err = s.Commit(ctx, metadata.Txn{
						Checks: []metadata.Check{{Key: "counter", Revision: seen.Revision}},
						Puts:   puts("counter", string(seen.Value)+"x").Puts,
					})
					if err == nil {
						done++
					} else if err != metadata.ErrConflict {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		state := load(t, s)
		if n := len(state.Entries["counter"].Value); n != writers*each || state.Revision != writers*each {
			t.Errorf("counted %d at revision %d, want %d", n, state.Revision, writers*each)
		}
	})
}

func TestCompaction(t *testing.T) {
	fsys := vfs.NewMem(vfs.MemOptions{})
	s, err := Open(fsys, "meta", Options{CompactBytes: 10_000})
	must(t, err)
	largest := int64(0)
	for i := range 2000 {
		_, err := s.Commit(ctx, puts(fmt.Sprint("key-", i%20), strings.Repeat("v", 100)+fmt.Sprint(i)))
		must(t, err)
		largest = max(largest, s.file.size)
	}
	if largest > 10_000+2*5000 {
		t.Errorf("the file grew to %d bytes", largest)
	}
	before := load(t, s)
	must(t, s.Close())
	if again := load(t, open(t, fsys)); !equal(before, again) {
		t.Errorf("found %v, want %v", again, before)
	}
	entries, err := fsys.ReadDir("meta")
	must(t, err)
	if len(entries) != 1 || entries[0].Name != fileName {
		t.Errorf("the directory holds %v", entries)
	}
}
