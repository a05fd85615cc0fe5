package understudy

import (
	"testing"

	"understudy/actors/partition"
	"understudy/persistence/log"
	"understudy/persistence/vfs"
)

func TestWhatTheLastRunLeft(t *testing.T) {
	in := func(boot string, last run) *Broker {
		return &Broker{files: vfs.NewMem(vfs.MemOptions{}), boot: boot, identity: identity{Run: last}}
	}
	stopped := func(b *Broker, epoch int64, clean bool) *Broker {
		if err := log.WriteCheckpoints(b.files, partition.CheckpointFile, epoch, map[string]log.Checkpoint{"a": {Clean: clean}}); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		what string
		b    *Broker
		kept bool
	}{
		{"the process was killed", in("x", run{"x", 6}), true},
		{"the machine went down", in("y", run{"x", 6}), false},
		{"the boot is not known", in("", run{"", 6}), false},
		{"an old copy was brought back", in("x", run{"x", 5}), false},
		{"new", in("x", run{}), false},
		{"stopped in order, and the machine as well", stopped(in("y", run{"x", 6}), 6, true), true},
		{"killed, and the machine went down", stopped(in("y", run{"x", 6}), 6, false), false},
		{"an old copy of what was stopped in order", stopped(in("y", run{"x", 5}), 5, true), false},
	} {
		if got := c.b.keptAll(7); got != c.kept {
			t.Errorf("%s: kept all: %v", c.what, got)
		}
	}
}

func TestAMachineTellsItsBoots(t *testing.T) {
	if a, b := machineBoot(), machineBoot(); a != b {
		t.Errorf("%q, then %q", a, b)
	}
}
