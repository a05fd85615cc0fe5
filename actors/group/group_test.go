package group

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/vfs"
)

// TestPartitionOf compares with hashes that Java has computed.
func TestPartitionOf(t *testing.T) {
	for group, hash := range map[string]int{
		"": 0, "a": 97, "abc": 96354, "my-group": 1906497762, "console-consumer-12345": 158455506,
		"polygenelubricants": 0, // its hash is the least number there is
		"größe":              98762257, "\U0001F600": 1772899,
	} {
		if have := PartitionOf(group, 1<<31-1); have != hash%(1<<31-1) {
			t.Errorf("%q: have %d, want %d", group, have, hash)
		}
		if have := PartitionOf(group, 50); have != hash%50 {
			t.Errorf("%q of 50: have %d, want %d", group, have, hash%50)
		}
	}
}

func TestTheTopicIsMadeWhenItIsFirstNeeded(t *testing.T) {
	b := newBroker(t).start()
	if _, err := b.groups.Describe(t.Context(), "g"); messages.KindOf(err) != messages.CoordinatorNotAvailable {
		t.Errorf("without a topic: %v", err)
	}
	var asked sync.WaitGroup
	for i := range 20 {
		asked.Go(func() {
			if id, err := b.groups.Coordinator(t.Context(), fmt.Sprint("g", i)); err != nil || id != 1 {
				t.Errorf("have %d, %v", id, err)
			}
		})
	}
	asked.Wait()
	if len(b.created) != 1 {
		t.Fatalf("made %d topics", len(b.created))
	}
	if c := b.created[0]; c.Name != "__consumer_offsets" || c.Partitions != 4 || c.ReplicationFactor != 1 ||
		c.Config["cleanup.policy"] != "compact" || c.Config["segment.bytes"] != "104857600" {
		t.Errorf("made %+v", c)
	}
}

func TestMembersShareAndCommit(t *testing.T) {
	b := newBroker(t).start()
	b.find("g")
	one, two := b.consumer("g"), b.consumer("g")
	var joined sync.WaitGroup
	for _, c := range []*consumer{one, two} {
		joined.Go(func() {
			if err := c.join(); err != nil {
				t.Error(err)
			}
		})
	}
	joined.Wait()
	for one.Generation != two.Generation { // the second came late: the first has to join again
		if err := two.join(); err != nil {
			t.Fatal(err)
		}
		if err := one.join(); err != nil {
			t.Fatal(err)
		}
	}
	if one.assignment == two.assignment || len(one.assignment+two.assignment) != 2 {
		t.Errorf("assigned %q and %q", one.assignment, two.assignment)
	}
	if err := errors.Join(one.heartbeat(), two.heartbeat(), one.commit(7)); err != nil {
		t.Error(err)
	}
	if have := b.committed("g"); have != 7 {
		t.Errorf("committed is %d", have)
	}
	d := b.await("g", func(d Description) bool { return d.State == Stable })
	if d.Protocol != "range" || len(d.Members) != 2 || d.Members[0].Client.Host != "/127.0.0.1" {
		t.Errorf("have %+v", d)
	}
	list, err := b.groups.List(t.Context())
	if err != nil || len(list) != 1 || list[0] != (Listing{Group: "g", ProtocolType: "consumer", State: Stable}) {
		t.Errorf("have %v, %v", list, err)
	}
	if errs, err := b.groups.Leave(t.Context(), "g", []Leaving{{MemberID: one.MemberID}, {MemberID: two.MemberID}, {MemberID: "nobody"}}); err != nil ||
		errs[0] != nil || errs[1] != nil || messages.KindOf(errs[2]) != messages.UnknownMemberID {
		t.Errorf("have %v, %v", errs, err)
	}
	b.await("g", func(d Description) bool { return d.State == Empty })
}

// TestAListIsOfTheGroupsThatAreHere has a partition become another broker's while the list
// is made.
func TestAListIsOfTheGroupsThatAreHere(t *testing.T) {
	b := newBroker(t).start()
	for n := range 4 { // one of each partition: all have been read
		b.find(fmt.Sprint("group-", n))
	}
	gone, here := samePartition(1, 4)[0], "a"
	if err := errors.Join(b.commit(gone, 1), b.commit(here, 1)); err != nil {
		t.Fatal(err)
	}
	s := (*b.groups.shards.Load())[0]
	s.mail.Divert(s.refuse) // as when it has stopped
	list, err := b.groups.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Group != here {
		t.Errorf("have %v, %v", list, err)
	}
}

// TestWhatIsAskedAboutGroupsThatAreNotThere leaves nothing behind.
func TestWhatIsAskedAboutGroupsThatAreNotThere(t *testing.T) {
	b := newBroker(t).start()
	b.find("g")
	ctx := t.Context()
	m := Member{Group: "g", MemberID: "somebody", Generation: 3}
	kinds := map[string]messages.Kind{}
	kinds["join"] = messages.KindOf(b.groups.Join(ctx, Join{Group: "g", MemberID: "somebody"}).Err)
	kinds["join without a name"] = messages.KindOf(b.groups.Join(ctx, Join{}).Err)
	kinds["join with a short session"] = messages.KindOf(b.groups.Join(ctx, Join{Group: "g"}).Err)
	kinds["sync"] = messages.KindOf(b.groups.Sync(ctx, Sync{Member: m}).Err)
	kinds["heartbeat"] = messages.KindOf(b.groups.Heartbeat(ctx, m))
	kinds["delete"] = messages.KindOf(b.groups.Delete(ctx, "g"))
	_, err := b.groups.Commit(ctx, Commit{Member: m, Offsets: map[messages.TopicPartition]Committed{orders[0]: {}}})
	kinds["commit"] = messages.KindOf(err)
	_, err = b.groups.DeleteOffsets(ctx, "g", orders)
	kinds["delete offsets"] = messages.KindOf(err)
	errs, _ := b.groups.Leave(ctx, "g", []Leaving{{MemberID: "somebody"}})
	kinds["leave"] = messages.KindOf(errs[0])
	for what, want := range map[string]messages.Kind{
		"join": messages.UnknownMemberID, "join without a name": messages.InvalidGroupID, "join with a short session": messages.InvalidSessionTimeout,
		"sync": messages.UnknownMemberID, "heartbeat": messages.UnknownMemberID, "delete": messages.GroupIDNotFound,
		"commit": messages.GroupIDNotFound, "delete offsets": messages.GroupIDNotFound, "leave": messages.UnknownMemberID,
	} {
		if kinds[what] != want {
			t.Errorf("%s: have %v, want %v", what, kinds[what], want)
		}
	}
	if d, err := b.groups.Describe(ctx, "g"); err != nil || d.State != Dead {
		t.Errorf("have %+v, %v", d, err)
	}
	if have := b.committed("g"); have != -1 {
		t.Errorf("committed is %d", have)
	}
	b.awaitNothing()
}

// awaitNothing waits until nothing is kept of any group.
func (b *broker) awaitNothing() {
	b.t.Helper()
	for deadline := time.Now().Add(patience); b.groups.groups.Load() > 0 || b.groups.bytes.Load() > 0; {
		if time.Now().After(deadline) {
			b.t.Fatalf("%d groups are kept, of %d bytes", b.groups.groups.Load(), b.groups.bytes.Load())
		}
	}
}

// TestMemoryOfGroupsIsCounted has groups keep something, lose it with the
// leadership, read it again and fail.
func TestMemoryOfGroupsIsCounted(t *testing.T) {
	b := newBroker(t).start()
	b.find("g")
	names := samePartition(3, 4)
	for _, name := range names {
		if err := b.commit(name, 1); err != nil {
			t.Fatal(err)
		}
	}
	c := b.consumer(names[0])
	if err := c.join(); err != nil {
		t.Fatal(err)
	}
	least := int64(len(names)) * (groupBytes + 192)
	for deadline := time.Now().Add(patience); b.groups.bytes.Load() < least+512; {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are counted", b.groups.bytes.Load())
		}
	}
	b.lead(2)
	b.awaitNothing()
	b.lead(1)
	if have := b.committed(names[0]); have != 1 {
		t.Errorf("committed is %d", have)
	}
	if err := c.leave(); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := b.groups.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	b.awaitNothing()
}

// TestWhoWaitsKeepsNothingOfTheRequest has a member bring assignments that are not its to
// bring. It waits, and they are let go of.
func TestWhoWaitsKeepsNothingOfTheRequest(t *testing.T) {
	b := newBroker(t).start()
	b.find("g")
	joining := func(id string) Join {
		return Join{Group: "g", MemberID: id, SessionTimeout: 60_000, RebalanceTimeout: 60_000, ProtocolType: "consumer",
			Protocols: []Protocol{{Name: "range"}}, Reason: "a long one"}
	}
	ask := func(question any) *request {
		s, err := b.groups.find("test", "g")
		if err != nil {
			t.Fatal(err)
		}
		r := newRequest("test", "g", question)
		s.mail.PostUserMessage(r)
		if _, err := b.groups.Describe(t.Context(), "g"); err != nil { // which is asked after it
			t.Fatal(err)
		}
		return r
	}
	var waiting []*request
	for range 2 {
		waiting = append(waiting, ask(joining("")))
	}
	var follower Joined
	for _, r := range waiting {
		if r.question != nil {
			t.Errorf("who waits to join keeps %+v", r.question)
		}
		if j := (<-r.reply).value.(Joined); j.MemberID != j.Leader {
			follower = j
		}
	}
	sync := ask(Sync{
		Member:      Member{Group: "g", MemberID: follower.MemberID, Generation: follower.Generation},
		Assignments: map[string][]byte{follower.MemberID: make([]byte, 1<<20)},
	})
	if len(sync.reply) > 0 || sync.question != nil {
		t.Errorf("who waits for its assignment keeps %T", sync.question)
	}
}

// TestASilentMemberIsOut waits for a session to end.
// TestAMemberThatHangsUpIsNotWaitedFor has a new member go while it waits for the other.
func TestAMemberThatHangsUpIsNotWaitedFor(t *testing.T) {
	b := newBroker(t).start()
	b.find("g")
	one := b.consumer("g")
	if err := one.join(); err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	joined := make(chan error, 1)
	go func() {
		joined <- b.groups.Join(ctx, Join{Group: "g", SessionTimeout: 60_000, RebalanceTimeout: 60_000, ProtocolType: "consumer",
			Protocols: []Protocol{{Name: "range"}}}).Err
	}()
	b.await("g", func(d Description) bool { return len(d.Members) == 2 })
	hangUp()
	if err := <-joined; messages.KindOf(err) != messages.RequestTimedOut {
		t.Errorf("have %v", err)
	}
	b.await("g", func(d Description) bool { return len(d.Members) == 1 })
	if err := one.join(); err != nil || one.assignment != "0" {
		t.Errorf("assigned %q, %v", one.assignment, err)
	}
}

func TestASilentMemberIsOut(t *testing.T) {
	b := newBroker(t).start()
	b.find("g")
	c := b.consumer("g")
	c.session = 50
	if err := c.join(); err != nil {
		t.Fatal(err)
	}
	b.await("g", func(d Description) bool { return d.State == Empty && len(d.Members) == 0 })
}

func TestGroupsAndOffsetsAreDeleted(t *testing.T) {
	b := newBroker(t).start()
	b.createTopic("orders")
	b.find("g")
	if err := errors.Join(b.commit("g", 5), b.commit("other", 6), b.commit("third", 7)); err != nil {
		t.Fatal(err)
	}
	if err := b.groups.Delete(t.Context(), "g"); err != nil {
		t.Error(err)
	}
	if err := b.groups.Delete(t.Context(), "g"); messages.KindOf(err) != messages.GroupIDNotFound {
		t.Errorf("deleted twice: %v", err)
	}
	if each, err := b.groups.DeleteOffsets(t.Context(), "other", orders); err != nil || len(each) > 0 {
		t.Errorf("have %v, %v", each, err)
	}
	if b.committed("g") != -1 || b.committed("other") != -1 || b.committed("third") != 7 {
		t.Error("what was deleted is there")
	}
	b.lead(1)
	if b.committed("g") != -1 || b.committed("other") != -1 || b.committed("third") != 7 {
		t.Error("what was deleted is there again")
	}
	b.edit(func(e *metadata.Edit) { e.DeleteTopic("orders") })
	for deadline := time.Now().Add(patience); b.committed("third") != -1; {
		if time.Now().After(deadline) {
			t.Fatal("the offset of a topic that was deleted is still there")
		}
	}
}

// TestMembersShareATopicThatGrows has the members of a group join again when their
// topic has more partitions, and those of another not.
func TestMembersShareATopicThatGrows(t *testing.T) {
	b := newBroker(t).start()
	b.createTopic("orders")
	b.createTopic("payments")
	b.find("g")
	c := b.consumer("g")
	if err := c.join(); err != nil {
		t.Fatal(err)
	}
	grow := func(topic string) {
		b.edit(func(e *metadata.Edit) {
			p := *b.cell.Image().Partition(messages.TopicPartition{Topic: topic})
			p.LeaderEpoch = 0
			e.AddPartitions(topic, []metadata.Partition{p})
		})
	}
	grow("payments")
	if err := c.heartbeat(); err != nil {
		t.Error(err)
	}
	grow("orders")
	for deadline := time.Now().Add(patience); ; {
		err := c.heartbeat()
		if messages.KindOf(err) == messages.RebalanceInProgress {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if err := c.join(); err != nil || c.Generation != 2 {
		t.Errorf("joined generation %d, %v", c.Generation, err)
	}
}

// TestOffsetsOfTopicsThatWentUnseenGo has a topic deleted while nobody looks.
func TestOffsetsOfTopicsThatWentUnseenGo(t *testing.T) {
	b := newBroker(t).start()
	b.createTopic("orders")
	b.find("g")
	if err := b.commit("g", 5); err != nil {
		t.Fatal(err)
	}
	b.stop()
	b.edit(func(e *metadata.Edit) { e.DeleteTopic("orders") })
	b.lead(1)
	b.start()
	if have := b.committed("g"); have != 5 {
		t.Errorf("have %d", have)
	}
	b.groups.Scan()
	for deadline := time.Now().Add(patience); b.committed("g") != -1; {
		if time.Now().After(deadline) {
			t.Fatal("the offset of a topic that is not there is still there")
		}
	}
}

func TestThereAreOnlySoManyGroups(t *testing.T) {
	b := newBroker(t)
	b.memory = 3*groupBytes + 500 // which is enough for one offset each, and no more
	b.start()
	b.find("g")
	for i := range 3 {
		if err := b.commit(fmt.Sprint("g", i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.commit("g4", 1); messages.KindOf(err) != messages.PolicyViolation {
		t.Errorf("one too many: %v", err)
	}
	if err := b.groups.Delete(t.Context(), "g0"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		err := b.commit("g4", 1)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestCommitsShareAppends has many commit at once, while the disk is slow: what
// has gathered meanwhile is written together.
func TestCommitsShareAppends(t *testing.T) {
	b := newBroker(t)
	disk := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
	b.disk = disk
	b.start()
	names := samePartition(100, 4)
	b.find(names[0])
	if err := b.commit(names[0], 0); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	disk.Add(vfs.Rule{Ops: vfs.OpSync, Path: "__consumer_offsets-*/*", Gate: gate})
	var committed sync.WaitGroup
	for _, name := range names {
		committed.Go(func() {
			if err := b.commit(name, 1); err != nil {
				t.Error(err)
			}
		})
	}
	s := (*b.groups.shards.Load())[0]
	for deadline := time.Now().Add(patience); b.groups.groups.Load() < int64(len(names)); {
		if time.Now().After(deadline) {
			t.Fatal("not all have come")
		}
	}
	// A group that has answered twice since has told the shard what it wants written,
	// and a shard that answers after that has taken it.
	for _, name := range names {
		for range 2 {
			if _, err := b.groups.Describe(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := b.groups.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(gate)
	committed.Wait()
	v := b.groups.o.Partitions.Lookup(s.tp).View().Log
	if n := countBatches(t, v.HighWatermark, func(from int64) ([]byte, error) {
		slice, err := v.Read(from, 1<<20, true)
		if slice == nil || err != nil {
			return nil, err
		}
		defer slice.Release()
		return slice.Bytes(nil)
	}); n > 3 {
		t.Errorf("%d commits took %d batches", len(names)+1, n)
	}
}

func countBatches(t *testing.T, end int64, read func(from int64) ([]byte, error)) int {
	t.Helper()
	n := 0
	for from := int64(0); from < end; {
		buf, err := read(from)
		if err != nil || len(buf) == 0 {
			t.Fatal(err)
		}
		for len(buf) > 0 {
			b, rest, err := batch.Next(buf)
			if err != nil {
				break
			}
			n, from, buf = n+1, b.NextOffset(), rest
		}
	}
	return n
}

// TestVerdicts says what clients are told of an append that has failed.
func TestVerdicts(t *testing.T) {
	for kind, want := range map[messages.Kind]messages.Kind{
		messages.NotEnoughReplicas: messages.CoordinatorNotAvailable, messages.NotEnoughReplicasAfterAppend: messages.CoordinatorNotAvailable,
		messages.RequestTimedOut: messages.CoordinatorNotAvailable, messages.RecordListTooLarge: messages.InvalidCommitOffsetSize,
	} {
		told, ends := verdict(messages.E("append", kind, "", nil))
		if ends || messages.KindOf(told) != want {
			t.Errorf("%v: have %v, %v", kind, told, ends)
		}
	}
	for _, kind := range []messages.Kind{messages.NotLeader, messages.FencedLeaderEpoch, messages.StorageError, messages.ShuttingDown, messages.Unknown} {
		if _, ends := verdict(messages.E("append", kind, "", nil)); !ends {
			t.Errorf("%v does not end the claim", kind)
		}
	}
	if told, ends := verdict(nil); told != nil || ends {
		t.Error("no error is one")
	}
}

// BenchmarkCommit commits as many groups at once.
func BenchmarkCommit(b *testing.B) {
	br := newBroker(b)
	br.disk = vfs.OS(b.TempDir())
	br.start()
	names := samePartition(1, 4)
	br.find(names[0])
	b.SetParallelism(64)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for n := int64(0); pb.Next(); n++ {
			if err := br.commit(names[0], n); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
