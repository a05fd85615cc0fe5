package partition

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// resigning is a cluster that hears who gives up leading.
type resigning struct {
	solitude
	heard chan replica.Resignation
}

func (r resigning) Resign(_ messages.TopicPartition, c replica.Resignation) {
	select {
	case r.heard <- c:
	default: // it has been heard often enough
	}
}

// hanging is a tree whose disk can be made to hang, and whose clock can be set.
type hanging struct {
	*tree
	disk   *vfs.Faulty
	clock  atomic.Int64
	heard  chan replica.Resignation
	keeper Keeper
	shared *Shared
}

func plantHanging(t *testing.T) *hanging {
	h := &hanging{disk: vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil), heard: make(chan replica.Resignation, 10)}
	h.clock.Store(1)
	h.tree = plantAs(t, h.disk, func(s *Shared) {
		s.Tuning.DiskTimeout = 1000
		s.Stage.Clock = h.clock.Load
		s.Cluster = resigning{heard: h.heard}
		h.keeper.Shared, h.shared = s, s
	})
	go func() { // a replica that fails again and again is nobody's news
		for t.Context().Err() == nil {
			select {
			case <-h.failures:
			case <-t.Context().Done():
			}
		}
	}()
	return h
}

// hang makes a call of a kind hang until the gate is closed, and then fail if err is
// not nil, and begins an append that makes one.
func (h *hanging) hang(handle *Handle, ops vfs.Op, err error) (gate chan struct{}, answer result) {
	h.t.Helper()
	gate, reached := make(chan struct{}), make(chan struct{}, 1)
	h.disk.Add(vfs.Rule{Ops: ops, Path: "orders-0/*", Gate: gate, Reached: reached, Times: 1, Err: err})
	answer = make(result, 1)
	handle.Append(&Append{Batches: []batch.Batch{records(2, messages.NoSequence)}, Acks: messages.AcksAll, Reply: answer})
	<-reached
	return gate, answer
}

// pass lets time pass in steps of 100 ms, with the keeper looking after each, and
// once before.
func (h *hanging) pass(ms int64) {
	h.keeper.Tick()
	for range ms / 100 {
		h.clock.Add(100)
		h.keeper.Tick()
	}
}

// patience lets time pass until an append is answered. The actor does not wait for the
// disk, and is waited for, so that no turn of it seems to last.
func (h *hanging) patience(handle *Handle, answer result) Result {
	h.t.Helper()
	for {
		select {
		case got := <-answer:
			return got
		default:
			h.pass(100)
			_, _ = handle.Producers(h.t.Context()) // it is answered, or refused
		}
	}
}

// resigned waits until leadership is given up.
func (h *hanging) resigned() {
	h.t.Helper()
	select {
	case c := <-h.heard:
		if c.Cause != replica.StorageFailed || c.Epoch != 0 {
			h.t.Errorf("resigned with %+v", c)
		}
	case <-time.After(time.Minute):
		h.t.Fatal("nobody resigned")
	}
}

// TestAFlushThatHangsFailsTheReplica: who waits is told, another may lead, and the
// replica comes back with what it had when the disk does.
func TestAFlushThatHangsFailsTheReplica(t *testing.T) {
	h := plantHanging(t)
	h.createTopic("orders", someTopic, 2)
	handle, sibling := h.await(someTopic, orders0), h.await(someTopic, messages.TopicPartition{Topic: "orders", Partition: 1})
	h.append(handle, records(1, messages.NoSequence))
	gate, answer := h.hang(handle, vfs.OpSync, nil)
	h.pass(900)
	if len(h.heard) != 0 || handle.View().Err != nil {
		t.Error("the disk was not given the time that it has")
	}
	if got := h.patience(handle, answer); messages.KindOf(got.Err) != messages.StorageError {
		t.Errorf("who waited got %+v", got)
	}
	h.resigned()
	if v := handle.View(); messages.KindOf(v.Err) != messages.StorageError {
		t.Errorf("the replica shows %v", v.Err)
	}
	if got := h.append(sibling, records(1, messages.NoSequence)); got.Err != nil {
		t.Errorf("the sibling answered %+v", got)
	}
	h.resigned() // it was tried again, and the disk still hangs
	close(gate)
	if got := h.append(h.await(someTopic, orders0), records(1, messages.NoSequence)); got.Err != nil || got.Base != 3 {
		t.Errorf("with the disk back: %+v, want offset 3: nothing was lost", got)
	}
}

// TestAFlushThatHangsAndFailsIsNotBelieved: what it was to bring to disk is given up.
func TestAFlushThatHangsAndFailsIsNotBelieved(t *testing.T) {
	h := plantHanging(t)
	h.createTopic("orders", someTopic, 1)
	handle := h.await(someTopic, orders0)
	h.append(handle, records(1, messages.NoSequence))
	gate, answer := h.hang(handle, vfs.OpSync, errors.New("input/output error"))
	h.patience(handle, answer)
	h.resigned()
	close(gate)
	if got := h.append(h.await(someTopic, orders0), records(1, messages.NoSequence)); got.Err != nil || got.Base != 1 {
		t.Errorf("with the disk back: %+v, want offset 1", got)
	}
}

// TestAWriteThatHangsFailsTheReplica: the actor itself is held up.
func TestAWriteThatHangsFailsTheReplica(t *testing.T) {
	h := plantHanging(t)
	h.createTopic("orders", someTopic, 1)
	handle := h.await(someTopic, orders0)
	h.append(handle, records(1, messages.NoSequence))
	gate, answer := h.hang(handle, vfs.OpWrite, nil)
	h.pass(900)
	if handle.View().Err != nil {
		t.Error("the disk was not given the time that it has")
	}
	h.pass(200)
	h.resigned()
	if v := handle.View(); messages.KindOf(v.Err) != messages.StorageError {
		t.Errorf("the replica shows %v", v.Err)
	}
	if got := h.append(handle, records(1, messages.NoSequence)); messages.KindOf(got.Err) != messages.StorageError {
		t.Errorf("who comes meanwhile gets %+v", got)
	}
	close(gate)
	<-answer
	if got := h.append(h.await(someTopic, orders0), records(1, messages.NoSequence)); got.Err != nil {
		t.Errorf("with the disk back: %+v", got)
	}
}

// TestWhatADiskOwesIsNotForTheNextTopic has a topic deleted and made anew while the disk
// hangs with the old one's sync, and answer then: what the old log does after that, by the
// names of its files, must not be done to the new one's.
func TestWhatADiskOwesIsNotForTheNextTopic(t *testing.T) {
	h := plantHanging(t)
	h.shared.Files = segment.NewFiles(1)
	h.createTopic("orders", someTopic, 1)
	old := h.await(someTopic, orders0)
	for range 5 {
		h.append(old, records(9, messages.NoSequence))
	}
	gate, answer := h.hang(old, vfs.OpSync, nil)
	h.patience(old, answer)
	h.edit(func(e *metadata.Edit) { e.DeleteTopic("orders") })
	next := messages.TopicID{9}
	h.createTopic("orders", next, 1)
	h.awaitView(next, orders0, func(v *View) bool {
		if v.Err == nil {
			t.Error("it serves while the disk still owes the old one an answer")
		}
		return v.Err == nil || errors.Is(v.Err, errStillHung)
	})
	close(gate)
	fresh := h.await(next, orders0)
	h.append(fresh, records(1, messages.NoSequence))
	h.disk.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "orders-0/*", Times: 1, Err: errors.New("input/output error")})
	if got := h.append(fresh, records(1, messages.NoSequence)); got.Err == nil {
		t.Fatal("a write that failed was answered")
	}
	if got := h.append(h.await(next, orders0), records(1, messages.NoSequence)); got.Err != nil || got.Base != 1 {
		t.Errorf("opened again: %+v, want offset 1", got)
	}
}

// TestAReplicaThatIsBackIsNotDeclaredFailed has the disk answer while the replica is being
// declared failed: its turn ends when that is done, and the next incarnation serves.
func TestAReplicaThatIsBackIsNotDeclaredFailed(t *testing.T) {
	h := plantHanging(t)
	h.createTopic("orders", someTopic, 1)
	handle := h.await(someTopic, orders0)
	h.append(handle, records(1, messages.NoSequence))
	gate, answer := h.hang(handle, vfs.OpWrite, nil)
	handle.Wait(NewWaiter(func() {
		if handle.turn.mu.TryLock() {
			handle.turn.mu.Unlock()
			t.Error("the turn can end while it is declared too long")
		}
		close(gate)
	}))
	h.pass(1100)
	<-answer
	if got := h.append(h.await(someTopic, orders0), records(1, messages.NoSequence)); got.Err != nil {
		t.Errorf("with the disk back: %+v", got)
	}
}

// TestTimeThatNobodySawDoesNotCount: a process that was frozen does not take its disk
// for hung.
func TestTimeThatNobodySawDoesNotCount(t *testing.T) {
	h := plantHanging(t)
	h.createTopic("orders", someTopic, 1)
	handle := h.await(someTopic, orders0)
	h.append(handle, records(1, messages.NoSequence))
	gate, answer := h.hang(handle, vfs.OpSync, nil)
	h.pass(300)
	h.clock.Add(3_600_000)
	h.keeper.Tick()
	close(gate)
	if got := <-answer; got.Err != nil || got.Base != 1 {
		t.Errorf("answered with %+v", got)
	}
	if len(h.heard) != 0 {
		t.Error("the replica was given up")
	}
}
