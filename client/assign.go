package client

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// assign is called when the group has given the subscription partitions, before
// any of their records is polled.
func (s *subscriber) assign(ctx context.Context, _ *kgo.Client, given map[string][]int32) {
	<-s.ready
	committed := s.committedFor(ctx, given)
	ends := s.endsFor(ctx, given)
	_, generation := s.cl.GroupMetadata()
	var begun []*flow
	for topic, partitions := range given {
		for _, n := range partitions {
			f := &flow{s: s, topic: topic, partition: n, lanes: map[string]*lane{}, children: map[string]*lane{}, aside: map[*lane]bool{}}
			f.ctx, f.stop = context.WithCancel(context.Background())
			f.assignment = Assignment{s.o.Group, generation, rand.Uint64()}
			f.front.next, f.front.epoch, f.saved.offset = -1, -1, -1
			if at, ok := committed.Lookup(topic, n); ok && at.At >= 0 {
				f.front.next, f.front.epoch = at.At, at.LeaderEpoch
				f.saved = saved{at.At, at.Metadata}
				beyond, err := decodeBeyond(at.At, at.Metadata)
				if err != nil {
					s.o.Log.Warn().Err(err).Str("topic", topic).Int32("partition", n).Msg("what was acknowledged beyond the committed offset is not known, and comes again")
				}
				f.front.skip = beyond
			} else if end, ok := ends.Lookup(topic, n); ok && end.Err == nil {
				f.front.next, f.front.epoch = end.Offset, end.LeaderEpoch
				begun = append(begun, f)
			}
			m := spawn{f, make(chan struct{})}
			s.system.Root.Send(s.parent, m)
			<-m.spawned
			s.mu.Lock()
			s.flows[place{topic, n}] = f
			s.mu.Unlock()
			s.told(Assigned{s.o.Group, topic, n, f.front.next})
		}
	}
	if err := s.commit(ctx, begun); err != nil { // the client begins at its own end
		s.o.Log.Warn().Err(err).Msg("committing where the group begins")
	}
}

// endsFor are the ends of partitions, where a group begins that is to begin there. It
// commits that: otherwise who has a partition next would begin at a later end, and what
// was written meanwhile would be for nobody.
func (s *subscriber) endsFor(ctx context.Context, given map[string][]int32) kadm.ListedOffsets {
	if s.o.Start != Latest {
		return nil
	}
	topics := slices.Sorted(maps.Keys(given))
	if len(topics) == 0 {
		return nil
	}
	ends, err := kadm.NewClient(s.cl).ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		s.o.Log.Warn().Err(err).Msg("looking for the ends of partitions")
	}
	return ends
}

// committedFor reads what the group has committed, with the metadata. It is tried
// until ctx ends, because starting without it would repeat what was done.
func (s *subscriber) committedFor(ctx context.Context, given map[string][]int32) kadm.OffsetResponses {
	topics := make([]string, 0, len(given))
	for topic := range given {
		topics = append(topics, topic)
	}
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		committed, err := kadm.NewClient(s.cl).FetchOffsetsForTopics(ctx, s.o.Group, topics...)
		if err == nil {
			err = committed.Error()
		}
		if err == nil || errors.Is(err, kerr.GroupIDNotFound) || ctx.Err() != nil {
			return committed
		}
		s.o.Log.Warn().Err(err).Msg("reading the group's offsets; it is tried again")
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
}

// revoke is called when partitions go to another member: their work ends, what was
// acknowledged is committed, and only then the group goes on.
func (s *subscriber) revoke(ctx context.Context, _ *kgo.Client, taken map[string][]int32) {
	<-s.ready
	flows := s.among(taken)
	undrained := s.release(ctx, flows)
	if err := s.commit(ctx, flows); err != nil {
		s.o.Log.Warn().Err(err).Msg("committing what is given back; some of it comes again")
	}
	s.retire(ctx, flows, undrained)
}

// lose is called when the group has gone on without the subscription. There is
// nobody to wait for, and nothing may be committed.
func (s *subscriber) lose(ctx context.Context, _ *kgo.Client, taken map[string][]int32) {
	<-s.ready
	flows := s.among(taken)
	undrained := make(map[*flow]bool)
	for _, f := range flows {
		f.close()
		f.tell(&release{done: make(chan struct{})})
		undrained[f] = true
	}
	s.retire(ctx, flows, undrained)
}

// release has work on partitions end, and tells of which it did not in time.
func (s *subscriber) release(ctx context.Context, flows []*flow) (undrained map[*flow]bool) {
	ctx, cancel := context.WithTimeout(ctx, s.o.DrainWithin)
	defer cancel()
	waiting := make([]*release, len(flows))
	for i, f := range flows {
		f.close()
		waiting[i] = &release{done: make(chan struct{})}
		f.tell(waiting[i])
	}
	undrained = make(map[*flow]bool)
	for i, f := range flows {
		select {
		case <-waiting[i].done:
		case <-ctx.Done():
			undrained[f] = true
		}
	}
	return undrained
}

// retire stops the actors of partitions, and waits until they have.
func (s *subscriber) retire(ctx context.Context, flows []*flow, undrained map[*flow]bool) {
	var stopping sync.WaitGroup
	for _, f := range flows {
		s.mu.Lock()
		delete(s.flows, place{f.topic, f.partition})
		s.mu.Unlock()
		stopping.Go(func() {
			f.stop()
			if err := s.end(ctx, f.pid); err != nil {
				s.o.Log.Warn().Err(err).Str("topic", f.topic).Int32("partition", f.partition).Msg("its actors take long to stop")
			}
			f.forget()
			s.cl.ResumeFetchPartitions(map[string][]int32{f.topic: {f.partition}})
			s.told(Revoked{s.o.Group, f.topic, f.partition, !undrained[f]})
		})
	}
	stopping.Wait()
}

// end stops an actor, and waits for it, ten seconds at most.
func (s *subscriber) end(ctx context.Context, pid *actor.PID) error {
	ended := make(chan error, 1)
	go func() { ended <- s.system.Root.StopFuture(pid).Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commit commits what has been acknowledged since the last time.
func (s *subscriber) commit(ctx context.Context, flows []*flow) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	news := map[*flow]saved{}
	for _, f := range flows {
		at, epoch, isNews := f.toCommit()
		if !isNews || at.offset < 0 {
			continue
		}
		news[f] = at
		if offsets[f.topic] == nil {
			offsets[f.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[f.topic][f.partition] = kgo.EpochOffset{Epoch: epoch, Offset: at.offset}
	}
	if len(news) == 0 {
		return nil
	}
	withMetadata := kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		describe(req, news)
		return nil
	})
	var failed error
	s.cl.CommitOffsetsSync(withMetadata, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = errors.Join(err, refused(resp))
	})
	if failed != nil {
		return failed
	}
	for f, at := range news {
		f.committed(at)
	}
	return nil
}

// describe puts the metadata of each partition into a commit.
func describe(req *kmsg.OffsetCommitRequest, news map[*flow]saved) {
	texts := map[place]string{}
	for f, at := range news {
		texts[place{f.topic, f.partition}] = at.metadata
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			text := texts[place{t.Topic, t.Partitions[j].Partition}]
			t.Partitions[j].Metadata = &text
		}
	}
}

// refused is the first error of a commit's answer.
func refused(resp *kmsg.OffsetCommitResponse) error {
	if resp == nil {
		return nil
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
