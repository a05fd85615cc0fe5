//go:build linux && cluster

package powerfs

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func mounted(t *testing.T) (*Disk, string) {
	t.Helper()
	dir := t.TempDir()
	d, err := Mount(dir)
	if err != nil {
		t.Fatalf("mount: %v (this needs root and /dev/fuse)", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhatWasSyncedStays writes files through the kernel, syncs some and cuts the
// power: those stay as they were synced, whatever becomes of the others.
func TestWhatWasSyncedStays(t *testing.T) {
	d, dir := mounted(t)
	for seed := range uint64(40) {
		folder := filepath.Join(dir, "folder", string(rune('a'+seed)))
		must(t, os.MkdirAll(folder, 0o700))
		for _, parent := range []string{dir, filepath.Dir(folder), folder} {
			syncDir(t, parent)
		}
		kept := bytes.Repeat([]byte("kept"), 5000)
		f, err := os.Create(filepath.Join(folder, "temporary"))
		must(t, err)
		_, err = f.Write(kept)
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
		must(t, os.Rename(filepath.Join(folder, "temporary"), filepath.Join(folder, "file")))
		syncDir(t, folder)
		f, err = os.OpenFile(filepath.Join(folder, "file"), os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt(bytes.Repeat([]byte("lost"), 5000), int64(len(kept)))
		must(t, err)
		must(t, f.Close())
		must(t, d.Cut(rand.New(rand.NewPCG(seed, 1))))
		have, err := os.ReadFile(filepath.Join(folder, "file"))
		must(t, err)
		if !bytes.HasPrefix(have, kept) {
			t.Errorf("seed %d: %d bytes are left, and not those that were synced", seed, len(have))
		}
	}
}

// TestWhatWasNotSyncedGoes makes sure that the cut cuts.
func TestWhatWasNotSyncedGoes(t *testing.T) {
	d, dir := mounted(t)
	lost := 0
	for seed := range uint64(40) {
		name := filepath.Join(dir, "file")
		must(t, os.WriteFile(name, bytes.Repeat([]byte("x"), 100_000), 0o600))
		must(t, d.Cut(rand.New(rand.NewPCG(seed, 2))))
		if have, err := os.ReadFile(name); err != nil || !bytes.Equal(have, bytes.Repeat([]byte("x"), 100_000)) {
			lost++
		}
		_ = os.Remove(name) // it may not be there
		syncDir(t, dir)
	}
	if lost < 20 {
		t.Errorf("only %d of 40 cuts lost anything", lost)
	}
}

// TestAFullDisk takes nothing new, and everything again when there is room.
func TestAFullDisk(t *testing.T) {
	d, dir := mounted(t)
	name := filepath.Join(dir, "file")
	must(t, os.WriteFile(name, []byte("before"), 0o600))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	d.Fill(true)
	if _, err := f.WriteAt([]byte("more"), 6); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a longer file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a new file: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a new directory: %v", err)
	}
	_, err = f.WriteAt([]byte("behind"), 0)
	must(t, err)
	must(t, f.Sync())
	d.Fill(false)
	_, err = f.WriteAt([]byte(" more"), 6)
	must(t, err)
	if have, err := os.ReadFile(name); err != nil || string(have) != "behind more" {
		t.Errorf("%q, %v", have, err)
	}
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}
