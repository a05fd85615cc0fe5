package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/persistence/vfs"
)

// history is transactions and the state after each: states[i] after i of them.
type history struct {
	txns   []metadata.Txn
	states []metadata.State
}

// newHistory draws n transactions that all change something.
func newHistory(t testing.TB, seed uint64, n int) history {
	rnd := rand.New(rand.NewPCG(seed, 0))
	model := NewMemory()
	h := history{states: []metadata.State{load(t, model)}}
	for i := range n {
		var txn metadata.Txn
		for k := range 10 {
			switch key := fmt.Sprint("key-", k); rnd.IntN(8) {
			case 0, 1:
				value := strings.Repeat(fmt.Sprint(i), rnd.IntN(60))
				txn.Puts = append(txn.Puts, metadata.Put{Key: key, Value: []byte(value)})
			case 2:
				txn.Deletes = append(txn.Deletes, key)
			}
		}
		txn.Puts = append(txn.Puts, metadata.Put{Key: "always", Value: make([]byte, rnd.IntN(9000))})
		_, err := model.Commit(ctx, txn)
		must(t, err)
		h.txns = append(h.txns, txn)
		h.states = append(h.states, load(t, model))
	}
	return h
}

// run opens a Store and carries on with the history from where it is. It gives
// how many transactions were acknowledged, and the error that ended it.
func (h history) run(fsys vfs.FS) (acknowledged int, err error) {
	s, err := Open(fsys, "data/meta", Options{CompactBytes: 20_000})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	state, err := s.Load(ctx)
	if err != nil {
		return 0, err
	}
	for i := int(state.Revision); i < len(h.txns); i++ {
		if _, err := s.Commit(ctx, h.txns[i]); err != nil {
			return i, err
		}
	}
	return len(h.txns), nil
}

// verify opens what a cut left, and wants the acknowledged transactions whole,
// and of the one that was under way all or nothing.
func (h history) verify(t *testing.T, what string, fsys vfs.FS, acknowledged int) {
	t.Helper()
	s, err := Open(fsys, "data/meta", Options{CompactBytes: 20_000})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer s.Close()
	state := load(t, s)
	n := int(state.Revision)
	if n < acknowledged || n > acknowledged+1 || n >= len(h.states) || !equal(state, h.states[n]) {
		t.Fatalf("%s: found revision %d of %d acknowledged, or not what it was", what, n, acknowledged)
	}
}

const losses = vfs.LoseMixed + 1

// TestPowerCutEverywhere cuts the power during every call that changes the disk,
// also while the Store is made, compacted and recovered, and in every way.
func TestPowerCutEverywhere(t *testing.T) {
	h := newHistory(t, 1, 20)
	whole := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
	if n, err := h.run(whole); n != len(h.txns) || err != nil {
		t.Fatal(n, err)
	}
	if whole.Ops() < 60 {
		t.Fatalf("only %d calls: nothing was compacted", whole.Ops())
	}
	for n := int64(1); n <= whole.Ops(); n++ {
		disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
		disk.StopAt(n)
		acknowledged, err := h.run(disk)
		if !errors.Is(err, vfs.ErrCut) && acknowledged < len(h.txns) {
			t.Fatalf("cut at %d: ended with %v", n, err)
		}
		for loss := range losses {
			for seed := range uint64(5) {
				what := fmt.Sprintf("cut at %d, loss %d, seed %d", n, loss, seed)
				found := disk.Cut(loss, rand.New(rand.NewPCG(seed, 0)))
				h.cutAgain(t, what, found, acknowledged, seed)
			}
		}
	}
}

// cutAgain cuts the power once more, at one of the first calls after the restart.
func (h history) cutAgain(t *testing.T, what string, disk *vfs.Mem, acknowledged int, seed uint64) {
	t.Helper()
	h.verify(t, what, disk.Cut(vfs.LoseNone, nil), acknowledged)
	disk.StopAt(int64(seed) + 1)
	more, err := h.run(disk)
	if err == nil {
		more = len(h.txns)
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	h.verify(t, what+", and again", disk.Cut(vfs.LoseMixed, rnd), max(acknowledged, more))
}

// TestDiskErrorEverywhere fails each call once, and wants the Store to take
// nothing after it.
func TestDiskErrorEverywhere(t *testing.T) {
	h := newHistory(t, 2, 12)
	for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpOpen, vfs.OpWrite, vfs.OpSync, vfs.OpRename, vfs.OpSyncDir, vfs.OpMkdir, vfs.OpRead} {
		for after := range 40 {
			disk := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
			faulty := vfs.NewFaulty(disk, nil)
			fault := faulty.Add(vfs.Rule{Ops: op, After: after, Times: 1, Err: syscall.EIO, Short: 100})
			acknowledged, err := h.run(faulty)
			if fault.Struck() == 0 {
				break
			}
			what := fmt.Sprintf("%s fails after %d", op, after)
			if err == nil && acknowledged < len(h.txns) || err != nil && !errors.Is(err, syscall.EIO) {
				t.Fatalf("%s: ended with %v", what, err)
			}
			h.verify(t, what, disk.Cut(vfs.LoseNone, nil), acknowledged)
			h.verify(t, what+", then a power cut", disk.Cut(vfs.LoseAll, nil), acknowledged)
			h.restart(t, what, disk)
		}
	}
}

// restart opens what a process left behind that ended with an error, on a machine
// that goes on: what is read then must not be lost with the power afterwards.
func (h history) restart(t *testing.T, what string, disk *vfs.Mem) {
	t.Helper()
	s, err := Open(disk, "data/meta", Options{CompactBytes: 20_000})
	must(t, err)
	seen := int(load(t, s).Revision)
	must(t, s.Close())
	h.verify(t, what+", seen after a restart", disk.Cut(vfs.LoseAll, nil), seen)
	if n, err := h.run(disk); n != len(h.txns) || err != nil {
		t.Fatalf("%s: after a restart %d transactions, %v", what, n, err)
	}
	h.verify(t, what+", carried on after a restart", disk.Cut(vfs.LoseAll, nil), len(h.txns))
}

func TestFailedForGood(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		faulty := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
		s := open(t, faulty)
		_, err := s.Commit(ctx, puts("a", "1"))
		must(t, err)
		faulty.Add(vfs.Rule{Ops: op, Times: 1, Err: syscall.EIO})
		for range 2 { // the disk is well again at the second
			_, err = s.Commit(ctx, puts("a", "2"))
			if !errors.Is(err, syscall.EIO) || messages.KindOf(err) != messages.StorageError {
				t.Fatalf("a failed %s: got error %v", op, err)
			}
		}
		if got := show(load(t, s)); got != "a=1@1" {
			t.Errorf("holds %q after a failed %s", got, op)
		}
	}
}

// fileOf makes a file of the first n transactions of a history, and gives its
// bytes and the position of each frame.
func fileOf(t testing.TB, h history) (data []byte, frames []int) {
	data, err := appendFrame([]byte(fileHeader), snapshotOf(h.states[1]))
	must(t, err)
	frames = []int{len(fileHeader)}
	model := &Store{}
	for i := 1; i < len(h.txns); i++ {
		frames = append(frames, len(data))
		model.state = h.states[i]
		data, err = appendFrame(data, model.changeOf(h.txns[i]))
		must(t, err)
	}
	return data, frames
}

func openBytes(t testing.TB, data []byte) (*Store, error) {
	fsys := vfs.NewMem(vfs.MemOptions{})
	must(t, fsys.MkdirAll("meta"))
	must(t, vfs.ReplaceFile(fsys, "meta/"+fileName, data))
	return Open(fsys, "meta", Options{})
}

func smallHistory(t testing.TB) history {
	h := history{states: []metadata.State{{}}}
	model := NewMemory()
	for i := range 5 {
		txn := puts(fmt.Sprint("key-", i), "some value", "again", fmt.Sprint(i))
		_, err := model.Commit(ctx, txn)
		must(t, err)
		h.txns = append(h.txns, txn)
		h.states = append(h.states, load(t, model))
	}
	return h
}

// TestEveryFlippedBit is found, and never read as something else. In the last
// frame it cannot be told from a write that was cut.
func TestEveryFlippedBit(t *testing.T) {
	h := smallHistory(t)
	data, frames := fileOf(t, h)
	last := frames[len(frames)-1]
	for bit := range len(data) * 8 {
		data[bit/8] ^= 1 << (bit % 8)
		s, err := openBytes(t, data)
		data[bit/8] ^= 1 << (bit % 8)
		if bit/8 >= last {
			must(t, err)
			if state := load(t, s); !equal(state, h.states[len(frames)-1]) {
				t.Fatalf("bit %d: found %q", bit, show(state))
			}
			continue
		}
		if err == nil {
			t.Fatalf("bit %d: not noticed, found %q", bit, show(load(t, s)))
		}
		at := 0
		for _, f := range frames {
			if f <= bit/8 {
				at = f
			}
		}
		version := bit/8 == 6 || bit/8 == 7
		if where := fmt.Sprintf("meta/%s: corrupt message: at byte %d:", fileName, at); !version && !strings.Contains(err.Error(), where) {
			t.Fatalf("bit %d: the error is %q, want %q in it", bit, err, where)
		}
	}
}

func TestEveryLength(t *testing.T) {
	h := smallHistory(t)
	data, frames := fileOf(t, h)
	for n := range len(data) + 1 {
		whole := 0
		for i := range frames {
			end := len(data)
			if i+1 < len(frames) {
				end = frames[i+1]
			}
			if end <= n {
				whole = i + 1
			}
		}
		s, err := openBytes(t, data[:n])
		if whole == 0 {
			if err == nil {
				t.Fatalf("%d bytes without a snapshot were opened", n)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if state := load(t, s); !equal(state, h.states[whole]) {
			t.Fatalf("%d bytes: found %q", n, show(state))
		}
		if _, err := s.Commit(ctx, puts("new", "n")); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func TestFramesThatDoNotFollow(t *testing.T) {
	snapshot := change{snapshot: true, revision: 5}
	tests := map[string]struct {
		frames []change
		want   string
	}{
		"no snapshot":    {[]change{{revision: 1}}, "snapshot is not the first frame"},
		"two snapshots":  {[]change{snapshot, snapshot}, "snapshot is not the first frame"},
		"gap":            {[]change{snapshot, {revision: 6}, {revision: 8}}, "revision 8 follows 6"},
		"twice the same": {[]change{snapshot, {revision: 6}, {revision: 6}}, "revision 6 follows 6"},
	}
	for name, test := range tests {
		data := []byte(fileHeader)
		for _, c := range test.frames {
			data, _ = appendFrame(data, c)
		}
		if _, err := openBytes(t, data); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %q in it", name, err, test.want)
		}
	}
	if _, err := openBytes(t, []byte("usmeta\x00\x02")); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("another version: got error %v", err)
	}
}

// repair gives the first frame the length and checksum that fit, so that what is
// behind them is reached.
func repair(data []byte) {
	if len(data) < len(fileHeader)+frameHeader {
		return
	}
	frame := data[len(fileHeader):]
	binary.BigEndian.PutUint32(frame[4:], uint32(len(frame)-frameHeader))
	binary.BigEndian.PutUint32(frame[8:], frameSum(frame))
}

// FuzzReplay reads anything without harm, and what it accepts it reads again.
func FuzzReplay(f *testing.F) {
	data, _ := fileOf(f, smallHistory(f))
	f.Add(data)
	f.Add([]byte(fileHeader))
	f.Fuzz(func(t *testing.T, data []byte) {
		repair(data)
		found, err := replay(data)
		if err != nil {
			return
		}
		again, err := appendFrame([]byte(fileHeader), snapshotOf(found.state))
		must(t, err)
		second, err := replay(again)
		must(t, err)
		if !equal(found.state, second.state) {
			t.Error("read differently the second time")
		}
	})
}
