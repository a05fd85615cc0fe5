package log

import (
	"slices"
	"testing"

	"understudy/cluster/replica"
	"understudy/persistence/vfs"
)

// TestWhatARecoveryFoundIsThereForTheNext opens a log twice after a process that
// died: the second recovery need not read what the first has made durable, so
// the epochs that the first found there must be written down.
func TestWhatARecoveryFoundIsThereForTheNext(t *testing.T) {
	fs := vfs.NewMem(vfs.MemOptions{})
	l := open(t, quiet(fs), nil)
	m := newMaker()
	appendAll(t, l, m.batch(3))
	flushed(t, l)
	c := l.Checkpoint()
	m.epoch = 7
	appendAll(t, l, m.batch(2)) // the process dies before it is synced
	want := []replica.EpochStart{{Epoch: 0, Start: 0}, {Epoch: 7, Start: 3}}
	for n := range 3 {
		l = open(t, quiet(fs), &c)
		if got := l.Epochs(); !slices.Equal(got, want) || l.End() != 5 {
			t.Fatalf("opening %d: epochs %v, end %d; want %v, 5", n+1, got, l.End(), want)
		}
		if err := l.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}
