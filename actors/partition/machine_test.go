package partition

import (
	"cmp"
	"errors"
	"slices"
	"testing"

	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/log"
	"understudy/persistence/vfs"
)

var orders0 = messages.TopicPartition{Topic: "orders", Partition: 0}

// stage is a World that a test owns: completions of flushes wait until the test
// lets them through.
type stage struct {
	now, clock int64
	view       *View
	flushes    []func(*Machine)
	resigned   []replica.Resignation
	sent       []sent
	crowded    bool
	room       int64     // what is left to read for followers; 0: plenty
	asked      []CatchUp // when there was something to read for them
	spent      int64     // bytes read for them
	damage     []error   // that was told
}

func (s *stage) Now() int64      { return s.now }
func (s *stage) Clock() int64    { return s.clock }
func (s *stage) Publish(v *View) { s.view = v }
func (s *stage) Flushed(_ *Machine, end messages.Offset, err error) {
	s.flushes = append(s.flushes, func(m *Machine) { m.Flushed(end, err) })
}
func (s *stage) Send(to messages.BrokerID, m *replica.Message, owner Payload) {
	s.sent = append(s.sent, sent{to, m.Probe, slices.Clone(m.Batches), owner})
	if owner != nil {
		owner.Retain()
	}
}
func (s *stage) Room(c CatchUp) int64 {
	s.asked = append(s.asked, c)
	if s.crowded {
		return 0
	}
	return cmp.Or(s.room, 1<<40)
}

func (s *stage) Spend(_ CatchUp, bytes int64) { s.spent += bytes }
func (s *stage) ChangeISR(replica.ISRChange)  {}
func (s *stage) Resign(r replica.Resignation) { s.resigned = append(s.resigned, r) }
func (s *stage) Event(replica.Event)          {}
func (s *stage) Beside(f func())              { go f() }
func (s *stage) ReadFailed(err error)         { s.damage = append(s.damage, err) }

// sent is a message that went out.
type sent struct {
	to      messages.BrokerID
	probe   uint32
	batches []batch.Batch
	owner   Payload
}

// answers gathers what became of appends, by slot.
type answers struct{ got map[int]Result }

func (a *answers) Appended(slot int, r Result) {
	if _, twice := a.got[slot]; twice {
		panic("an append was answered twice")
	}
	a.got[slot] = r
}

// rig is a machine that leads a partition of which it is the only replica.
type rig struct {
	t       *testing.T
	disk    vfs.FS
	stage   *stage
	machine *Machine
	answers answers
	slots   int
}

func newRig(t *testing.T, disk vfs.FS, settings map[string]string) *rig {
	t.Helper()
	return openRig(t, disk, settings, func(l *log.Log) messages.Offset { return l.Durable() })
}

// openRig makes a rig with another idea of what is durable in its log.
func openRig(t *testing.T, disk vfs.FS, settings map[string]string, durable func(*log.Log) messages.Offset) *rig {
	t.Helper()
	parsed, err := topicconfig.Parse(settings, topicconfig.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := log.Open(log.Options{FS: disk, Dir: orders0.String(), TP: orders0, Settings: Tuning{}.log(parsed)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, disk: disk, stage: &stage{now: 1000, clock: 1}, answers: answers{map[int]Result{}}}
	state := replica.LogState{Start: l.Start(), End: l.End(), Durable: durable(l), LedEpoch: messages.NoEpoch, Epochs: l.Epochs()}
	r.machine = newMachine(orders0, replica.Member{ID: 1, Epoch: 1}, r.stage, l, state, parsed, Tuning{})
	r.machine.Assign(metadata.Partition{Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}, Leader: 1, LeaderEpoch: 3, Revision: 7, UncleanEpoch: messages.NoEpoch})
	r.settle()
	return r
}

func (r *rig) settle() {
	r.t.Helper()
	if err := r.machine.Settle(); err != nil {
		r.t.Fatal(err)
	}
}

// append gives the machine a batch and returns the slot its answer will have.
func (r *rig) append(acks messages.Acks, b batch.Batch) (slot int) {
	r.slots++
	r.machine.Append(&Append{Batches: []batch.Batch{b}, Acks: acks, Reply: &r.answers, Slot: r.slots})
	return r.slots
}

// flushed lets all completions through.
func (r *rig) flushed() {
	r.t.Helper()
	for len(r.stage.flushes) > 0 {
		complete := r.stage.flushes[0]
		r.stage.flushes = r.stage.flushes[1:]
		complete(r.machine)
		r.settle()
	}
}

// wantAppended appends a batch and checks that it was answered with a base offset.
func (r *rig) wantAppended(b batch.Batch, base messages.Offset) {
	r.t.Helper()
	slot := r.append(messages.AcksAll, b)
	r.settle()
	r.flushed()
	r.wantAnswer(slot, base)
}

// wantAnswer checks that a slot was answered with a base offset.
func (r *rig) wantAnswer(slot int, base messages.Offset) {
	r.t.Helper()
	got, ok := r.answers.got[slot]
	if !ok || got.Err != nil || got.Base != base {
		r.t.Errorf("append %d was answered: %v with %+v, want offset %d", slot, ok, got, base)
	}
}

func (r *rig) wantNone(slot int) {
	r.t.Helper()
	if got, ok := r.answers.got[slot]; ok {
		r.t.Errorf("append %d was answered with %+v before it was on disk", slot, got)
	}
}

// records is a batch of n records; sequence is that of an idempotent producer,
// NoSequence for any other.
func records(n int, sequence int32) batch.Batch {
	f := batch.NoProducer
	if sequence != messages.NoSequence {
		f.ProducerID, f.ProducerEpoch, f.BaseSequence = 42, 0, sequence
	}
	b := batch.NewBuilder(f)
	for range n {
		b.Add(500, nil, []byte("value"))
	}
	return b.Build(nil)
}

func TestAcksAllWaitForTheDiskAndOthersDoNot(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	all := r.append(messages.AcksAll, records(2, messages.NoSequence))
	one := r.append(messages.AcksLeader, records(3, messages.NoSequence))
	r.settle()
	r.wantNone(all)
	r.wantAnswer(one, 2)
	if hw := r.stage.view.Log.HighWatermark; hw != 0 {
		t.Errorf("high watermark %d before anything is durable", hw)
	}
	r.flushed()
	r.wantAnswer(all, 0)
	if hw := r.stage.view.Log.HighWatermark; hw != 5 {
		t.Errorf("high watermark %d, want 5", hw)
	}
}

func TestWriteCachingDoesNotWaitForTheDisk(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), map[string]string{"write.caching": "true"})
	all := r.append(messages.AcksAll, records(2, messages.NoSequence))
	r.settle()
	r.wantAnswer(all, 0)
}

func TestARepetitionIsAnsweredWithTheFirstOffsetAndNotBeforeItIsCommitted(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	first := r.append(messages.AcksAll, records(2, 0))
	second := r.append(messages.AcksAll, records(2, 2)) // pipelined: the log has not seen the first yet
	again := r.append(messages.AcksAll, records(2, 0))
	r.settle()
	r.wantNone(again)
	r.flushed()
	r.wantAnswer(first, 0)
	r.wantAnswer(second, 2)
	r.wantAnswer(again, 0)
	if end := r.stage.view.Log.End; end != 4 {
		t.Errorf("the log ends at %d: a repetition was appended", end)
	}
	gap := r.append(messages.AcksAll, records(1, 9))
	if err := r.answers.got[gap].Err; messages.KindOf(err) != messages.OutOfOrderSequence {
		t.Errorf("a gap was answered with %v", err)
	}
}

// TestAStepOfTheTimeOfDayForgetsNoProducer has the time of day step by a month while a
// producer sends a batch once more.
func TestAStepOfTheTimeOfDayForgetsNoProducer(t *testing.T) {
	const day = 24 * 60 * 60 * 1000
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	r.wantAppended(records(2, 0), 0)
	r.machine.Scan(day)
	r.stage.now += 30 * day
	r.machine.Scan(day)
	r.wantAppended(records(2, 0), 0)
	r.stage.clock += day
	r.machine.Scan(day)
	r.wantAppended(records(2, 7), 2) // whom nobody knows may begin anywhere
}

// TestAReplicaThatDoesNotLeadSaysOnlyThat: what it knows of producers may be old.
func TestAReplicaThatDoesNotLeadSaysOnlyThat(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	r.append(messages.AcksAll, records(2, 0))
	r.settle()
	r.flushed()
	r.follow(2, 4)
	later := r.append(messages.AcksAll, records(1, 9))
	r.settle()
	r.wantRefused(later, messages.NotLeader)
}

// TestBatchesBehindARefusedOneAreNotAGap has a replica become the leader between
// two batches that a producer has under way.
func TestBatchesBehindARefusedOneAreNotAGap(t *testing.T) {
	for name, known := range map[string]int32{"a producer that has written": 2, "a new producer": 0} {
		r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
		if known > 0 {
			r.append(messages.AcksAll, records(int(known), 0))
			r.settle()
			r.flushed()
		}
		r.follow(2, 4)
		first := r.append(messages.AcksAll, records(1, known))
		r.settle()
		r.wantRefused(first, messages.NotLeader)
		r.machine.Assign(metadata.Partition{Replicas: []messages.BrokerID{1, 2}, ISR: []messages.BrokerID{1}, Leader: 1, LeaderEpoch: 5, Revision: 9, UncleanEpoch: messages.NoEpoch})
		second := r.append(messages.AcksAll, records(1, known+1))
		r.settle()
		r.wantRefused(second, messages.NotLeader)
		first, second = r.append(messages.AcksAll, records(1, known)), r.append(messages.AcksAll, records(1, known+1))
		r.settle()
		r.flushed()
		r.wantAnswer(first, messages.Offset(known))
		r.wantAnswer(second, messages.Offset(known)+1)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// TestBatchesBehindOneRefusedForTooFewReplicasAreNotAGap is the same for a leader
// whose in-sync set grows in between.
func TestBatchesBehindOneRefusedForTooFewReplicasAreNotAGap(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), map[string]string{"min.insync.replicas": "2"})
	both := []messages.BrokerID{1, 2}
	p := metadata.Partition{Replicas: both, ISR: both[:1], Leader: 1, LeaderEpoch: 4, Revision: 8, UncleanEpoch: messages.NoEpoch}
	r.machine.Assign(p)
	first := r.append(messages.AcksAll, records(1, 0))
	r.settle()
	r.wantRefused(first, messages.NotEnoughReplicas)
	p.ISR, p.Revision = both, 9
	r.machine.Assign(p)
	second := r.append(messages.AcksAll, records(1, 1))
	r.settle()
	r.wantRefused(second, messages.NotLeader)
	if end := r.stage.view.Log.End; end != 0 {
		t.Errorf("the log ends at %d", end)
	}
}

// follow has the rig's machine follow another replica in an epoch.
func (r *rig) follow(leader messages.BrokerID, epoch messages.LeaderEpoch) {
	r.t.Helper()
	r.machine.Assign(metadata.Partition{Replicas: []messages.BrokerID{1, 2}, ISR: []messages.BrokerID{1, 2}, Leader: leader, LeaderEpoch: epoch, Revision: 8, UncleanEpoch: messages.NoEpoch})
	r.settle()
}

func (r *rig) wantRefused(slot int, kind messages.Kind) {
	r.t.Helper()
	if got, ok := r.answers.got[slot]; !ok || messages.KindOf(got.Err) != kind {
		r.t.Errorf("append %d was answered: %v with %+v, want %v", slot, ok, got, kind)
	}
}

func TestTheBrokersTimeIsStampedWhereTheTopicAsksForIt(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), map[string]string{"message.timestamp.type": "LogAppendTime"})
	b := records(1, messages.NoSequence)
	slot := r.append(messages.AcksLeader, b)
	r.settle()
	if got := r.answers.got[slot].LogAppendTime; got != 1000 || b.MaxTimestamp() != 1000 || b.CheckCRC() != nil {
		t.Errorf("answered with time %d, the batch has %d, CRC %v", got, b.MaxTimestamp(), b.CheckCRC())
	}
}

func TestAFailedSyncIsNotBelieved(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
	r := newRig(t, disk, nil)
	kept := r.append(messages.AcksAll, records(2, messages.NoSequence))
	r.settle()
	r.flushed()
	r.wantAnswer(kept, 0)

	disk.Add(vfs.Rule{Ops: vfs.OpSync, Err: errors.New("input/output error"), Times: 1})
	lost := r.append(messages.AcksAll, records(3, messages.NoSequence))
	r.settle()
	r.stage.flushes[0](r.machine)
	err := r.machine.Settle()
	if err == nil {
		t.Fatal("a failed sync does not fail the machine")
	}
	if trusted, closed := r.machine.Abandon(err).trusted(); trusted != 2 || !closed {
		t.Errorf("the log is believed up to %d, want 2", trusted)
	}
	if got := r.answers.got[lost]; got.Err == nil {
		t.Errorf("what was not synced was answered with %+v", got)
	}
}

func TestAWriteThatFailsAnswersEverybodyWithTheCause(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
	r := newRig(t, disk, nil)
	disk.Add(vfs.Rule{Ops: vfs.OpWrite, Err: errors.New("no space left on device"), Short: 10})
	all := r.append(messages.AcksAll, records(1, messages.NoSequence))
	one := r.append(messages.AcksLeader, records(1, messages.NoSequence))
	err := r.machine.Settle()
	if err == nil {
		t.Fatal("a failed write does not fail the machine")
	}
	r.machine.Abandon(messages.E("partition", messages.StorageError, "", err))
	for _, slot := range []int{all, one} {
		if got := r.answers.got[slot]; messages.KindOf(got.Err) != messages.StorageError {
			t.Errorf("append %d was answered with %+v", slot, got)
		}
	}
}

// TestWhatWasNeverWrittenIsNotConfirmed has a sync fail in the turn in which a batch comes
// that is answered when it is written, and records are to be deleted: neither is done.
func TestWhatWasNeverWrittenIsNotConfirmed(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem(vfs.MemOptions{}), nil)
	r := newRig(t, disk, nil)
	r.append(messages.AcksAll, records(2, messages.NoSequence))
	r.settle()
	r.flushed()
	disk.Add(vfs.Rule{Ops: vfs.OpSync, Err: errors.New("input/output error"), Times: 1})
	r.append(messages.AcksAll, records(3, messages.NoSequence))
	r.settle()

	one := r.append(messages.AcksLeader, records(1, messages.NoSequence))
	ask := &deleteRecordsAsk{deleteRecords{1}, make(chan answer[messages.Offset], 1)}
	r.machine.DeleteBefore(ask)
	r.stage.flushes[0](r.machine)
	err := r.machine.Settle()
	if err == nil {
		t.Fatal("a failed sync does not fail the machine")
	}
	r.machine.Abandon(messages.E("partition", messages.StorageError, "", err))
	r.wantRefused(one, messages.StorageError)
	if got := <-ask.reply; messages.KindOf(got.err) != messages.StorageError {
		t.Errorf("deleting records was answered with %+v", got)
	}
}

func TestTheEndIsNotKnownUntilARecoveredLogIsDurable(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	r := newRig(t, disk, nil)
	r.append(messages.AcksLeader, records(2, messages.NoSequence))
	r.settle()
	r = openRig(t, disk, nil, func(*log.Log) messages.Offset { return messages.NoOffset })
	if v := r.stage.view; !v.Settling || v.Log.End != 2 {
		t.Errorf("settling %v, end %d; want true, 2", v.Settling, v.Log.End)
	}
	r.append(messages.AcksLeader, records(1, messages.NoSequence))
	r.settle()
	r.flushed()
	if v := r.stage.view; v.Settling || v.Log.HighWatermark != 3 {
		t.Errorf("settling %v, high watermark %d; want false, 3", v.Settling, v.Log.HighWatermark)
	}
}

func TestDeletedRecordsAreGoneForReaders(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	for range 3 {
		r.append(messages.AcksAll, records(2, messages.NoSequence))
	}
	r.settle()
	r.flushed()
	ask := &deleteRecordsAsk{deleteRecords{3}, make(chan answer[messages.Offset], 1)}
	r.machine.DeleteBefore(ask)
	r.settle()
	if got := <-ask.reply; got.err != nil || got.value != 3 || r.stage.view.Log.LogStart != 3 {
		t.Errorf("answered %+v, log start %d", got, r.stage.view.Log.LogStart)
	}
	ask = &deleteRecordsAsk{deleteRecords{99}, make(chan answer[messages.Offset], 1)}
	r.machine.DeleteBefore(ask)
	r.settle()
	if got := <-ask.reply; messages.KindOf(got.err) != messages.OffsetOutOfRange {
		t.Errorf("deleting beyond the high watermark was answered with %+v", got)
	}
}

func BenchmarkAppend(b *testing.B) {
	parsed, _ := topicconfig.Parse(nil, topicconfig.Defaults{})
	l, err := log.Open(log.Options{FS: vfs.OS(b.TempDir()), Dir: "orders-0", TP: orders0, Settings: Tuning{}.log(parsed)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	s := &stage{clock: 1}
	m := newMachine(orders0, replica.Member{ID: 1, Epoch: 1}, s, l, replica.LogState{LedEpoch: messages.NoEpoch}, parsed, Tuning{})
	m.Assign(metadata.Partition{Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}, Leader: 1, LeaderEpoch: 3, Revision: 7, UncleanEpoch: messages.NoEpoch})
	builder := batch.NewBuilder(batch.NoProducer)
	builder.Add(500, nil, make([]byte, 64<<10))
	payload := builder.Build(nil)
	reply := &discard{}
	a := &Append{Batches: []batch.Batch{payload}, Acks: messages.AcksLeader, Reply: reply}
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		m.Append(a)
		if err := m.Settle(); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Appended(int, Result) {}
