package vfs

import (
	"errors"
	"io/fs"
	"math/bits"
	"syscall"
	"testing"
)

func newFaulty(t *testing.T) (*Faulty, File) {
	t.Helper()
	faulty := NewFaulty(NewMem(MemOptions{}), nil)
	must(t, faulty.MkdirAll("d"))
	return faulty, create(t, faulty, "d/a.log", "0123456789")
}

func TestFaultyStrikesEachKindOfCall(t *testing.T) {
	fsys, f := newFaulty(t)
	calls := map[Op]func() error{
		OpCreate:    func() error { _, err := fsys.Create("x"); return err },
		OpOpen:      func() error { _, err := fsys.Open("d/a.log"); return err },
		OpRemove:    func() error { return errors.Join(fsys.Remove("x"), fsys.RemoveAll("x")) },
		OpRename:    func() error { return fsys.Rename("d/a.log", "x") },
		OpMkdir:     func() error { return fsys.MkdirAll("x") },
		OpReadDir:   func() error { _, err := fsys.ReadDir("."); return err },
		OpSyncDir:   func() error { return fsys.SyncDir(".") },
		OpLock:      func() error { _, err := fsys.Lock("x"); return err },
		OpSpace:     func() error { _, _, err := fsys.Space("."); return err },
		OpRead:      func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		OpWrite:     func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
		OpAllocate:  func() error { return f.Allocate(0, 1) },
		OpSync:      f.Sync,
		OpTruncate:  func() error { return f.Truncate(0) },
		OpSize:      func() error { _, err := f.Size(); return err },
		OpWriteback: func() error { f.StartWriteback(0, 1); return syscall.EIO },
		OpClose:     f.Close,
	}
	for op := OpCreate; op <= OpAny; op <<= 1 {
		call := calls[op]
		if call == nil {
			t.Fatalf("%s is not tried", op)
		}
		fault := fsys.Add(Rule{Ops: op, Err: syscall.EIO})
		err := call()
		wantIs(t, err, syscall.EIO)
		if fault.Struck() == 0 {
			t.Errorf("%s was not struck", op)
		}
		fsys.Clear()
	}
	wantIs(t, f.Sync(), fs.ErrClosed) // a Close that failed has closed
	wantContent(t, fsys, "d/a.log", "0123456789")
	wantNames(t, fsys, ".", "d")
}

func TestFaultyConditions(t *testing.T) {
	fsys, f := newFaulty(t)
	write := func() error { _, err := f.WriteAt([]byte("x"), 0); return err }

	other := fsys.Add(Rule{Ops: OpAny, Path: "*.index", Err: syscall.EIO})
	must(t, write())
	whole := fsys.Add(Rule{Ops: OpWrite, Path: "d/*.log", Err: syscall.ENOSPC})
	wantIs(t, write(), syscall.ENOSPC)
	whole.Remove()
	must(t, write())

	nth := fsys.Add(Rule{Ops: OpWrite, Path: "*.log", After: 2, Times: 1, Err: syscall.EIO})
	must(t, write())
	must(t, write())
	wantIs(t, write(), syscall.EIO)
	must(t, write())
	if nth.Struck() != 1 || other.Struck() != 0 {
		t.Fatalf("struck %d and %d times, want 1 and 0", nth.Struck(), other.Struck())
	}

	sometimes := fsys.Add(Rule{Ops: OpWrite, Probability: 0.25, Err: syscall.EIO})
	failed := 0
	for range 1000 {
		if write() != nil {
			failed++
		}
	}
	if failed < 150 || failed > 350 || failed != sometimes.Struck() {
		t.Errorf("%d of 1000 calls failed, want about 250", failed)
	}
}

func TestFaultyShortWrite(t *testing.T) {
	fsys, f := newFaulty(t)
	fsys.Add(Rule{Ops: OpWrite, Err: syscall.ENOSPC, Short: 3, Times: 1})
	n, err := f.WriteVAt([][]byte{[]byte("ab"), []byte("cd")}, 8)
	wantIs(t, err, syscall.ENOSPC)
	if n != 3 {
		t.Errorf("wrote %d bytes, want 3", n)
	}
	wantContent(t, fsys, "d/a.log", "01234567abc")
	fsys.Add(Rule{Ops: OpWrite, Err: syscall.EIO, Short: 99})
	if n, _ := f.WriteAt([]byte("xy"), 0); n != 1 {
		t.Errorf("a write that failed wrote %d bytes of 2, want 1", n)
	}
}

func TestFaultyFlipsOneBit(t *testing.T) {
	fsys, f := newFaulty(t)
	fsys.Add(Rule{Ops: OpRead, FlipBit: true, Times: 1})
	got := make([]byte, 10)
	_, err := f.ReadAt(got, 0)
	must(t, err)
	flipped := 0
	for i, b := range []byte("0123456789") {
		flipped += bits.OnesCount8(b ^ got[i])
	}
	if flipped != 1 {
		t.Errorf("%d bits differ, want 1", flipped)
	}
	wantContent(t, fsys, "d/a.log", "0123456789")
}

func TestFaultyGateHoldsACall(t *testing.T) {
	fsys, f := newFaulty(t)
	gate, reached, done := make(chan struct{}), make(chan struct{}), make(chan error)
	fsys.Add(Rule{Ops: OpSync, Gate: gate, Reached: reached})
	go func() { done <- f.Sync() }()
	<-reached
	select {
	case <-done:
		t.Fatal("the call passed a closed gate")
	default:
	}
	wantContent(t, fsys, "d/a.log", "0123456789") // other calls pass
	close(gate)
	must(t, <-done)
}
