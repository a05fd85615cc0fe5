package vfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAdvance goes on after pwritev stopped anywhere within its buffers.
func TestAdvance(t *testing.T) {
	buffers := [][]byte{[]byte("ab"), nil, []byte("cde"), []byte("f")}
	for n := range 7 {
		before := slices.Clone(buffers)
		rest := advance(buffers, n, false)
		if got := string(slices.Concat(rest...)); got != "abcdef"[n:] {
			t.Errorf("after %d bytes %q is left, want %q", n, got, "abcdef"[n:])
		}
		for i := range buffers {
			if string(buffers[i]) != string(before[i]) {
				t.Errorf("after %d bytes the caller's slice has changed", n)
			}
		}
	}
	owned := slices.Clone(buffers)
	if rest := advance(owned, 1, true); &rest[0] != &owned[0] {
		t.Error("a slice of our own was copied")
	}
}

func TestOSFileIsOnDisk(t *testing.T) {
	root := t.TempDir()
	f := create(t, OS(root), "a", "hello")
	must(t, f.Allocate(0, 1<<20))
	must(t, f.Sync())
	got, err := os.ReadFile(filepath.Join(root, "a"))
	must(t, err)
	if string(got) != "hello" {
		t.Fatalf("the disk holds %q", got)
	}
	buf := make([]byte, 5)
	_, err = unix.Pread(int(f.(Descriptor).Fd()), buf, 0)
	must(t, err)
	if string(buf) != "hello" {
		t.Fatalf("the descriptor reads %q", buf)
	}
}

func TestOSLockNamesItsHolder(t *testing.T) {
	root := t.TempDir()
	lock, err := OS(root).Lock("LOCK")
	must(t, err)
	defer lock.Close()
	_, err = OS(root).Lock("LOCK")
	wantIs(t, err, ErrLocked)
	if want := fmt.Sprintf("LOCK: locked by process %d", os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %q, want %q in it", err, want)
	}
}

func TestOSFollowsLinksToDirectories(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	must(t, os.Symlink(elsewhere, filepath.Join(root, "orders-0")))
	entries, err := OS(root).ReadDir(".")
	must(t, err)
	if len(entries) != 1 || !entries[0].Dir {
		t.Errorf("listed %v, want one directory", entries)
	}
}

// TestOSWriteReportsWhatWasWritten fills a tiny file system, where one can be had.
func TestOSWriteReportsWhatWasWritten(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("needs the right to mount: ", err)
	}
	defer unix.Unmount(root, unix.MNT_DETACH)
	fsys := OS(root)
	f := create(t, fsys, "a", "")
	n, err := f.WriteVAt([][]byte{make([]byte, 100_000), make([]byte, 100_000), make([]byte, 100_000)}, 0)
	wantIs(t, err, unix.ENOSPC)
	if size, _ := f.Size(); n != size || n < 200_000 {
		t.Errorf("%d bytes reported, %d written", n, size)
	}
	if err := f.Allocate(0, 1<<20); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("allocating too much: got error %v, want no space", err)
	}
	must(t, f.Close())
}
