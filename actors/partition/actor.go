package partition

import (
	"errors"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/mailbox"
	"understudy/actors/supervision"
	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// slot is what stays of a local replica when its actor is restarted. Only the
// actor touches it from when it is spawned until it has ended, but for retired and moved.
type slot struct {
	handle     *Handle
	assignment metadata.Partition
	settings   topicconfig.Settings
	led        messages.LeaderEpoch // newest epoch that an earlier incarnation may have led
	trusted    messages.Offset      // after a failed sync nothing from here on may be believed; NoOffset otherwise
	claimed    bool                 // the directory is known not to be an earlier topic's
	left       *remains             // of the last incarnation, or of another replica before it, if its log was not closed yet; else nil
	unmarked   bool                 // the directory does not say yet whose it is
	around     surroundings         // what the replica was told of other nodes
	retired    atomic.Bool          // set before the actor is stopped for good: its log is to be deleted
	moved      atomic.Bool          // set before retired, if the partition lives on elsewhere
}

// replicaActor runs one local replica. A restart makes a new one for the same slot.
//
//	           Started: open the log, recover it
//	(none) ───────────────────────────────────────▶ serving ──Stopping──▶ closed, or deleted
//	   ▲                                              │
//	   │ restarted by the supervisor                  │ panic or I/O error: the view
//	   └────────────────── failed ◀───────────────────┘ says why, who waits is refused
type replicaActor struct {
	shared  *Shared
	slot    *slot
	machine *Machine     // nil until the log is open, and again at the end
	awake   bool         // the registry has been told that the machine wants to know the time
	ticked  bool         // this turn's mail told it
	mail    mailbox.Mail // what of this turn's mail has not been handled

	incoming []*link.Incoming // of this turn: released when what came of them is done
}

// Receive handles a turn. A panic, be it a bug or a disk that failed, is made
// known before the supervisor decides.
func (r *replicaActor) Receive(c actor.Context) {
	defer func() {
		if reason := recover(); reason != nil {
			err := supervision.AsError(reason)
			r.fail(err)
			panic(err)
		}
	}()
	switch m := c.Message().(type) {
	case *actor.Started:
		r.open()
	case mailbox.Mail:
		r.slot.handle.turn.begin()
		r.work(m)
		if hung := r.slot.handle.turn.end(); hung != nil {
			panic(hung)
		}
	case *actor.Stopping:
		r.close()
	case *actor.Stopped:
		r.slot.handle.mail.Divert(r.refuse)
	}
}

func (r *replicaActor) open() {
	r.slot.takeOver()
	r.claim()
	r.shared.Opening <- struct{}{}
	defer func() { <-r.shared.Opening }()
	machine, err := r.shared.openMachine(r.slot, r)
	if err != nil {
		panic(err)
	}
	r.machine = machine
	r.slot.handle.compacts.Store(r.slot.settings.Compact)
	r.slot.handle.uncleanable.Store(false)
	r.slot.around.tell(machine)
	r.assign(r.slot.assignment)
	r.slot.handle.mail.Divert(nil) // before anybody is told that the replica serves
	r.settle()
}

// claim makes sure, once, that the directory is not an earlier topic's. A log
// with a checkpoint needs no look: it was ours in the last run.
func (r *replicaActor) claim() {
	h := r.slot.handle
	if r.slot.claimed || r.shared.Checkpoints.knows(h.topicID, h.tp) {
		return
	}
	unmarked, err := claimDirectory(r.shared.FS, h.tp, h.topicID)
	if err != nil {
		panic(messages.E("open partition", messages.StorageError, h.tp.String(), err))
	}
	r.slot.claimed, r.slot.unmarked = true, unmarked
}

// work handles everything that has gathered, then settles it in one go.
func (r *replicaActor) work(mail mailbox.Mail) {
	for r.mail = mail; len(r.mail) > 0; {
		message := r.mail[0]
		r.mail = r.mail[1:]
		r.handle(message)
	}
	r.settle()
}

func (r *replicaActor) handle(message any) {
	switch m := message.(type) {
	case *Append:
		if err := m.fenced(r.slot.handle.tp, r.machine.core.Status().Epoch); err != nil {
			m.refuse(err)
			return
		}
		r.machine.Append(m)
	case *link.Incoming:
		r.incoming = append(r.incoming, m)
		r.machine.Receive(m.From.ID, &m.Message)
	case peerUp, peerDown, isolate, surroundings:
		r.slot.around.note(m)
		tellOne(r.machine, m)
	case refused:
		r.machine.Refused(m.change, m.cause)
	case flushed:
		if m.by == r.machine {
			r.machine.Flushed(m.end, m.err)
		}
	case tick:
		r.ticked = true
		r.machine.Tick()
	case update:
		r.machine.Configure(m.settings)
		r.slot.settings = m.settings
		r.slot.handle.compacts.Store(m.settings.Compact)
		r.assign(m.assignment)
	case *deleteRecordsAsk:
		r.machine.DeleteBefore(m)
	case *confirmAsk:
		r.machine.Confirm(m)
	case *describeProducersAsk:
		m.answer(r.machine.Producers(), nil)
	case scan:
		r.machine.Scan(m.producerExpiry)
	case *dirtAsk:
		m.answer(r.machine.Dirt())
	case *cleanAsk:
		m.begin(r.machine)
	case *swapAsk:
		m.answer(struct{}{}, r.machine.Swap(m.question.cleaning, m.question.replacement))
	case endClean:
		r.machine.EndClean(m.cleaning, m.to)
	case takeCheckpoint:
		m.deliver(r.machine.Checkpoint())
	}
}

func (r *replicaActor) assign(p metadata.Partition) {
	r.slot.assignment = p
	r.machine.Assign(p)
	if p.Leader == r.shared.Self.ID {
		r.slot.led = max(r.slot.led, p.LeaderEpoch)
	}
}

func (r *replicaActor) settle() {
	if err := r.machine.Settle(); err != nil {
		panic(err)
	}
	r.release()
	h := r.slot.handle
	if look := r.shared.Stage.Look; look != nil {
		look(h.tp, r.machine)
	}
	h.bytes.Store(r.machine.Size())
	// Only a tick puts to sleep: a replica that is written to is idle between any
	// two batches, and need not say so each time.
	if idle := r.machine.Idle(); idle == r.awake && (!idle || r.ticked) {
		r.awake = !idle
		r.shared.Registry.setAwake(h, r.awake)
	}
	r.ticked = false
	if r.machine.TakeDirty() {
		h.dirty.Store(true)
	}
}

// release gives the memory of what came from other nodes back.
func (r *replicaActor) release() {
	for i, in := range r.incoming {
		in.Release()
		r.incoming[i] = nil
	}
	r.incoming = r.incoming[:0]
}

// fail makes known that the replica has failed: readers see the cause, everybody
// who waits is answered with it, and what the metadata said is kept for the next
// incarnation.
func (r *replicaActor) fail(err error) {
	h := r.slot.handle
	cause := messages.E("partition", messages.StorageError, h.tp.String(), err)
	h.publish(&View{Leader: messages.NoBroker, Epoch: r.slot.assignment.LeaderEpoch, Err: cause})
	r.shared.tellFailed(h, r.slot.assignment.Leader, r.slot.assignment.LeaderEpoch)
	if r.machine != nil {
		r.slot.left = r.machine.Abandon(cause)
		r.machine = nil
	}
	h.turn.end()
	r.release()
	for _, message := range r.mail {
		if m, ok := message.(update); ok {
			r.slot.assignment, r.slot.settings = m.assignment, m.settings
		} else if !r.slot.around.note(message) {
			refuse(message, cause)
		}
	}
	r.mail = nil
	h.mail.Divert(refuseWith(cause))
	r.shared.Registry.setAwake(h, false)
}

// close ends the replica in order: what was appended is made durable, so that
// the next start finds nothing to recover. If the disk fails here, the next start
// does recover.
func (r *replicaActor) close() {
	if r.machine == nil && !r.slot.retired.Load() {
		return
	}
	h := r.slot.handle
	cause := r.gone()
	h.publish(&View{Leader: messages.NoBroker, Epoch: r.slot.assignment.LeaderEpoch, Err: cause})
	if err := r.shared.closeLog(r.machine, r.slot, cause); err != nil {
		r.shared.Log.Error().Err(err).Stringer("partition", h.tp).Msg("could not close the log in order")
	}
	r.machine = nil
}

// gone is why a stopped replica does not serve.
func (r *replicaActor) gone() error {
	tp := r.slot.handle.tp.String()
	switch {
	case r.slot.moved.Load():
		return messages.E("partition", messages.NotLeader, tp, errors.New("its replica here has moved elsewhere"))
	case r.slot.retired.Load():
		return messages.E("partition", messages.UnknownTopicOrPartition, tp, errors.New("was deleted"))
	}
	return messages.E("partition", messages.ShuttingDown, tp, nil)
}

// refuse answers what comes after the end.
func (r *replicaActor) refuse(message any) bool {
	refuse(message, r.gone())
	return true
}

// refuse answers whoever waits with a cause, drops what another node sent, and
// reports whether the message was one of these.
func refuse(message any, cause error) bool {
	switch m := message.(type) {
	case refusable:
		m.refuse(cause)
	case *link.Incoming:
		m.Release()
	default:
		return false
	}
	return true
}

// refuseWith makes a diversion that refuses with a cause, and leaves the rest to
// the actor's next incarnation.
func refuseWith(cause error) func(message any) bool {
	return func(message any) bool { return refuse(message, cause) }
}

// The actor is its machine's world.

func (r *replicaActor) Now() int64 { return r.shared.Stage.now() }

func (r *replicaActor) Clock() int64 { return r.shared.Stage.clock() }

func (r *replicaActor) Publish(v *View) { r.slot.handle.publish(v) }

func (r *replicaActor) Flushed(m *Machine, end messages.Offset, err error) {
	r.slot.handle.mail.PostUserMessage(flushed{m, end, err})
}

// Send has the core ask where to go on, if batches were lost on the way out, or news of
// which the leader would not know that they have not come. What asks or answers is
// repeated anyway.
func (r *replicaActor) Send(to messages.BrokerID, m *replica.Message, owner Payload) {
	h := r.slot.handle
	if err := r.shared.Cluster.Send(to, h.topicID, h.tp, m, owner); errors.Is(err, link.ErrQueueFull) && m.Type == replica.TypeAppend && (len(m.Batches) > 0 || m.Probe == 0) {
		if epoch, known := r.slot.around.up[to]; known {
			h.mail.PostUserMessage(peerUp{replica.Member{ID: to, Epoch: epoch}})
		}
	}
}

func (r *replicaActor) Room(c CatchUp) int64 { return r.shared.Cluster.Room(c) }

func (r *replicaActor) Spend(c CatchUp, bytes int64) { r.shared.Cluster.Spend(c, bytes) }

func (r *replicaActor) ReadFailed(err error) { r.slot.handle.ReadFailed(err) }

func (r *replicaActor) ChangeISR(c replica.ISRChange) {
	r.shared.Cluster.ChangeISR(r.slot.handle.tp, c)
}

func (r *replicaActor) Resign(c replica.Resignation) {
	r.shared.Cluster.Resign(r.slot.handle.tp, c)
}

func (r *replicaActor) Beside(f func()) { r.shared.Stage.beside(f) }

func (r *replicaActor) Event(e replica.Event) { r.shared.Cluster.Event(r.slot.handle.tp, e) }
