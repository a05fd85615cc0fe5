package partition

import (
	"errors"
	"fmt"
	"slices"

	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/producer"
	"understudy/persistence/log"
)

// World is what a Machine needs of what surrounds it. A broker gives it the
// clock, the mailbox and the links; a simulator gives it its own.
type World interface {
	// Now is the time in ms since the epoch. It dates records; no safety depends on it.
	Now() int64
	// Clock is the time in ms on a clock that never goes back.
	Clock() int64
	// Publish makes a view the one that readers see.
	Publish(*View)
	// Flushed is called when a flush has ended, from any goroutine.
	Flushed(by *Machine, end messages.Offset, err error)
	// Send passes a message to the replica of the same partition on another node.
	// It may be lost. The message is valid until Send returns, and the bytes of its
	// batches as long as owner is retained; without an owner, for ever.
	Send(to messages.BrokerID, m *replica.Message, owner Payload)
	// Room says how many bytes may be read now for a follower that is behind; 0:
	// none, it has to wait. Spend tells how many were.
	Room(CatchUp) int64
	Spend(c CatchUp, bytes int64)
	// ReadFailed tells of records that could not be read for a follower, as often as it
	// is tried.
	ReadFailed(error)
	// ChangeISR asks the controller for another in-sync set.
	ChangeISR(replica.ISRChange)
	// Resign asks the controller to elect anew.
	Resign(replica.Resignation)
	// Event tells what the replica decided.
	Event(replica.Event)
	// Beside runs what may hang, outside of the turn.
	Beside(func())
}

// Machine is a replica without its actor: it feeds the replication core and
// carries out, on the log, the effects that the core returns. It is
// deterministic: the same calls on the same disk do the same.
//
// Calls gather work; Settle does it. An error of Settle means that the disk has
// failed the replica: nothing more may be called but Abandon.
type Machine struct {
	tp       messages.TopicPartition
	world    World
	log      *log.Log
	core     *replica.Replica
	settings topicconfig.Settings
	tuning   Tuning

	effects replica.Effects      // reused
	current *Append              // being handed to the core; nil otherwise
	led     messages.LeaderEpoch // the last that it led in; see View
	heard   bool                 // another replica's message has not been carried out yet
	dirty   bool                 // has appended since it was last asked
	swapped bool                 // readers are to be shown segments that were compacted
	turned  producer.TurnedAway  // by this replica, a moment ago
	failure error                // of a flush: the next Settle returns it
	suspect bool                 // a flush has failed, so that what is not durable may be gone
	flushes bool                 // a flush is under way
	waited  age                  // for it
	hung    bool                 // it has not come back in time
	onFlush func(messages.Offset, error)
	reads   []replica.Read // not served yet
	parcels []*parcel      // of the effects being carried out

	afterAppend func() error // called after the next append, once; may be nil
}

func newMachine(tp messages.TopicPartition, self replica.Member, world World, l *log.Log, state replica.LogState, s topicconfig.Settings, t Tuning) *Machine {
	m := &Machine{tp: tp, world: world, log: l, settings: s, tuning: t, led: messages.NoEpoch}
	m.core = replica.New(self, tp, t.core(s), state)
	m.core.Tick(world.Clock())
	m.onFlush = func(end messages.Offset, err error) { world.Flushed(m, end, err) }
	return m
}

// Tuning is what a broker, and not a topic, sets for its replicas.
type Tuning struct {
	LagTimeMax  int64 // ms after which a follower that is behind leaves the in-sync set
	Preallocate int64 // bytes of disk reserved ahead of the writes at most; negative: none
	DiskTimeout int64 // ms after which a disk that has not answered counts as failed; 0: never
}

func (t Tuning) core(s topicconfig.Settings) replica.Settings {
	return replica.Settings{
		MinInSync: s.MinInsyncReplicas, LagTimeMax: t.LagTimeMax,
		WriteCaching: s.WriteCaching, UncleanElection: s.UncleanElection,
	}
}

func (t Tuning) log(s topicconfig.Settings) log.Settings {
	ahead := t.Preallocate
	if !s.Preallocate {
		ahead = -1
	}
	l := log.Settings{
		SegmentBytes: s.SegmentBytes, SegmentMs: s.SegmentMs, IndexIntervalBytes: s.IndexIntervalBytes,
		RetentionMs: s.RetentionMs, RetentionBytes: s.RetentionBytes, Preallocate: ahead,
		Compact: s.Compact, MinCompactionLagMs: s.MinCompactionLagMs, MaxCompactionLagMs: s.MaxCompactionLagMs,
		DeleteRetentionMs: s.DeleteRetentionMs,
	}
	if !s.Delete {
		l.RetentionMs, l.RetentionBytes = -1, -1
	}
	if s.Compact { // what is being written to cannot be compacted
		l.SegmentMs = min(l.SegmentMs, s.MaxCompactionLagMs)
	}
	return l
}

// Assign tells what the metadata says about the partition.
func (m *Machine) Assign(p metadata.Partition) {
	m.core.Assign(replica.Assignment{
		Epoch: p.LeaderEpoch, Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR, Revision: p.Revision,
		UncleanEpoch: p.UncleanEpoch,
	})
}

// Configure changes the topic's settings.
func (m *Machine) Configure(s topicconfig.Settings) {
	m.settings = s
	m.core.Configure(m.tuning.core(s))
	m.log.Configure(m.tuning.log(s))
}

// Append takes a producer's batches. Idempotent producers' repetitions are
// found here (KIP-98): they are answered with the offsets of the first time, but
// not before those are committed.
func (m *Machine) Append(a *Append) {
	m.current = a // until the core owes the answer: see stop
	m.admit(a)
	m.current = nil
}

func (m *Machine) admit(a *Append) {
	// What the log knows of producers must count what has come from another
	// leader, in this same turn perhaps, before this one leads.
	if m.heard && m.failure == nil {
		m.failure = m.perform()
	}
	if m.failure != nil {
		a.refuse(messages.E("produce", messages.StorageError, m.tp.String(), m.failure))
		return
	}
	a.result.LogAppendTime = messages.NoTimestamp
	if m.core.Refusal(messages.AcksLeader) != messages.Unknown {
		m.propose(a, 0) // is refused, and for that alone: what a replica that does not lead knows of producers may be old
		return
	}
	verdict, err := m.checkProducer(a.Batches)
	if err != nil {
		a.refuse(err)
		return
	}
	deadline := int64(0)
	if a.Timeout > 0 {
		deadline = m.world.Clock() + a.Timeout
	}
	brokersTime := m.settings.TimestampType == batch.LogAppendTime
	if verdict.Duplicate {
		if brokersTime {
			a.result.LogAppendTime = verdict.AppendTime
		}
		m.core.Await(verdict.Base, verdict.Last, deadline, a)
		return
	}
	if brokersTime {
		a.result.LogAppendTime = m.world.Now()
		for _, b := range a.Batches {
			b.SetLogAppendTime(a.result.LogAppendTime)
		}
	}
	m.propose(a, deadline)
}

func (m *Machine) propose(a *Append, deadline int64) {
	if m.core.Propose(replica.Proposal{Batches: a.Batches, Acks: a.Acks, Deadline: deadline, Token: a}) {
		m.log.Producers().Admit(a.Batches[0])
	} else {
		m.turned.Note(a.Batches[0])
	}
}

// checkProducer compares an idempotent producer's batch with what the partition
// remembers of the producer.
func (m *Machine) checkProducer(batches []batch.Batch) (producer.Verdict, error) {
	b := batches[0]
	if len(batches) > 1 && b.HasProducer() {
		return producer.Verdict{}, messages.E("produce", messages.InvalidRecord, m.tp.String(), errors.New("an idempotent producer must send one batch at a time"))
	}
	known := m.log.Producers()
	verdict, err := known.Check(b)
	if m.turned.Any() && (messages.KindOf(err) == messages.OutOfOrderSequence || err == nil && !known.Knows(b)) && m.turned.Holds(b) {
		return verdict, messages.E("produce", messages.NotLeader, m.tp.String(), errHeld)
	}
	return verdict, err
}

var errHeld = errors.New("a batch before it was refused a moment ago, and must come first")

// Flushed takes the completion of a flush. A failed one fails the replica: what
// was to be synced may be lost though the page cache still shows it.
func (m *Machine) Flushed(end messages.Offset, err error) {
	m.flushes = false
	if err != nil {
		m.failure, m.suspect = err, true
		return
	}
	m.core.Flushed(end)
}

// Receive takes a message of another replica. Its batches must have been checked,
// and stay valid until the next Settle has returned.
func (m *Machine) Receive(from messages.BrokerID, msg *replica.Message) {
	m.heard = m.heard || msg.Type == replica.TypeAppend
	m.core.Receive(from, *msg)
}

// Refused takes the controller's refusal of a change of the in-sync set.
func (m *Machine) Refused(c replica.ISRChange, cause error) { m.core.Refused(c, cause) }

// Tick tells the core the time, and finds a flush that does not come back.
func (m *Machine) Tick() {
	now := m.world.Clock()
	m.core.Tick(now)
	if limit := m.tuning.DiskTimeout; limit > 0 && m.flushes && m.waited.grow(now) >= limit && m.failure == nil {
		m.failure, m.hung = hangs(m.waited.ms), true
	}
}

// Idle reports that no Tick is needed.
func (m *Machine) Idle() bool {
	return len(m.reads) == 0 && m.core.Idle() && (!m.flushes || m.tuning.DiskTimeout == 0)
}

// DeleteBefore deletes records from the log's start; see Handle.DeleteRecords.
func (m *Machine) DeleteBefore(a *deleteRecordsAsk) { m.core.DeleteBefore(a.question.before, a) }

// Confirm makes sure that this replica leads; see Handle.Confirm.
func (m *Machine) Confirm(a *confirmAsk) {
	if now := m.core.Status().Epoch; a.question.epoch != now {
		a.refuse(messages.E("confirm", messages.FencedLeaderEpoch, m.tp.String(), fmt.Errorf("epoch %d, now %d", a.question.epoch, now)))
		return
	}
	m.core.Confirm(m.world.Clock()+a.question.timeout, a)
}

// Producers lists the idempotent producers that the log remembers.
func (m *Machine) Producers() []producer.Info { return slices.Collect(m.log.Producers().All()) }

// Scan does what is done now and then: retention, rolling by age, expiry of
// producers that fell silent.
func (m *Machine) Scan(producerExpiry int64) {
	now := m.world.Now()
	if producerExpiry > 0 {
		m.log.ExpireProducers(m.world.Clock(), producerExpiry)
	}
	err := m.log.RollIfOld(now)
	if err == nil && m.core.Status().Role == replica.Leader {
		var removed int
		if removed, err = m.log.Retain(now, m.core.Status().HighWatermark); removed > 0 {
			m.core.Trimmed(m.log.Start())
			m.dirty = true
		}
	}
	if err != nil {
		m.failure = err
	}
}

// Settle carries out what the core wants done.
func (m *Machine) Settle() error {
	for {
		if m.failure != nil {
			return m.failure
		}
		if err := m.perform(); err != nil {
			return err
		}
		if m.swapped {
			m.swapped = false
			m.publish()
		}
		if !m.serveReads() {
			return nil
		}
	}
}

// perform carries out effects until there are none, in the order in which their
// fields stand in replica.Effects.
func (m *Machine) perform() error {
	m.heard = false
	for m.core.Take(&m.effects) {
		if err := m.carryOut(&m.effects); err != nil {
			m.failure = err
			return err
		}
	}
	return nil
}

func (m *Machine) carryOut(e *replica.Effects) error {
	if err := m.changeLog(e); err != nil {
		return err
	}
	m.sendAll(e)
	if e.Flush {
		m.flushes, m.waited = true, age{}
		m.log.Flush(m.onFlush)
	}
	if e.Publish {
		m.publish()
	}
	m.answerAll(nil)
	m.reads = append(m.reads, e.Reads...)
	if e.ISRChange != nil {
		m.world.ChangeISR(*e.ISRChange)
	}
	if e.Resign != nil {
		m.world.Resign(*e.Resign)
	}
	for _, event := range e.Events {
		m.world.Event(event)
	}
	return e.Broken
}

// changeLog carries out the effects that change the log.
func (m *Machine) changeLog(e *replica.Effects) error {
	var err error
	switch e.Cut.Kind {
	case replica.CutTail:
		err = m.log.Truncate(e.Cut.To)
	case replica.CutAll:
		err = m.log.TruncateAll(e.Cut.To)
	}
	if err == nil && len(e.Append) > 0 {
		m.dirty = true
		err = m.log.Append(e.Append)
		if err == nil && m.afterAppend != nil {
			err = m.afterAppend()
			m.afterAppend = nil
		}
	}
	// What this replica took as the leader and gave up before it was written, since
	// another leads, is not there: a producer that sends it again does not repeat itself.
	m.log.DropAdmitted()
	if err == nil && e.Start > m.log.Start() {
		m.dirty = true
		err = m.log.SetStart(e.Start)
	}
	return err
}

var errNobodyLeads = errors.New("nobody leads it")

// publish shows readers the log as it is now, and who leads.
func (m *Machine) publish() {
	s := m.core.Status()
	v := &View{Leader: s.Leader, Epoch: s.Epoch, Heard: s.Heard, Log: m.log.Publish(s.HighWatermark), Epochs: m.log.Epochs()}
	switch s.Role {
	case replica.Leader:
		m.led = s.Epoch
		v.Settling, v.Isolated = !s.Settled, s.Isolated
	case replica.Broken:
		v.Err = messages.E("partition", messages.StorageError, m.tp.String(), errors.New("the replica is broken"))
	default:
		var why error
		if s.Leader == messages.NoBroker {
			why = errNobodyLeads
		}
		v.Err = messages.E("partition", messages.NotLeader, m.tp.String(), why)
	}
	v.Led = m.led
	m.world.Publish(v)
}

// answerAll gives the answers among the effects, or a cause in their place. An
// answer is forgotten once given: who got it may use what it asked with again.
func (m *Machine) answerAll(cause error) {
	for i, a := range m.effects.Answers {
		m.effects.Answers[i] = replica.Answer{}
		if cause != nil {
			a.Base, a.Err = messages.NoOffset, cause
		}
		m.answer(a)
	}
	m.effects.Answers = m.effects.Answers[:0]
}

// answer tells those who asked how it ended.
func (m *Machine) answer(a replica.Answer) {
	switch asked := a.Token.(type) {
	case *Append:
		if messages.KindOf(a.Err) == messages.NotLeader { // it led when the batch came, and may lead again when the next one comes
			m.turned.Note(asked.Batches[0])
		}
		asked.result.Base, asked.result.LogStart, asked.result.Err = a.Base, a.LogStart, a.Err
		asked.answer()
	case *deleteRecordsAsk:
		asked.answer(a.Base, a.Err)
	case *confirmAsk:
		asked.answer(struct{}{}, a.Err)
	}
}

// Status is what the replication core knows.
func (m *Machine) Status() replica.Status { return m.core.Status() }

// Committed is the log up to the high watermark, also of a follower, which shows
// readers nothing.
func (m *Machine) Committed() *log.View { return m.log.Publish(m.core.Status().HighWatermark) }

// TakeDirty reports whether the log has changed since the last call.
func (m *Machine) TakeDirty() bool {
	dirty := m.dirty
	m.dirty = false
	return dirty
}

// Size is the size of the log in bytes.
func (m *Machine) Size() int64 { return m.log.Size() }

// Checkpoint is the log's checkpoint, with what is known to be committed.
func (m *Machine) Checkpoint() log.Checkpoint {
	c := m.log.Checkpoint()
	c.Committed = m.core.Status().Committed
	return c
}

// Abandon ends a machine whose disk or code has failed. Everybody who waits is
// answered with the cause.
func (m *Machine) Abandon(cause error) *remains {
	m.stop(cause)
	left := &remains{log: m.log, suspect: m.suspect, pending: m.flushes, closed: make(chan struct{})}
	if m.hung { // the log cannot be closed before the disk answers
		m.world.Beside(left.close)
	} else {
		left.close()
	}
	return left
}

// Close ends a machine in order, leaving a log that need not be recovered.
func (m *Machine) Close(cause error) (log.Checkpoint, error) {
	m.stop(cause)
	if err := m.log.Close(true); err != nil {
		return log.Checkpoint{}, err
	}
	return m.Checkpoint(), nil
}

// Delete ends a machine and removes its log's files.
func (m *Machine) Delete(cause error) error {
	m.stop(cause)
	return m.log.Delete()
}

// stop answers everybody who waits, also those to whom the core would say yes: what was
// to be done before is not done. Nothing else of the effects counts any more.
func (m *Machine) stop(cause error) {
	if m.current != nil {
		m.current.refuse(cause)
	}
	m.answerAll(cause)
	m.core.Stop(cause)
	for m.core.Take(&m.effects) {
		m.answerAll(cause)
	}
}
