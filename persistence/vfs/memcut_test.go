package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func coins(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// volatile is a Mem that can lose power, with a file "a" that is on disk.
func volatile(t testing.TB, content string) (*Mem, File) {
	t.Helper()
	m := NewMem(MemOptions{PowerCuts: true})
	f := create(t, m, "a", content)
	must(t, f.Sync())
	must(t, m.SyncDir("."))
	return m, f
}

func TestCutLosesBytesThatWereNotSynced(t *testing.T) {
	m, f := volatile(t, "0123456789")
	f.WriteAt([]byte("xx"), 3)
	f.WriteAt([]byte("tail"), 9)
	must(t, f.Truncate(5))
	f.WriteAt([]byte("far"), 3*chunkSize)
	must(t, f.Truncate(4*chunkSize))
	wantContent(t, m.Cut(LoseAll, nil), "a", "0123456789")
	now, err := ReadFile(m, "a", 1<<20)
	must(t, err)
	wantContent(t, m.Cut(LoseNone, nil), "a", string(now))
	must(t, f.Sync())
	wantContent(t, m.Cut(LoseAll, nil), "a", string(now))
}

func TestCutOfNames(t *testing.T) {
	tests := []struct {
		name string
		do   func(m *Mem)
		want string // what LoseAll finds
	}{
		{"create", func(m *Mem) { m.Create("b") }, "a d/ d/x e/"},
		{"create and sync", func(m *Mem) { m.Create("b"); m.SyncDir(".") }, "a b d/ d/x e/"},
		{"create and sync another", func(m *Mem) { m.Create("b"); m.SyncDir("d") }, "a d/ d/x e/"},
		{"remove", func(m *Mem) { m.Remove("a") }, "a d/ d/x e/"},
		{"remove and sync", func(m *Mem) { m.Remove("a"); m.SyncDir(".") }, "d/ d/x e/"},
		{"rename", func(m *Mem) { m.Rename("a", "b") }, "a d/ d/x e/"},
		{"rename and sync", func(m *Mem) { m.Rename("a", "b"); m.SyncDir(".") }, "b d/ d/x e/"},
		{"rename across, synced where it was", func(m *Mem) { m.Rename("d/x", "e/x"); m.SyncDir("d") }, "a d/ d/x e/"},
		{"rename across, synced where it is", func(m *Mem) { m.Rename("d/x", "e/x"); m.SyncDir("e") }, "a d/ e/ e/x"},
		{"created, renamed, synced where it is", func(m *Mem) {
			m.Create("d/new")
			m.Rename("d/new", "e/new")
			m.SyncDir("e")
		}, "a d/ d/x e/ e/new"},
		{"directory without its parent", func(m *Mem) { m.MkdirAll("p/q"); m.Create("p/q/f"); m.SyncDir("p/q"); m.SyncDir("p") }, "a d/ d/x e/"},
		{"directory with its parents", func(m *Mem) { MkdirAllSync(m, "p/q"); m.Create("p/q/f"); m.SyncDir("p/q") }, "a d/ d/x e/ p/ p/q/ p/q/f"},
		{"rename of a directory", func(m *Mem) { m.Rename("d", "e/d"); m.Create("e/d/y"); m.SyncDir("e/d") }, "a d/ d/x d/y e/"},
		{"remove all", func(m *Mem) { m.RemoveAll("d") }, "a d/ d/x e/"},
		{"remove all and sync", func(m *Mem) { m.RemoveAll("d"); m.SyncDir(".") }, "a e/"},
		{"removed and made again", func(m *Mem) { m.Remove("d/x"); m.Create("d/x"); m.SyncDir("d") }, "a d/ d/x e/"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, _ := volatile(t, "")
			must(t, m.MkdirAll("d"))
			must(t, m.MkdirAll("e"))
			create(t, m, "d/x", "")
			must(t, m.SyncDir("."))
			must(t, m.SyncDir("d"))
			test.do(m)
			before := tree(t, m, ".")
			if got := strings.Join(tree(t, m.Cut(LoseAll, nil), "."), " "); got != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
			if got := tree(t, m.Cut(LoseNone, nil), "."); !slices.Equal(got, before) {
				t.Errorf("found %q when nothing is lost, want %q", got, before)
			}
		})
	}
}

// tree lists all that is below a directory, directories with a slash behind.
func tree(t testing.TB, fsys FS, dir string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	var all []string
	for _, e := range entries {
		name := strings.TrimPrefix(dir+"/"+e.Name, "./")
		if e.Dir {
			all = append(append(all, name+"/"), tree(t, fsys, name)...)
		} else {
			all = append(all, name)
		}
	}
	return all
}

func TestRemovedFileComesBackWithItsBytes(t *testing.T) {
	m, f := volatile(t, "precious")
	must(t, f.Close())
	must(t, ReplaceFile(m, "b", []byte("other")))
	must(t, m.Rename("b", "a"))
	found := m.Cut(LoseAll, nil)
	wantContent(t, found, "a", "precious")
	wantContent(t, found, "b", "other")
}

func TestTornWriteLeavesAPrefix(t *testing.T) {
	m, f := volatile(t, "start.")
	var whole strings.Builder
	whole.WriteString("start.")
	for i := range 20 {
		part := strings.Repeat(string(rune('a'+i)), 700)
		f.WriteAt([]byte(part), int64(whole.Len()))
		whole.WriteString(part)
	}
	lengths, sectors := map[int]bool{}, 0
	for seed := range uint64(400) {
		got, err := ReadFile(m.Cut(LoseTorn, coins(seed)), "a", 1<<20)
		must(t, err)
		if !strings.HasPrefix(whole.String(), string(got)) || len(got) < len("start.") {
			t.Fatalf("seed %d: %d bytes that are not a prefix", seed, len(got))
		}
		lengths[len(got)] = true
		if len(got)%sectorSize == 0 {
			sectors++
		}
	}
	if len(lengths) < 100 || sectors < 50 {
		t.Errorf("only %d different lengths, %d at a sector", len(lengths), sectors)
	}
}

func TestLostPagesAreOldOrNew(t *testing.T) {
	const pages = 6
	m, f := volatile(t, strings.Repeat("o", pages*pageSize))
	f.WriteAt(bytes.Repeat([]byte("n"), 8*pageSize), 2*pageSize)
	counts := map[string]int{}
	for seed := range uint64(200) {
		got, err := ReadFile(m.Cut(LosePages, coins(seed)), "a", 1<<20)
		must(t, err)
		if len(got) < pages*pageSize || len(got) > 10*pageSize {
			t.Fatalf("seed %d: %d bytes", seed, len(got))
		}
		for i, b := range got {
			old, page := byte('o'), i/pageSize
			if page >= pages {
				old = 0
			}
			if b != old && (b != 'n' || page < 2) || b != got[i/pageSize*pageSize] {
				t.Fatalf("seed %d: byte %d is %q", seed, i, b)
			}
		}
		counts[fmt.Sprint(len(got)/pageSize, got[2*pageSize], got[5*pageSize])]++
	}
	if len(counts) != 5*4 {
		t.Errorf("saw %d combinations of size and pages, want 20", len(counts))
	}
}

func TestLostTruncationKeepsOldBytes(t *testing.T) {
	old := strings.Repeat("o", 3*pageSize)
	m, f := volatile(t, old)
	must(t, f.Truncate(100))
	for seed := range uint64(100) {
		got, err := ReadFile(m.Cut(LoseMixed, coins(seed)), "a", 1<<20)
		must(t, err)
		if len(got) < 100 || !strings.HasPrefix(old, string(got)) {
			t.Fatalf("seed %d: %d bytes, not the old ones", seed, len(got))
		}
	}
}

func TestLostNamesStayConsistent(t *testing.T) {
	m, _ := volatile(t, "1")
	create(t, m, "tmp", "2")
	must(t, m.Rename("tmp", "a"))
	create(t, m, "tmp", "3")
	must(t, m.Rename("tmp", "b"))
	seen := map[string]bool{}
	for seed := range uint64(200) {
		seen[strings.Join(tree(t, m.Cut(LosePages, coins(seed)), "."), " ")] = true
	}
	for got := range seen {
		if !strings.HasPrefix(got, "a") {
			t.Errorf("found %q: a rename lost the name it replaced", got)
		}
	}
	// Nothing, the first tmp, the first rename, the second tmp, the second rename.
	if len(seen) != 3 {
		t.Errorf("saw %v, want: a; a tmp; a b", seen)
	}
}

func TestCutIsRepeatableAndChangesNothing(t *testing.T) {
	m, f := volatile(t, strings.Repeat("o", 9*pageSize))
	for i := range 12 {
		f.WriteAt(bytes.Repeat([]byte{byte(i)}, 3000), int64(i*2500))
		create(t, m, fmt.Sprint(i), "content")
	}
	dump := func(m *Mem) string {
		var b strings.Builder
		for _, name := range tree(t, m, ".") {
			content, err := ReadFile(m, name, 1<<20)
			must(t, err)
			fmt.Fprintf(&b, "%s %q\n", name, content)
		}
		return b.String()
	}
	before := dump(m)
	different := map[string]bool{}
	for seed := range uint64(20) {
		for loss := range lossCount {
			first, second := dump(m.Cut(loss, coins(seed))), dump(m.Cut(loss, coins(seed)))
			if first != second {
				t.Fatalf("seed %d: two results of one cut", seed)
			}
			different[first] = true
		}
	}
	if dump(m) != before {
		t.Fatal("cutting changed the file system")
	}
	if len(different) < 40 {
		t.Errorf("only %d different results", len(different))
	}
	again := m.Cut(LoseNone, nil)
	if dump(again.Cut(LoseAll, nil)) != before {
		t.Error("what a cut left is not durable")
	}
}

// TestACutSharesWhatIsNotChanged: what a disk holds takes no more memory for being cut,
// and what is written to one afterwards is not on the other.
func TestACutSharesWhatIsNotChanged(t *testing.T) {
	const size = 64 * chunkSize
	m, f := volatile(t, strings.Repeat("0123456789abcdef", size/16))
	f.WriteAt([]byte("pending"), 5)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cut := m.Cut(LoseAll, nil)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > size/8 {
		t.Errorf("a cut of %d bytes took %d", size, took)
	}
	now, err := cut.Open("a")
	must(t, err)
	now.WriteAt([]byte("on the new one"), chunkSize)
	f.WriteAt([]byte("on the old one"), 2*chunkSize)
	must(t, f.Truncate(3*chunkSize+1))
	must(t, now.Truncate(size-1))
	for _, w := range []struct {
		file File
		want string
		at   int64
	}{
		{f, "01234pendingcdef0123", 0}, {f, "0123456789abcdef0123", chunkSize}, {f, "on the old oneef0123", 2 * chunkSize}, {f, "0", 3 * chunkSize},
		{now, "0123456789abcdef0123", 0}, {now, "on the new oneef0123", chunkSize}, {now, "0123456789abcdef0123", 2 * chunkSize}, {now, "0123456789abcdef0123", 3 * chunkSize},
	} {
		got := make([]byte, len(w.want))
		if _, err := w.file.ReadAt(got, w.at); err != nil || string(got) != w.want {
			t.Errorf("at %d stands %q, want %q (%v)", w.at, got, w.want, err)
		}
	}
}

// TestUndoOfRandomChanges checks that losing all finds every file as of its last sync.
func TestUndoOfRandomChanges(t *testing.T) {
	for seed := range uint64(10) {
		rnd := coins(seed)
		m, f := volatile(t, "begin")
		synced := []byte("begin")
		for range 60 {
			off := rnd.Int64N(3 * chunkSize)
			switch rnd.IntN(6) {
			case 0:
				must(t, f.Truncate(off))
			case 1:
				must(t, f.Sync())
				var err error
				synced, err = ReadFile(m, "a", 1<<20)
				must(t, err)
			default:
				b := bytes.Repeat([]byte{byte(rnd.Uint32())}, rnd.IntN(chunkSize))
				_, err := f.WriteVAt([][]byte{b, b[:len(b)/2]}, off)
				must(t, err)
			}
			got, err := ReadFile(m.Cut(LoseAll, nil), "a", 1<<20)
			must(t, err)
			if !bytes.Equal(got, synced) {
				t.Fatalf("seed %d: found %d bytes, want the %d that were synced", seed, len(got), len(synced))
			}
		}
	}
}

func TestStopAtEveryCall(t *testing.T) {
	work := func(m *Mem) error {
		if err := MkdirAllSync(m, "d/e"); err != nil {
			return err
		}
		f, err := m.Create("d/f")
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteVAt([][]byte{{1}, {2}}, 0); err != nil {
			return err
		}
		return errors.Join(f.Truncate(1), f.Sync(), m.Rename("d/f", "d/g"), m.RemoveAll("d"))
	}
	whole := NewMem(MemOptions{PowerCuts: true})
	must(t, work(whole))
	const calls = 2 + 2 + 5 + 3 // mkdir; syncdir; create, write, truncate, sync, rename; RemoveAll
	if whole.Ops() != calls {
		t.Fatalf("%d calls, want %d", whole.Ops(), calls)
	}
	for n := range whole.Ops() + 1 {
		m := NewMem(MemOptions{PowerCuts: true})
		m.StopAt(n + 1)
		err := work(m)
		if n == whole.Ops() {
			must(t, err)
			continue
		}
		wantIs(t, err, ErrCut)
		_, err = m.ReadDir(".")
		wantIs(t, err, ErrCut)
		m.Cut(LoseMixed, coins(uint64(n)))
	}
}

// TestReplaceFileAtEveryCut cuts everywhere, every way, and finds old or new.
func TestReplaceFileAtEveryCut(t *testing.T) {
	start := func() *Mem {
		m := NewMem(MemOptions{PowerCuts: true})
		must(t, ReplaceFile(m, "a", []byte("old")))
		return m
	}
	base, whole := start().Ops(), start()
	must(t, ReplaceFile(whole, "a", []byte("newer")))
	for n := base + 1; n <= whole.Ops(); n++ {
		for loss := range lossCount {
			for seed := range uint64(20) {
				m := start()
				m.StopAt(n)
				wantIs(t, ReplaceFile(m, "a", []byte("newer")), ErrCut)
				got, err := ReadFile(m.Cut(loss, coins(seed)), "a", 1<<20)
				must(t, err)
				if string(got) != "old" && string(got) != "newer" {
					t.Fatalf("cut at %d, loss %d, seed %d: found %q", n, loss, seed, got)
				}
			}
		}
	}
}

func TestStoppedMem(t *testing.T) {
	m, f := volatile(t, "x")
	m.Stop()
	_, err := f.ReadAt(make([]byte, 1), 0)
	wantIs(t, err, ErrCut)
	wantIs(t, f.Sync(), ErrCut)
	_, err = m.Open("a")
	wantIs(t, err, ErrCut)
	_, err = m.Lock("a")
	wantIs(t, err, ErrCut)
	_, _, err = m.Space(".")
	wantIs(t, err, ErrCut)
	must(t, f.Close())
	wantContent(t, m.Cut(LoseAll, nil), "a", "x")
}

func TestLimit(t *testing.T) {
	m := NewMem(MemOptions{Limit: 4 * chunkSize})
	f := create(t, m, "a", "")
	n, err := f.WriteAt(make([]byte, 5*chunkSize), 0)
	wantIs(t, err, syscall.ENOSPC)
	if n != 4*chunkSize {
		t.Fatalf("wrote %d bytes before it was full, want %d", n, 4*chunkSize)
	}
	if free, _, _ := m.Space("."); free != 0 {
		t.Fatalf("%d bytes free, want none", free)
	}
	must(t, f.Truncate(2*chunkSize))
	g := create(t, m, "b", strings.Repeat("b", 2*chunkSize))
	must(t, m.Remove("a"))
	if free, _, _ := m.Space("."); free != 0 {
		t.Fatalf("%d bytes free while a removed file is open, want none", free)
	}
	must(t, f.Close())
	must(t, m.Rename("b", "c"))
	must(t, ReplaceFile(m, "d", []byte("d")))
	must(t, m.Rename("d", "c"))
	must(t, g.Close())
	if used := m.used.Load(); used != minChunkSize {
		t.Fatalf("%d bytes used by a small file, want %d", used, minChunkSize)
	}
}

func TestWithoutPowerCutsNothingIsRemembered(t *testing.T) {
	m := NewMem(MemOptions{})
	f := create(t, m, "a", "x")
	f.WriteAt([]byte("y"), 0)
	must(t, f.Truncate(0))
	must(t, m.Remove("a"))
	if len(m.pending) != 0 || len(f.(*memHandle).file.Load().journal) != 0 {
		t.Error("changes were kept")
	}
	if _, err := m.Cut(LoseAll, nil).Open("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want not exist", err)
	}
}

// TestAFailedSyncIsNotMadeUpForByTheNext: what it was to write is there until the
// power goes, unless it is written once more.
func TestAFailedSyncIsNotMadeUpForByTheNext(t *testing.T) {
	m, f := volatile(t, "0123")
	f.WriteAt([]byte("lost"), 4)
	f.(interface{ FailSync(bool) }).FailSync(false)
	wantContent(t, m, "a", "0123lost")
	must(t, f.Sync())
	wantContent(t, m.Cut(LoseNone, nil), "a", "0123lost")
	for _, loss := range []Loss{LoseAll, LoseTorn, LosePages} {
		wantContent(t, m.Cut(loss, coins(1)), "a", "0123\x00\x00\x00\x00")
	}
	f.WriteAt([]byte("kept"), 4)
	wantContent(t, m.Cut(LoseAll, nil), "a", "0123\x00\x00\x00\x00")
	must(t, f.Sync())
	wantContent(t, m.Cut(LoseAll, nil), "a", "0123kept")
}

// TestAFailedSyncMayBeEvicted: what it was to write cannot be read any more, and a page
// that is written to begins with what is on disk.
func TestAFailedSyncMayBeEvicted(t *testing.T) {
	m, f := volatile(t, "0123")
	f.WriteAt([]byte("lost"), 4)
	f.(interface{ FailSync(bool) }).FailSync(true)
	wantContent(t, m, "a", "0123\x00\x00\x00\x00")
	f.WriteAt([]byte("kept"), 6)
	must(t, f.Sync())
	for _, loss := range []Loss{LoseAll, LoseNone, LosePages} {
		wantContent(t, m.Cut(loss, coins(1)), "a", "0123\x00\x00kept")
	}
}
