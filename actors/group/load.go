package group

import (
	"context"
	"errors"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/group/core"
	"understudy/actors/group/journal"
	"understudy/actors/partition"
	"understudy/messages"
	"understudy/persistence/log"
)

// begin begins to read the partition; what comes of it comes as loaded. What an
// earlier claim has been writing is waited for.
func (s *shardActor) begin() {
	if s.writing.Load() {
		s.retry()
		return
	}
	s.phase = loading
	if s.hold == 0 {
		s.hold = s.c.o.Now().Clock + holdTime
	}
	s.c.alarms.set(s.alarm, s.hold)
	s.claim++
	ctx, cancel := context.WithCancel(s.c.o.Stage.context())
	s.ctx, s.cancel = ctx, cancel
	claim, sh := s.claim, s.shard
	s.c.o.Stage.beside(func() {
		h, groups, err := sh.read(ctx, nil)
		sh.mail.PostUserMessage(loaded{claim: claim, handle: h, groups: groups, err: err})
	})
}

// read waits until the local replica leads in the shard's epoch and knows all that
// is committed, and reads it; only groups for which only is true, unless it is nil.
func (s *shard) read(ctx context.Context, only func(group string) bool) (*partition.Handle, []*core.Group, error) {
	h, v, err := s.awaitLeading(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := s.c.o.Stage.acquire(ctx, s.c.reading); err != nil {
		return nil, nil, err
	}
	defer func() { <-s.c.reading }()
	replay := journal.NewReplay(&s.c.settings.Load().Settings, only)
	if err := replay.Read(ctx, v); err != nil {
		h.ReadFailed(err)
		return nil, nil, err
	}
	groups := replay.Groups(s.c.o.Now())
	if n := replay.Skipped(); n > 0 {
		s.c.o.Log.Warn().Int("records", n).Stringer("partition", s.tp).Msg("records are not understood and are passed over")
	}
	return h, groups, nil
}

// awaitLeading waits until the replica leads, and its log is committed as far as
// it goes.
func (s *shard) awaitLeading(ctx context.Context) (*partition.Handle, *log.View, error) {
	s.c.o.Stage.await(ctx, func() bool {
		h := s.c.o.Partitions.Lookup(s.tp)
		return h != nil && s.complete(h.View())
	})
	for {
		if err := s.c.o.Partitions.AwaitReady(ctx, []messages.TopicPartition{s.tp}); err != nil {
			return nil, nil, err
		}
		h := s.c.o.Partitions.Lookup(s.tp)
		if h == nil || h.TopicID() != s.topicID {
			return nil, nil, errors.New("the replica is another topic's")
		}
		published := make(chan struct{})
		w := partition.NewWaiter(func() { close(published) })
		h.Wait(w)
		if v := h.View(); s.complete(v) {
			h.Cancel(w)
			return h, v.Log, nil
		}
		select {
		case <-published:
		case <-ctx.Done():
			h.Cancel(w)
			return nil, nil, ctx.Err()
		}
	}
}

// complete reports whether a replica leads, and knows that all it has is committed.
func (s *shard) complete(v *partition.View) bool {
	return s.leads(v) && !v.Settling && v.Log.HighWatermark >= v.Log.End
}

// loaded takes over what was read.
func (s *shardActor) loaded(ctx actor.Context, m loaded) {
	if m.claim != s.claim || s.phase != loading {
		return
	}
	if m.err != nil {
		s.c.o.Log.Warn().Err(m.err).Stringer("partition", s.tp).Msg("the groups of this partition could not be read; it is tried again")
		s.retry()
		return
	}
	s.phase, s.handle, s.pause, s.hold = serving, m.handle, 0, 0
	s.slots = make(map[string]*slot, len(m.groups))
	for _, g := range m.groups {
		s.add(ctx, g)
	}
	s.c.o.Log.Debug().Stringer("partition", s.tp).Int32("epoch", s.epoch).Int("groups", len(m.groups)).Msg("coordinates the groups of this partition")
	for _, t := range s.unseen {
		s.tell(t)
	}
	s.unseen = nil
	held := s.held
	s.held = nil
	for _, r := range held {
		s.take(ctx, r)
	}
	s.ready.Store(true)
	s.c.news.tell()
}

// readAgain reads groups whose actors have failed. Nothing of theirs is being
// written, so that what is read is all there is.
func (s *shardActor) readAgain() {
	for _, sl := range s.again {
		if s.slots[sl.name] != sl {
			continue
		}
		ctx, life := s.ctx, sl.life.Load()
		s.c.o.Stage.beside(func() {
			_, groups, err := sl.shard.read(ctx, func(group string) bool { return group == sl.name })
			if err == nil && len(groups) == 0 {
				groups = append(groups, core.New(sl.name, &sl.shard.c.settings.Load().Settings))
			}
			sl.mail.PostUserMessage(rebuilt{life: life, groups: groups, err: err})
		})
	}
	s.again = nil
}
