package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// conformance is what every FS must do, one test each.
var conformance = []struct {
	name string
	test func(*testing.T, FS)
}{
	{"create and read back", testCreate},
	{"missing files", testMissing},
	{"names are checked", testNames},
	{"directories", testDirectories},
	{"rename", testRename},
	{"remove all", testRemoveAll},
	{"removed files stay readable", testRemovedWhileOpen},
	{"vectored writes", testWriteV},
	{"truncate", testTruncate},
	{"holes", testHoles},
	{"closed files", testClosed},
	{"lock", testLock},
	{"space and hints", testHints},
	{"replace file", testReplaceFile},
	{"random writes", testRandomWrites},
	{"concurrent use", testConcurrent},
}

func TestConformance(t *testing.T) {
	systems := map[string]func(t *testing.T) FS{
		"OS":            func(t *testing.T) FS { return OS(t.TempDir()) },
		"Mem":           func(*testing.T) FS { return NewMem(MemOptions{}) },
		"Mem power cut": func(*testing.T) FS { return NewMem(MemOptions{PowerCuts: true}) },
		"Faulty":        func(*testing.T) FS { return NewFaulty(NewMem(MemOptions{}), nil) },
	}
	for system, make := range systems {
		for _, c := range conformance {
			t.Run(system+"/"+c.name, func(t *testing.T) { c.test(t, make(t)) })
		}
	}
}

// must stops the test at an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantIs checks what kind of error there was.
func wantIs(t testing.TB, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want %v", err, kind)
	}
}

func create(t testing.TB, fsys FS, name, content string) File {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	if content != "" {
		_, err = f.WriteAt([]byte(content), 0)
		must(t, err)
	}
	return f
}

func wantContent(t testing.TB, fsys FS, name, want string) {
	t.Helper()
	got, err := ReadFile(fsys, name, 1<<20)
	must(t, err)
	if string(got) != want {
		t.Fatalf("%s holds %q, want %q", name, got, want)
	}
}

func wantNames(t testing.TB, fsys FS, dir string, want ...string) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s lists %q, want %q", dir, got, want)
	}
}

func testCreate(t *testing.T, fsys FS) {
	f := create(t, fsys, "a", "hello")
	must(t, f.Sync())
	wantContent(t, fsys, "a", "hello")
	buf := make([]byte, 10)
	if n, err := f.ReadAt(buf, 2); n != 3 || err != io.EOF {
		t.Fatalf("read %d, %v past the end; want 3 and EOF", n, err)
	}
	if n, err := f.ReadAt(buf, 100); n != 0 || err != io.EOF {
		t.Fatalf("read %d, %v behind the end; want 0 and EOF", n, err)
	}
	if _, err := f.ReadAt(buf, -1); err == nil {
		t.Fatal("a negative offset was read")
	}
	if _, err := f.WriteAt(buf, -1); err == nil {
		t.Fatal("a negative offset was written")
	}
	create(t, fsys, "a", "")
	if size, err := f.Size(); size != 0 || err != nil {
		t.Fatalf("size is %d, %v after creating anew; want 0", size, err)
	}
}

func testMissing(t *testing.T, fsys FS) {
	_, err := fsys.Open("x")
	wantIs(t, err, fs.ErrNotExist)
	_, err = fsys.Create("d/x")
	wantIs(t, err, fs.ErrNotExist)
	_, err = fsys.ReadDir("d")
	wantIs(t, err, fs.ErrNotExist)
	wantIs(t, fsys.Remove("x"), fs.ErrNotExist)
	wantIs(t, fsys.Rename("x", "y"), fs.ErrNotExist)
	wantIs(t, fsys.SyncDir("d"), fs.ErrNotExist)
	must(t, fsys.RemoveAll("x"))
	must(t, fsys.RemoveAll("d/x"))
}

func testNames(t *testing.T, fsys FS) {
	for _, name := range []string{"", "/a", "../a", "a/../b", "a//b", "a/"} {
		_, err := fsys.Create(name)
		wantIs(t, err, fs.ErrInvalid)
		_, err = fsys.Open(name)
		wantIs(t, err, fs.ErrInvalid)
		wantIs(t, fsys.MkdirAll(name), fs.ErrInvalid)
		wantIs(t, fsys.Remove(name), fs.ErrInvalid)
		wantIs(t, fsys.RemoveAll(name), fs.ErrInvalid)
		wantIs(t, fsys.Rename(name, "b"), fs.ErrInvalid)
		wantIs(t, fsys.SyncDir(name), fs.ErrInvalid)
		_, err = fsys.Lock(name)
		wantIs(t, err, fs.ErrInvalid)
	}
}

func testDirectories(t *testing.T, fsys FS) {
	must(t, MkdirAllSync(fsys, "a/b/c"))
	must(t, fsys.MkdirAll("a/b"))
	create(t, fsys, "a/z", "12345")
	create(t, fsys, "a/b/y", "")
	must(t, fsys.SyncDir("a/b"))
	got, err := fsys.ReadDir("a")
	must(t, err)
	if want := []Entry{{Name: "b", Dir: true}, {Name: "z", Size: 5}}; !slices.Equal(got, want) {
		t.Fatalf("listed %v, want %v", got, want)
	}
	wantNames(t, fsys, ".", "a")
	for name, call := range map[string]func() error{
		"remove a full directory": func() error { return fsys.Remove("a/b") },
		"make below a file":       func() error { return fsys.MkdirAll("a/z/q") },
		"make over a file":        func() error { return fsys.MkdirAll("a/z") },
		"list a file":             func() error { _, err := fsys.ReadDir("a/z"); return err },
		"create over a directory": func() error { _, err := fsys.Create("a/b"); return err },
		"open a directory":        func() error { _, err := fsys.Open("a/b"); return err },
		"open below a file":       func() error { _, err := fsys.Open("a/z/q"); return err },
	} {
		if call() == nil {
			t.Errorf("no error: %s", name)
		}
	}
	must(t, fsys.Remove("a/b/c"))
	wantNames(t, fsys, "a/b", "y")
}

func testRename(t *testing.T, fsys FS) {
	must(t, fsys.MkdirAll("a/sub"))
	must(t, fsys.MkdirAll("b/full/x"))
	f := create(t, fsys, "a/one", "1")
	create(t, fsys, "b/two", "2")
	must(t, fsys.Rename("a/one", "b/two"))
	wantContent(t, fsys, "b/two", "1")
	wantNames(t, fsys, "a", "sub")
	_, err := f.WriteAt([]byte("9"), 0)
	must(t, err)
	wantContent(t, fsys, "b/two", "9")
	must(t, fsys.Rename("b/two", "b/two"))
	must(t, fsys.Rename("a/sub", "c"))
	must(t, fsys.Rename("b", "a/b"))
	wantContent(t, fsys, "a/b/two", "9")
	for name, call := range map[string]func() error{
		"file over directory":           func() error { return fsys.Rename("a/b/two", "c") },
		"directory over file":           func() error { return fsys.Rename("c", "a/b/two") },
		"directory over full directory": func() error { return fsys.Rename("c", "a/b/full") },
		"directory below itself":        func() error { return fsys.Rename("a", "a/b/c") },
	} {
		if call() == nil {
			t.Errorf("no error: %s", name)
		}
	}
	wantNames(t, fsys, ".", "a", "c")
	wantNames(t, fsys, "a/b", "full", "two")
}

func testRemoveAll(t *testing.T, fsys FS) {
	must(t, fsys.MkdirAll("a/b/c"))
	create(t, fsys, "a/f", "")
	create(t, fsys, "a/b/g", "")
	must(t, fsys.RemoveAll("a/b"))
	wantNames(t, fsys, "a", "f")
	must(t, fsys.RemoveAll("a/f"))
	must(t, fsys.RemoveAll("a"))
	wantNames(t, fsys, ".")
}

func testRemovedWhileOpen(t *testing.T, fsys FS) {
	f := create(t, fsys, "a", "kept")
	must(t, fsys.Remove("a"))
	create(t, fsys, "a", "other")
	got := make([]byte, 4)
	_, err := f.ReadAt(got, 0)
	must(t, err)
	if string(got) != "kept" {
		t.Fatalf("read %q from a removed file", got)
	}
	_, err = f.WriteAt([]byte("more"), 4)
	must(t, err)
	must(t, f.Sync())
	wantContent(t, fsys, "a", "other")
}

func testWriteV(t *testing.T, fsys FS) {
	f := create(t, fsys, "a", "head")
	var want bytes.Buffer
	want.WriteString("head")
	var buffers [][]byte
	for i := range 2500 { // more than one pwritev takes
		b := bytes.Repeat([]byte{byte(i)}, i%97)
		buffers = append(buffers, b)
		want.Write(b)
	}
	before := slices.Clone(buffers)
	n, err := f.WriteVAt(buffers, 4)
	must(t, err)
	if n != int64(want.Len()-4) {
		t.Fatalf("wrote %d bytes, want %d", n, want.Len()-4)
	}
	for i := range buffers {
		if len(buffers[i]) != len(before[i]) {
			t.Fatal("the slice of buffers was changed")
		}
	}
	wantContent(t, fsys, "a", want.String())
	for _, none := range [][][]byte{nil, {}, {nil, {}}} {
		if n, err := f.WriteVAt(none, 1<<20); n != 0 || err != nil {
			t.Fatalf("writing nothing: %d, %v", n, err)
		}
	}
	wantContent(t, fsys, "a", want.String())
}

func testTruncate(t *testing.T, fsys FS) {
	f := create(t, fsys, "a", "0123456789")
	must(t, f.Truncate(4))
	wantContent(t, fsys, "a", "0123")
	must(t, f.Truncate(8))
	wantContent(t, fsys, "a", "0123\x00\x00\x00\x00")
	must(t, f.Truncate(0))
	_, err := f.WriteAt([]byte("x"), 2)
	must(t, err)
	wantContent(t, fsys, "a", "\x00\x00x")
	if f.Truncate(-1) == nil {
		t.Fatal("truncated to a negative size")
	}
}

func testHoles(t *testing.T, fsys FS) {
	f := create(t, fsys, "a", "")
	const far = 1 << 40
	_, err := f.WriteAt([]byte("end"), far)
	must(t, err)
	if size, err := f.Size(); size != far+3 || err != nil {
		t.Fatalf("size is %d, %v", size, err)
	}
	got := make([]byte, 100)
	_, err = f.ReadAt(got, far-97)
	must(t, err)
	if !bytes.Equal(got[:97], make([]byte, 97)) || string(got[97:]) != "end" {
		t.Fatalf("read %q", got)
	}
	must(t, f.Truncate(far-1))
	must(t, f.Truncate(far+3))
	_, err = f.ReadAt(got, far-97)
	must(t, err)
	if !bytes.Equal(got, make([]byte, 100)) {
		t.Fatalf("read %q after truncation", got)
	}
}

func testClosed(t *testing.T, fsys FS) {
	f, err := fsys.Create("a")
	must(t, err)
	must(t, f.Close())
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantIs(t, err, fs.ErrClosed)
	_, err = f.WriteAt([]byte("x"), 0)
	wantIs(t, err, fs.ErrClosed)
	_, err = f.WriteVAt([][]byte{{1}}, 0)
	wantIs(t, err, fs.ErrClosed)
	_, err = f.Size()
	wantIs(t, err, fs.ErrClosed)
	wantIs(t, f.Truncate(1), fs.ErrClosed)
	wantIs(t, f.Sync(), fs.ErrClosed)
	wantIs(t, f.Allocate(0, 10), fs.ErrClosed)
	wantIs(t, f.Close(), fs.ErrClosed)
	f.StartWriteback(0, 10)
}

func testLock(t *testing.T, fsys FS) {
	lock, err := fsys.Lock("LOCK")
	must(t, err)
	_, err = fsys.Lock("LOCK")
	wantIs(t, err, ErrLocked)
	other, err := fsys.Lock("OTHER")
	must(t, err)
	must(t, lock.Close())
	lock, err = fsys.Lock("LOCK")
	must(t, err)
	must(t, lock.Close())
	wantIs(t, lock.Close(), fs.ErrClosed)
	must(t, other.Close())
	wantNames(t, fsys, ".", "LOCK", "OTHER")
}

func testHints(t *testing.T, fsys FS) {
	free, total, err := fsys.Space(".")
	must(t, err)
	if free == 0 || free > total {
		t.Fatalf("%d of %d bytes are free", free, total)
	}
	f := create(t, fsys, "a", "data")
	must(t, f.Allocate(0, 1<<20))
	f.StartWriteback(0, 4)
	f.StartWriteback(0, 0)
	must(t, f.Sync())
	wantContent(t, fsys, "a", "data")
}

func testReplaceFile(t *testing.T, fsys FS) {
	must(t, fsys.MkdirAll("d"))
	must(t, ReplaceFile(fsys, "d/a", []byte("one")))
	must(t, ReplaceFile(fsys, "d/a", []byte("2")))
	wantContent(t, fsys, "d/a", "2")
	must(t, ReplaceFile(fsys, "top", nil))
	wantContent(t, fsys, "top", "")
	wantNames(t, fsys, "d", "a")
	if _, err := ReadFile(fsys, "none", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got error %v, want not exist", err)
	}
	must(t, ReplaceFile(fsys, "long", []byte("12345")))
	if got, err := ReadFile(fsys, "long", 5); err != nil || string(got) != "12345" {
		t.Errorf("got %q, error %v", got, err)
	}
	if got, err := ReadFile(fsys, "long", 4); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %q, error %v of a file that is too long", got, err)
	}
}

// testRandomWrites compares with a plain slice of bytes.
func testRandomWrites(t *testing.T, fsys FS) {
	rnd := rand.New(rand.NewPCG(1, 2))
	f := create(t, fsys, "a", "")
	var model []byte
	for range 300 {
		off, length := rnd.IntN(3*chunkSize), rnd.IntN(chunkSize*3/2)
		if rnd.IntN(8) == 0 {
			must(t, f.Truncate(int64(off)))
			model = resized(model, off)
			continue
		}
		b := bytes.Repeat([]byte{byte(rnd.Uint32() | 1)}, length)
		if _, err := f.WriteVAt([][]byte{b[:length/3], b[length/3:]}, int64(off)); err != nil {
			t.Fatal(err)
		}
		if length > 0 {
			model = resized(model, max(len(model), off+length))
			copy(model[off:], b)
		}
		if rnd.IntN(5) == 0 {
			must(t, f.Sync())
		}
	}
	got, err := ReadFile(fsys, "a", 1<<20)
	must(t, err)
	if !bytes.Equal(got, model) {
		t.Fatal("content differs from the model")
	}
}

// resized is b cut off or filled with zeros.
func resized(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

func testConcurrent(t *testing.T, fsys FS) {
	must(t, fsys.MkdirAll("d"))
	shared := create(t, fsys, "d/shared", "")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			own := "d/" + string(rune('a'+w))
			for i := range 50 {
				f, err := fsys.Create(own)
				if err != nil {
					t.Error(err)
					return
				}
				shared.WriteAt([]byte{byte(w)}, int64(i*4+w))
				shared.ReadAt(make([]byte, 8), int64(i))
				f.WriteVAt([][]byte{{1, 2}, {3}}, 0)
				f.Sync()
				f.Close()
				fsys.ReadDir("d")
				fsys.Rename(own, own+"2")
				fsys.SyncDir("d")
			}
		})
	}
	wg.Wait()
	wantNames(t, fsys, "d", "a2", "b2", "c2", "d2", "shared")
	if size, err := shared.Size(); size != 200 || err != nil {
		t.Fatalf("size is %d, %v; want 200", size, err)
	}
}
