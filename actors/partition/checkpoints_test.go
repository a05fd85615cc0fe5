package partition

import (
	"testing"

	"understudy/messages"
	"understudy/persistence/log"
	"understudy/persistence/vfs"
)

var someTopic = messages.TopicID{1, 2, 3}

func TestACleanCheckpointCountsForTheNextRunAlone(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	load := func(run messages.BrokerEpoch) (*Checkpoints, bool) {
		t.Helper()
		c, clean, err := LoadCheckpoints(disk, run)
		if err != nil {
			t.Fatal(err)
		}
		return c, clean
	}
	first, clean := load(4)
	if clean {
		t.Error("a directory without a checkpoint counts as left in order")
	}
	first.put(someTopic, orders0, log.Checkpoint{Clean: true, End: 9, Recovery: 9})
	if err := first.Write(); err != nil {
		t.Fatal(err)
	}
	if later, clean := load(6); clean || later.take(someTopic, orders0).Clean {
		t.Error("the file of a run before the last counts as clean")
	}
	next, clean := load(5)
	if !clean {
		t.Error("a run that was stopped in order counts as cut off")
	}
	if err := next.BeginRun(); err != nil {
		t.Fatal(err)
	}
	if cp := next.take(someTopic, orders0); !cp.Clean || cp.End != 9 {
		t.Errorf("taken %+v", cp)
	}
	if cp := next.take(someTopic, orders0); cp.Clean {
		t.Error("a clean checkpoint was given out twice")
	}
	if _, clean := load(6); clean {
		t.Error("a run that has begun, and has not ended, counts as stopped in order")
	}
}

func TestATopicMadeAnewInheritsNothing(t *testing.T) {
	c, _, err := LoadCheckpoints(vfs.NewMem(vfs.MemOptions{}), 1)
	if err != nil {
		t.Fatal(err)
	}
	c.put(someTopic, orders0, log.Checkpoint{End: 9})
	if c.knows(messages.TopicID{9}, orders0) || c.take(messages.TopicID{9}, orders0) != nil {
		t.Error("another creation of the topic finds the checkpoint")
	}
}

func TestADirectoryOfAnEarlierTopicIsRemoved(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	dir := orders0.String()
	if unmarked, err := claimDirectory(disk, orders0, someTopic); err != nil || !unmarked {
		t.Fatalf("a directory that is not there: unmarked %v, %v", unmarked, err)
	}
	if err := disk.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := writeIdentity(disk, dir, someTopic); err != nil {
		t.Fatal(err)
	}
	if unmarked, err := claimDirectory(disk, orders0, someTopic); err != nil || unmarked {
		t.Errorf("our own directory: unmarked %v, %v", unmarked, err)
	}
	if unmarked, err := claimDirectory(disk, orders0, messages.TopicID{9}); err != nil || !unmarked {
		t.Errorf("an earlier topic's directory: unmarked %v, %v", unmarked, err)
	}
	if entries, _ := disk.ReadDir("."); len(entries) != 0 {
		t.Errorf("it left %v", entries)
	}
}

func TestSweepEndsDeletionsAndNamesStrays(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	for _, dir := range []string{"orders-0", "lost-1", "x-0-delete", "metadata"} {
		if err := disk.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"orders-0", "lost-1"} {
		if err := writeIdentity(disk, dir, someTopic); err != nil {
			t.Fatal(err)
		}
	}
	strays, err := SweepDirectories(disk, func(dir string) bool { return dir == "orders-0" })
	if err != nil || len(strays) != 1 || strays[0] != "lost-1" {
		t.Errorf("strays %v, %v; want lost-1", strays, err)
	}
	entries, err := disk.ReadDir(".")
	if err != nil || len(entries) != 3 {
		t.Errorf("left %v, %v; the deletion was not finished", entries, err)
	}
}
