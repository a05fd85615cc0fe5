package producer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"understudy/messages"
	"understudy/messages/batch"
)

func example() *State {
	s := after(data(0, 0, 2, 0), data(0, 2, 1, 2), build(9, 3, 0, 4, 3, batch.AttrTransactional), marker(0, 7, true))
	s.Expire(1_000, 1)
	s.Expire(1_700, 1_000)
	s.Apply(build(11, 0, 5, 1, 8, 0))
	return s
}

func TestSnapshotRoundTrip(t *testing.T) {
	want := example()
	snapshot, err := want.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	got := New()
	if err := got.UnmarshalBinary(snapshot); err != nil {
		t.Fatal(err)
	}
	for id, e := range want.entries {
		was, is := *e, *got.entries[id]
		was.older, was.newer, is.older, is.newer = nil, nil, nil, nil
		if is != was {
			t.Errorf("producer %d came back as %+v, want %+v", id, got.entries[id], e)
		}
	}
	if got.Len() != want.Len() {
		t.Errorf("%d producers, want %d", got.Len(), want.Len())
	}
	if again, _ := got.AppendBinary([]byte("x")); !bytes.Equal(again[1:], snapshot) {
		t.Error("the snapshot of the snapshot differs")
	}
	if _, err := got.Check(data(0, 3, 1, 0)); err != nil {
		t.Error(err)
	}
}

// TestSnapshotOfVersion1 reads one in which idle is a time of day.
func TestSnapshotOfVersion1(t *testing.T) {
	want := after(build(1, 0, 0, 1, 0, 0))
	want.entries[1].idle = 1_700_000_000_000
	snapshot, _ := want.MarshalBinary()
	snapshot[1] = 1
	got := New()
	if err := got.UnmarshalBinary(signed(snapshot)); err != nil {
		t.Fatal(err)
	}
	if n := got.Expire(1_000, 500) + got.Expire(1_499, 500); n != 0 {
		t.Errorf("%d expired that had just been read", n)
	}
	if n := got.Expire(1_500, 500); n != 1 {
		t.Errorf("%d expired, want 1", n)
	}
}

// signed makes the CRC of a snapshot true.
func signed(snapshot []byte) []byte {
	if len(snapshot) >= 6 {
		binary.BigEndian.PutUint32(snapshot[2:], crc32.Checksum(snapshot[6:], castagnoli))
	}
	return snapshot
}

func TestDamagedSnapshots(t *testing.T) {
	good, _ := example().MarshalBinary()
	change := func(at int, to byte) []byte {
		bad := bytes.Clone(good)
		bad[at] = to
		return signed(bad)
	}
	damage := map[string][]byte{
		"empty":               {},
		"only a head":         good[:5],
		"another version":     change(1, 9),
		"too many producers":  change(6, 255),
		"too few producers":   change(9, 1),
		"too many batches":    change(snapshotHead+46, 6),
		"negative batches":    change(snapshotHead+46, 255),
		"producers unsorted":  change(snapshotHead+7, 200),
		"negative id":         change(snapshotHead, 128),
		"bytes at the end":    signed(append(bytes.Clone(good), 0)),
		"cut in the middle":   signed(bytes.Clone(good[:len(good)-20])),
		"cut, and not signed": good[:len(good)-20],
	}
	for at := range good {
		flipped := bytes.Clone(good)
		flipped[at] ^= 4
		damage[fmt.Sprint("flipped bit at ", at)] = flipped
	}
	for name, snapshot := range damage {
		s := after(data(0, 0, 1, 0))
		if err := s.UnmarshalBinary(snapshot); messages.KindOf(err) != messages.CorruptMessage || s.Len() != 1 {
			t.Errorf("%s: %v, %d producers", name, err, s.Len())
		}
	}
}

func FuzzSnapshot(f *testing.F) {
	good, _ := example().MarshalBinary()
	f.Add(good)
	f.Add([]byte{0, 2, 0, 0, 0, 0, 255, 255, 255, 255})
	old := bytes.Clone(good)
	old[1] = 1
	f.Add(old)
	empty, _ := New().MarshalBinary()
	f.Add(empty)
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		s := New()
		snapshot = signed(bytes.Clone(snapshot)) // or nothing would get past the CRC
		if s.UnmarshalBinary(snapshot) != nil {
			return
		}
		if again, _ := s.MarshalBinary(); !bytes.Equal(again, snapshot) && snapshot[1] == snapshotVersion {
			t.Error("what was read is not what is written")
		}
		s.Check(data(0, 1, 1, 0))
		s.Admit(data(0, 1, 1, 1<<40))
		s.Apply(data(0, 1, 1, 1<<40))
		s.TruncateTo(1 << 20)
		s.Expire(1, 1)
	})
}
