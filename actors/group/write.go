package group

import (
	"errors"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/group/core"
	"understudy/actors/group/journal"
	"understudy/actors/partition"
	"understudy/messages"
)

// write is something that a group wants written.
type write struct {
	slot *slot
	life int64 // of the group's actor
	what core.Write
}

// written tells a group how the oldest of its writes has ended.
type written struct {
	life int64
	err  error
}

// appended tells a shard how its append has ended.
type appended struct {
	claim int
	err   error
}

// writer has one append under way, and gathers the next one meanwhile: so many
// groups' commits share one. What is written is in the order in which it came.
type writer struct {
	encoder *journal.Encoder
	queue   []*write // the next
	flight  []*write // under way
}

// maxAppend is how many bytes are gathered at most, unless one write alone has more.
const maxAppend = 1 << 20

func (w *writer) reset() {
	w.queue, w.flight = nil, nil
	w.encoder.Batches()
}

// flush appends what has gathered, unless an append is under way.
func (s *shardActor) flush() {
	w := &s.out
	if len(w.flight) > 0 {
		return
	}
	s.readAgain()
	n := 0
	for n < len(w.queue) && w.encoder.Size() < maxAppend {
		if next := w.queue[n]; next.life == next.slot.life.Load() { // else nobody remembers having wanted it
			w.encoder.Add(next.slot.name, next.what)
			w.flight = append(w.flight, next)
		}
		n++
	}
	if w.queue = w.queue[n:]; len(w.flight) == 0 {
		return
	}
	s.writing.Store(true)
	s.handle.Append(&partition.Append{
		Batches: w.encoder.Batches(), Acks: messages.AcksAll, Timeout: s.c.settings.Load().CommitTimeout,
		Bound: true, Epoch: s.epoch, Reply: s.shard, Slot: s.claim,
	})
}

// Appended implements partition.Replier.
func (s *shard) Appended(claim int, r partition.Result) {
	s.writing.Store(false)
	s.mail.PostUserMessage(appended{claim, r.Err})
}

// appended tells the groups how their writes have ended.
func (s *shardActor) appended(ctx actor.Context, m appended) {
	if m.claim != s.claim || s.phase != serving {
		return
	}
	err, ends := verdict(m.err)
	if ends {
		s.giveUp(ctx, m.err)
		return
	}
	if err != nil {
		s.c.o.Log.Debug().Err(m.err).Stringer("partition", s.tp).Msg("groups could not write")
	}
	for _, w := range s.out.flight {
		w.slot.mail.PostUserMessage(written{w.life, err})
	}
	s.out.flight = nil
}

// verdict is what clients of groups are told of an append that has failed, and
// whether it shows that this broker coordinates no more.
func verdict(err error) (told error, ends bool) {
	if err == nil {
		return nil, false
	}
	var kind messages.Kind
	switch messages.KindOf(err) {
	case messages.NotEnoughReplicas, messages.NotEnoughReplicasAfterAppend, messages.RequestTimedOut:
		kind = messages.CoordinatorNotAvailable
	case messages.MessageTooLarge, messages.RecordListTooLarge:
		kind = messages.InvalidCommitOffsetSize
	default:
		return nil, true
	}
	return messages.E("write", kind, "", errors.New(err.Error())), false
}
