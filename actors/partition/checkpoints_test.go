package partition

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"understudy/cluster/metadata"
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
	if err := first.EndRun(); err != nil {
		t.Fatal(err)
	}
	if later, clean := load(6); clean || taken(t, later, someTopic).Clean {
		t.Error("the file of a run before the last counts as clean")
	}
	next, clean := load(5)
	if !clean {
		t.Error("a run that was stopped in order counts as cut off")
	}
	if err := next.BeginRun(); err != nil {
		t.Fatal(err)
	}
	if err := next.Note(); err != nil { // the keeper, before the log is opened
		t.Fatal(err)
	}
	if _, clean := load(6); clean {
		t.Error("a run in whose midst the file was written counts as stopped in order")
	}
	if cp := taken(t, next, someTopic); !cp.Clean || cp.End != 9 {
		t.Errorf("taken %+v", cp)
	}
	if cp := taken(t, next, someTopic); cp.Clean {
		t.Error("a clean checkpoint was given out twice")
	}
	if _, clean := load(6); clean {
		t.Error("a run that has begun, and has not ended, counts as stopped in order")
	}
}

func taken(t *testing.T, c *Checkpoints, id messages.TopicID) *log.Checkpoint {
	t.Helper()
	cp, err := c.take(id, orders0)
	if err != nil {
		t.Fatal(err)
	}
	return cp
}

// TestTheFileForgetsAReplicaBeforeTheNextBegins has the process end before the file would
// be written again.
func TestTheFileForgetsAReplicaBeforeTheNextBegins(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	load := func(run messages.BrokerEpoch) *Checkpoints {
		c, _, err := LoadCheckpoints(disk, run)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := load(1)
	c.put(someTopic, orders0, log.Checkpoint{End: 9, Recovery: 9})
	if err := c.Note(); err != nil {
		t.Fatal(err)
	}
	c.drop(someTopic, orders0)
	if !load(2).knows(someTopic, orders0) {
		t.Error("a replica that is gone, and has no successor, cost a write of the file")
	}
	taken(t, c, someTopic)
	if load(2).knows(someTopic, orders0) {
		t.Error("the next replica inherits the checkpoint")
	}
}

func TestATopicMadeAnewInheritsNothing(t *testing.T) {
	c, _, err := LoadCheckpoints(vfs.NewMem(vfs.MemOptions{}), 1)
	if err != nil {
		t.Fatal(err)
	}
	c.put(someTopic, orders0, log.Checkpoint{End: 9})
	if c.knows(messages.TopicID{9}, orders0) || taken(t, c, messages.TopicID{9}) != nil {
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

// TestADamagedIdentityIsNotBelieved turns each bit of the file that says whose the
// directory is: it must not be taken for an earlier topic's, and removed.
func TestADamagedIdentityIsNotBelieved(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	dir := orders0.String()
	if err := disk.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := writeIdentity(disk, dir, someTopic); err != nil {
		t.Fatal(err)
	}
	f, err := disk.Open(dir + "/" + identityFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole := make([]byte, 128)
	n, _ := f.ReadAt(whole, 0)
	for bit := range 8 * n {
		turned := bytes.Clone(whole[:n])
		turned[bit/8] ^= 1 << (bit % 8)
		if _, err := f.WriteAt(turned, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := claimDirectory(disk, orders0, someTopic); err != nil {
			t.Fatal(err)
		}
		if entries, _ := disk.ReadDir("."); len(entries) != 1 || entries[0].Name != dir {
			t.Fatalf("with bit %d of %q turned it is gone: %v", bit, whole[:n], entries)
		}
	}
	old := fmt.Appendf(nil, identityText, messages.TopicID{9}) // without a checksum
	if err := vfs.ReplaceFile(disk, dir+"/"+identityFile, old); err != nil {
		t.Fatal(err)
	}
	if _, err := claimDirectory(disk, orders0, someTopic); err != nil {
		t.Fatal(err)
	}
	if entries, _ := disk.ReadDir("."); len(entries) != 0 {
		t.Errorf("an earlier topic's is left: %v", entries)
	}
}

func TestSweepEndsDeletionsAndNamesStrays(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	for _, dir := range []string{"orders-0", "orders-1", "orders-2", "orders-3", "orders-4", "lost-1", "x-0-delete", "metadata"} {
		if err := disk.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	for dir, id := range map[string]messages.TopicID{"orders-0": someTopic, "orders-1": someTopic, "orders-2": {15: 99}, "lost-1": someTopic} {
		if err := writeIdentity(disk, dir, id); err != nil {
			t.Fatal(err)
		}
	}
	f, err := disk.Create("orders-3/00000000000000000000.log") // which partition's it is was lost with the power
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	strays, err := SweepDirectories(disk, func(dir string) Place {
		if number, ok := strings.CutPrefix(dir, "orders-"); ok { // the replicas but for 0 have moved away
			n, _ := strconv.Atoi(number)
			return Place{Partition: messages.TopicPartition{Topic: "orders", Partition: int32(n)}, Topic: someTopic, Here: n == 0}
		}
		return Place{}
	})
	slices.Sort(strays)
	if err != nil || !slices.Equal(strays, []string{"lost-1", "orders-2"}) { // the latter is an older topic's
		t.Errorf("strays %v, %v; want lost-1 and orders-2", strays, err)
	}
	entries, err := disk.ReadDir(".")
	var left []string
	for _, e := range entries {
		left = append(left, e.Name)
	}
	slices.Sort(left)
	if err != nil || !slices.Equal(left, []string{"lost-1", "metadata", "orders-0", "orders-2", "orders-4"}) {
		t.Errorf("left %v, %v; a deletion was not finished", left, err)
	}
}

// TestCheckpointsOfReplicasThatAreGoneAreDropped has replicas move away, and back,
// while the broker is down.
func TestCheckpointsOfReplicasThatAreGoneAreDropped(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	c, _, err := LoadCheckpoints(disk, 2)
	if err != nil {
		t.Fatal(err)
	}
	tp := func(n int32) messages.TopicPartition { return messages.TopicPartition{Topic: "orders", Partition: n} }
	for n := range int32(4) {
		c.put(someTopic, tp(n), log.Checkpoint{End: 10})
	}
	c.put(messages.TopicID{9}, messages.TopicPartition{Topic: "deleted"}, log.Checkpoint{End: 10})
	if err := disk.MkdirAll("orders-2"); err != nil {
		t.Fatal(err)
	}
	e := metadata.NewEdit(metadata.Empty())
	both, other := []messages.BrokerID{1, 2}, []messages.BrokerID{2}
	e.CreateTopic(&metadata.Topic{Name: "orders", ID: someTopic, Partitions: []metadata.Partition{
		{Replicas: other, ISR: other, Leader: 2}, // has moved away
		{Replicas: both, ISR: other, Leader: 2},  // and back: its files are gone
		{Replicas: both, ISR: other, Leader: 2},  // was behind
		{Replicas: both, ISR: both, Leader: 2},   // its files are gone, and that is a loss
	}})
	im, _, err := e.Seal(1)
	if err != nil {
		t.Fatal(err)
	}
	c.Settle(im, 1)
	var left []int32
	for n := range int32(4) {
		if c.knows(someTopic, tp(n)) {
			left = append(left, n)
		}
	}
	if !slices.Equal(left, []int32{2, 3}) || len(c.latest) != 2 {
		t.Errorf("left are %v of %v", left, c.latest)
	}
}
