package replica

import (
	"cmp"
	"errors"
	"slices"

	"understudy/messages"
)

// LogState is what is found on disk when a replica's log is opened.
type LogState struct {
	Start messages.Offset // log start offset
	End   messages.Offset // log end offset

	// Durable is the part of the log that is known to survive a power cut;
	// NoOffset or less than Start: nothing is known, all of it is flushed first.
	Durable messages.Offset

	// HighWatermark is the Status.Committed that was recorded last; 0 if none. As
	// without write caching the records below it were durable then, it betrays a
	// log that has lost committed records.
	HighWatermark messages.Offset

	// LedEpoch is the newest epoch that this broker may have led on this
	// partition before the log was opened, in this process or an earlier one;
	// NoEpoch if none. It will not be led again: records that were sent to
	// followers then may be gone here. The partition's epoch in the metadata, as
	// read (consistently) when the process started, is a safe answer, whoever
	// led it; when a replica is opened again later, its last Status.Epoch is.
	LedEpoch messages.LeaderEpoch

	Epochs []EpochStart // epoch history, rising
}

// Settings are the topic's settings that matter here. They may change at any
// time and need not change on all replicas at once.
type Settings struct {
	// MinInSync is min.insync.replicas; as in Kafka it counts as no more than
	// the number of replicas (KIP-966).
	MinInSync int
	// LagTimeMax is replica.lag.time.max.ms.
	LagTimeMax int64
	// WriteCaching is write.caching: replicas acknowledge and commit what they
	// have in memory. Committed records may then be lost with power, and the
	// replicas go on without them instead of going offline.
	WriteCaching bool
	// UncleanElection is unclean.leader.election.enable: the replica may drop
	// records below its own high watermark to follow a leader without them.
	UncleanElection bool
	// Window bounds the bytes of records on their way to one follower.
	Window int64
}

// Default values for Settings that are 0.
const (
	DefaultLagTimeMax int64 = 30_000  // ms, Kafka's
	DefaultWindow     int64 = 4 << 20 // bytes: four of the largest messages on their way
)

// Assignment is what the metadata says about the partition.
type Assignment struct {
	Epoch    messages.LeaderEpoch
	Leader   messages.BrokerID // NoBroker: the partition is offline
	Replicas []messages.BrokerID
	ISR      []messages.BrokerID // of the Replicas
	Revision int64               // rises with every change of the partition's metadata

	// UncleanEpoch is the newest epoch whose leader was elected from outside the
	// in-sync set, if the metadata records that; 0 or NoEpoch if none. Records of
	// earlier epochs may then be dropped even below the high watermark, as if
	// Settings.UncleanElection were on.
	UncleanEpoch messages.LeaderEpoch
}

// Role is what a replica does at the moment.
type Role uint8

// The roles; see Replica.
const (
	Waiting  Role = iota // knows no leader: takes no records from anyone
	Follower             // copies the leader's log
	Leader               // takes records and sends them to the followers
	Standby              // named leader, but must not lead: has resigned
	Broken               // does nothing any more
)

// String is the role in words.
func (r Role) String() string {
	return [...]string{"waiting", "follower", "leader", "standby", "broken"}[min(r, Broken)]
}

// Replica is the core of one replica of one partition. It is not safe for
// concurrent use: one actor owns it. See New.
//
//	             a leader is known: Assign,
//	┌─────────┐  Append of a newer epoch    ┌──────────┐ <─┐ another leader: Assign,
//	│         │ ──────────────────────────> │          │   │ Append of a newer epoch
//	│ Waiting │                             │ Follower │ ──┘
//	│         │ <────────────────────────── │          │
//	└─────────┘  no leader is known: Assign,└──────────┘
//	  ^     ^    any message of a newer epoch  ^     ^
//	  │     └─────────────────────────────┐    │     │
//	  │ as from Follower                  │    │     │
//	  v                                   v    v     │
//	┌─────────┐  Assign names this replica, ┌──────────┐
//	│ Leader  │  but it led this epoch      │ Standby  │
//	│         │  before, or has lost what   │          │
//	└─────────┘  was committed: ──────────> └──────────┘
//	     ^           a newer epoch names it again │
//	     └────────────────────────────────────────┘
//
//	Waiting, Follower and Standby become Leader or Standby when Assign names this
//	replica as leader of an epoch; Leader becomes Follower as Waiting does.
//	Any role becomes Broken by Stop, and when it would have to drop records
//	below its high watermark. Nothing leads out of Broken.
type Replica struct {
	self     Member
	tp       messages.TopicPartition
	settings Settings

	role       Role
	epoch      messages.LeaderEpoch // newest heard of
	leader     messages.BrokerID    // of epoch, if known
	assignment Assignment           // newest from the metadata; its epoch may be behind epoch
	heard      messages.LeaderEpoch // newest that anybody has told of; epoch may be from the log alone
	led        messages.LeaderEpoch // newest epoch that must not be led (again)

	// The log as it will be once the effects are carried out.
	// start <= hw <= end, start <= durable <= end.
	start, hw, durable, end messages.Offset
	epochs                  history
	lost                    messages.Offset // more than hw: this much was committed once, and is not here
	flushing                bool            // a flush is outstanding
	flushTo                 messages.Offset // what its completion makes durable: lowered by truncation
	flushDue                bool            // with write caching: flush now

	lead   leading
	follow following

	down     []messages.BrokerID // peers reported down, of whatever partition
	isolated bool                // see Isolate
	probes   uint32              // the last number given to a question or a Read
	now      int64               // as of the last Tick
	broken   error               // why, once Broken

	out Effects // gathered since the last Take
}

// New makes the core of a replica whose log was just opened. It waits for Assign.
func New(self Member, tp messages.TopicPartition, s Settings, log LogState) *Replica {
	r := &Replica{
		self:       self,
		tp:         tp,
		settings:   s.withDefaults(),
		epoch:      messages.NoEpoch,
		leader:     messages.NoBroker,
		assignment: Assignment{Epoch: messages.NoEpoch, Leader: messages.NoBroker, Revision: -1},
		start:      log.Start,
		end:        max(log.End, log.Start),
		epochs:     slices.Clone(log.Epochs),
	}
	r.durable = min(max(log.Durable, r.start), r.end)
	r.hw = min(max(log.HighWatermark, r.start), r.end)
	r.epoch = max(r.epochs.last(), log.LedEpoch)
	r.heard, r.led = log.LedEpoch, r.epoch
	r.out.Publish = true
	if log.HighWatermark > r.end {
		r.lost = log.HighWatermark
		r.event(Recovered{End: r.end, Committed: r.lost})
	}
	return r
}

func (s Settings) withDefaults() Settings {
	s.MinInSync = max(s.MinInSync, 1)
	s.LagTimeMax = cmp.Or(s.LagTimeMax, DefaultLagTimeMax)
	s.Window = cmp.Or(s.Window, DefaultWindow)
	return s
}

// Configure changes the settings.
func (r *Replica) Configure(s Settings) {
	r.settings = s.withDefaults()
	switch r.role {
	case Leader:
		r.failBelowMin()
		r.advance()
	case Follower:
		r.settle()
	}
}

// Flushed reports the completion of the flush that Effects.Flush began: the log
// is durable up to end. Not to be called for a flush that an earlier Replica of
// the same partition began.
func (r *Replica) Flushed(end messages.Offset) {
	r.flushing = false
	r.durable = max(r.durable, min(end, r.flushTo, r.end))
	switch r.role {
	case Leader:
		r.advance()
	case Follower:
		r.settle()
	}
}

// Trimmed tells that retention has deleted the records before start, in the log
// of this replica, by itself. Never above the high watermark.
func (r *Replica) Trimmed(start messages.Offset) {
	if r.raiseStart(min(start, r.hw)) && r.role == Leader {
		r.answerDeletes()
	}
}

// raiseStart moves the log start, and reports whether it did.
func (r *Replica) raiseStart(start messages.Offset) bool {
	if start <= r.start {
		return false
	}
	r.start = start
	r.durable = max(r.durable, start)
	r.epochs = r.epochs.trim(start)
	r.out.Publish = true
	return true
}

// PeerUp tells that a peer's node can be reached, over a new connection: what
// was on its way over an older one may be lost. Peers count as up at first.
func (r *Replica) PeerUp(m Member) {
	r.down = slices.DeleteFunc(r.down, func(id messages.BrokerID) bool { return id == m.ID })
	if f := r.follower(m.ID); f != nil {
		f.down = false
		if f.meet(m.Epoch, r.end) {
			f.question(f.known(r.end))
		}
	}
}

// PeerDown tells that a peer's node is down, as far as anybody can tell, and not
// merely that a connection was lost: it leaves the in-sync set. It counts as
// down until PeerUp. Tell every replica, whether or not it leads or the peer is
// a replica of its partition.
func (r *Replica) PeerDown(id messages.BrokerID) {
	if !slices.Contains(r.down, id) {
		r.down = append(r.down, id)
	}
	if f := r.follower(id); f != nil {
		f.down = true
		f.joining = false
		f.hangUp()
		r.reviewISR()
		r.advance()
		r.answerDeletes() // it may have been counted, and is no longer
		r.answerConfirms()
	}
}

// Isolate tells whether this node hears neither the metadata store nor enough of
// its peers, so that it may have been replaced as a leader without knowing. A
// leader that could have been replaced then takes no writes, and tells those who
// wait, as when it steps down, that they had better ask elsewhere.
func (r *Replica) Isolate(on bool) {
	if r.isolated == on {
		return
	}
	r.isolated = on
	if r.role == Leader && r.replaceable() {
		r.event(Isolated{Epoch: r.epoch, On: on})
		r.out.Publish = true
		if on {
			r.release(messages.E("produce", messages.NotLeader, r.tp.String(), nil))
		}
	}
}

// Stop ends the replica: its log has failed, it is being closed or deleted.
// Everybody who waits is answered with the cause.
func (r *Replica) Stop(cause error) {
	if r.role == Broken {
		return
	}
	waiting := r.release(cause)
	r.lead = leading{}
	r.role, r.leader, r.broken = Broken, messages.NoBroker, cause
	r.out.Publish = true
	r.event(Failed{Cause: cause, Unanswered: waiting})
}

// fail is Stop from within: what must not happen has happened.
func (r *Replica) fail(why string) {
	cause := messages.E("replicate", messages.StorageError, r.tp.String(), errors.New(why))
	r.Stop(cause)
	r.out.Broken = cause
}

// Receive takes a message from another replica. Its batches must have been
// checked (CRC and all) by the caller.
func (r *Replica) Receive(from messages.BrokerID, m Message) {
	switch {
	case r.role == Broken:
	case m.Type == TypeAppend:
		r.receiveAppend(from, &m)
	case m.Epoch > r.epoch:
		r.loseLeader(m.Epoch, from, HeardFence)
	case m.Epoch < r.epoch:
		if m.Type == TypeHello {
			r.fence(from)
		}
	case r.role == Leader:
		r.receiveReply(from, &m)
	}
}

// fence tells a replica of an older epoch about this one. An epoch that only the
// log knows of may be a bit that has turned on the disk, in a field that no
// checksum covers: to tell the others would end their leadership for nothing.
func (r *Replica) fence(to messages.BrokerID) {
	if r.epoch > r.heard {
		return
	}
	r.send(to, Message{Type: TypeFence, Epoch: r.epoch})
}

// send adds a message to the effects, signed with this broker's start.
func (r *Replica) send(to messages.BrokerID, m Message) {
	m.BrokerEpoch = r.self.Epoch
	r.out.Send = append(r.out.Send, Outgoing{To: to, Message: m})
}

// Tick tells the time, in ms on a clock that never goes back. It is the only
// source of time: it finds followers that lag, repeats what was not answered,
// gives up on deadlines and carries the high watermark to quiet followers. Ten
// times a second is enough. While Idle, it can be left out.
func (r *Replica) Tick(now int64) {
	r.now = max(r.now, now)
	r.flushDue = true
	switch r.role {
	case Leader:
		r.tickLeader()
	case Standby:
		if r.lead.asked.due(r.now, retryChange) {
			r.out.Resign = &Resignation{Epoch: r.epoch, Cause: r.lead.resigned}
		}
	}
}

// Idle reports that Tick has nothing to do until the next other input.
func (r *Replica) Idle() bool {
	if r.settings.WriteCaching && r.durable < r.end {
		return false
	}
	switch r.role {
	case Leader:
		return r.idleLeader()
	case Standby:
		return false
	}
	return true
}

// Take moves the effects gathered so far to e, and reports whether there are
// any. Call it in a loop until there are none; see the package comment.
func (r *Replica) Take(e *Effects) bool {
	e.clear()
	switch r.role {
	case Leader:
		if r.settings.WriteCaching {
			r.advance() // what is appended counts, and no flush will tell of it
		}
		for _, f := range r.lead.followers {
			r.pump(f)
		}
	case Follower:
		r.acknowledge()
	}
	if r.durable < r.end && !r.flushing && r.role != Broken && (!r.settings.WriteCaching || r.flushDue) {
		r.out.Flush = true
		r.flushing, r.flushTo = true, r.end
	}
	r.flushDue = false
	if r.out.empty() {
		return false
	}
	*e, r.out = r.out, *e
	return true
}

func (r *Replica) event(e Event) { r.out.Events = append(r.out.Events, e) }
