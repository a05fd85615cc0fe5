package group

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/persistence/vfs"
)

// TestMembersGoOnWhenTheGroupMoves takes the leadership away and gives it back, in
// the next epoch and after another broker's: members go on in their generation.
func TestMembersGoOnWhenTheGroupMoves(t *testing.T) {
	b := newBroker(t).start()
	b.find("g")
	c := b.consumer("g")
	if err := errors.Join(c.join(), c.commit(5)); err != nil {
		t.Fatal(err)
	}
	id, generation := c.MemberID, c.Generation
	for round := range int64(5) {
		b.lead(1)
		if err := errors.Join(c.heartbeat(), c.commit(10+round)); err != nil {
			t.Fatal(err)
		}
		b.lead(2)
		for deadline := time.Now().Add(patience); ; {
			err := b.groups.Heartbeat(t.Context(), c.Member)
			if messages.KindOf(err) == messages.NotCoordinator {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("led elsewhere, and answered with %v", err)
			}
		}
		b.lead(1)
		if have := b.committed("g"); have != 10+round {
			t.Fatalf("committed is %d", have)
		}
	}
	if err := c.heartbeat(); err != nil {
		t.Error(err)
	}
	if d := b.await("g", func(Description) bool { return true }); d.State != Stable || d.Members[0].MemberID != id || c.Generation != generation ||
		string(d.Members[0].Assignment) != "0" {
		t.Errorf("have %+v", d)
	}
}

// TestWhatWasCommittedSurvivesAPowerCut cuts the power while groups commit, again
// and again: an offset whose commit was acknowledged never goes back.
// TestACoordinatorThatMayHaveBeenReplacedShowsNoOffsets: it has been frozen, say. What
// it knows may be old, and it must hear from its followers first.
func TestACoordinatorThatMayHaveBeenReplacedShowsNoOffsets(t *testing.T) {
	b := newBroker(t).start()
	b.find("g")
	if err := b.commit("g", 7); err != nil {
		t.Fatal(err)
	}
	b.edit(func(e *metadata.Edit) { // the same epoch, but not alone, and nobody answers
		for n, p := range b.cell.Image().Topic(topicName).Partitions {
			p.Replicas, p.ISR = []messages.BrokerID{1, 2}, []messages.BrokerID{1, 2}
			e.SetPartition(messages.TopicPartition{Topic: topicName, Partition: int32(n)}, p)
		}
	})
	await := func(sure bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			found, err := b.groups.Offsets(ctx, Member{Group: "g", Generation: -1}, orders)
			cancel()
			switch {
			case err == nil && found[orders[0]].Offset != 7:
				t.Fatalf("committed is %v", found)
			case err == nil && sure || messages.KindOf(err) == messages.NotCoordinator && !sure:
				return
			case time.Now().After(deadline):
				t.Fatalf("still %v, %v", found, err)
			}
		}
	}
	await(false)
	b.lead(1) // alone again
	await(true)
}

func TestWhatWasCommittedSurvivesAPowerCut(t *testing.T) {
	b := newBroker(t).start()
	b.find("g0")
	coins := rand.New(rand.NewPCG(3, 4))
	member := b.consumer("members")
	if err := errors.Join(member.join(), member.commit(1)); err != nil {
		t.Fatal(err)
	}
	acked := make([]atomic.Int64, 8)
	for round := range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		var committing sync.WaitGroup
		enough := make(chan struct{}, len(acked))
		for g := range acked {
			committing.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					next := acked[g].Load() + 1
					_, err := b.groups.Commit(ctx, Commit{
						Member:  Member{Group: fmt.Sprint("g", g), Generation: -1},
						Offsets: map[messages.TopicPartition]Committed{orders[0]: {Offset: next}},
					})
					if err == nil {
						acked[g].Store(next)
					}
					if n == 50 {
						enough <- struct{}{}
					}
				}
			})
		}
		for range acked {
			<-enough
		}
		disk := b.disk.(*vfs.Mem)
		disk.Stop() // while they commit
		cancel()
		committing.Wait()
		b.powerCut(coins)
		for g := range acked {
			if have, want := b.committed(fmt.Sprint("g", g)), acked[g].Load(); have < want {
				t.Fatalf("round %d: group %d has %d, and %d was acknowledged", round, g, have, want)
			}
		}
		if err := member.heartbeat(); err != nil {
			t.Fatalf("round %d: the member is lost: %v", round, err)
		}
	}
}

// TestAFailingGroupIsRestartedAlone has the code of one group panic.
func TestAFailingGroupIsRestartedAlone(t *testing.T) {
	b := newBroker(t)
	var broken atomic.Bool
	b.fresh = func() string {
		if broken.Load() {
			panic("as asked")
		}
		return randomName()
	}
	b.start()
	names := samePartition(2, 4)
	b.find(names[0])
	bad, sibling := b.consumer(names[0]), b.consumer(names[1])
	if err := errors.Join(bad.join(), bad.commit(3), sibling.join()); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() { // it waits for the first member to join again
		j := b.groups.Join(t.Context(), Join{
			Group: bad.Group, SessionTimeout: 60_000, RebalanceTimeout: 60_000, ProtocolType: "consumer", Protocols: []Protocol{{Name: "range"}},
		})
		waiting <- j.Err
	}()
	b.await(bad.Group, func(d Description) bool { return len(d.Members) == 2 })
	broken.Store(true)
	if j := b.groups.Join(t.Context(), Join{Group: bad.Group, SessionTimeout: 60_000}); messages.KindOf(j.Err) != messages.CoordinatorLoadInProgress {
		t.Errorf("the request that made it fail was answered with %v", j.Err)
	}
	if err := <-waiting; messages.KindOf(err) != messages.CoordinatorLoadInProgress {
		t.Errorf("one that waited was answered with %v", err)
	}
	broken.Store(false)
	if f := <-b.failures; !strings.Contains(f.Cause.Error(), bad.Group) || !strings.Contains(f.Cause.Error(), "as asked") {
		t.Errorf("told as %v", f)
	}
	if err := b.groups.Heartbeat(t.Context(), sibling.Member); err != nil {
		t.Errorf("the sibling: %v", err)
	}
	if err := bad.heartbeat(); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	if err := bad.commit(4); err != nil || b.committed(bad.Group) != 4 {
		t.Errorf("after the restart %d is committed, %v", b.committed(bad.Group), err)
	}
}

// TestADiskThatFailsCostsTheClaim has writes fail: commits are refused, and when
// the disk is mended and this broker leads in a new epoch they are not.
func TestADiskThatFailsCostsTheClaim(t *testing.T) {
	b := newBroker(t)
	disk := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
	b.disk = disk
	b.start()
	b.find("g")
	if err := b.commit("g", 1); err != nil {
		t.Fatal(err)
	}
	broken := disk.Add(vfs.Rule{Ops: vfs.OpWrite | vfs.OpSync, Path: "__consumer_offsets-*/*", Err: errors.New("input/output error")})
	_, err := b.groups.Commit(t.Context(), Commit{
		Member: Member{Group: "g", Generation: -1}, Offsets: map[messages.TopicPartition]Committed{orders[0]: {Offset: 2}},
	})
	if messages.KindOf(err) != messages.NotCoordinator {
		t.Errorf("without a disk: %v", err)
	}
	broken.Remove()
	b.lead(1)
	if have := b.committed("g"); have != 1 && have != 2 {
		t.Errorf("committed is %d", have)
	}
	if err := b.commit("g", 3); err != nil || b.committed("g") != 3 {
		t.Errorf("committed is %d, %v", b.committed("g"), err)
	}
}

// TestNobodyIsLeftWaiting has members come and go and commit while the leadership
// changes all the time: every call returns, and what was committed never goes back.
func TestNobodyIsLeftWaiting(t *testing.T) {
	b := newBroker(t).start()
	b.find("g")
	ctx, cancel := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	var rounds atomic.Int64
	turns := make(chan struct{}, 8)
	for i := range 8 {
		busy.Go(func() {
			c := b.consumer(fmt.Sprint("g", i/2))
			c.session = 1000 // one that leaves while the group moves may be counted on for as long
			for n := 0; ctx.Err() == nil; n++ {
				rounds.Add(1)
				select {
				case turns <- struct{}{}:
				default: // nobody looks
				}
				if err := c.join(); err != nil {
					t.Error(err)
					return
				}
				if err := c.commit(rounds.Load()); err != nil && !slices.Contains([]messages.Kind{
					messages.UnknownMemberID, messages.IllegalGeneration, messages.RebalanceInProgress}, messages.KindOf(err)) {
					t.Error(err)
				}
				if n%5 == 4 {
					_ = c.leave()
				}
			}
			_ = c.leave() // others need not wait for it
		})
	}
	busy.Go(func() {
		last := int64(0)
		for n := int64(1); ctx.Err() == nil; n++ {
			if err := b.commit("alone", n); err != nil {
				t.Error(err)
			}
			if have := b.committed("alone"); have < last {
				t.Errorf("went from %d back to %d", last, have)
			}
			last = n
		}
	})
	for n := range 12 {
		for range cap(turns) + 5 { // the first may be from before the change
			select {
			case <-turns:
			case <-time.After(patience):
				t.Fatalf("nothing goes on after %d changes", n)
			}
		}
		if n%3 == 2 {
			b.lead(2)
		}
		b.lead(1)
	}
	cancel()
	busy.Wait()
}
