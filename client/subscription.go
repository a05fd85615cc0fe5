package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Subscription is a member of a consumer group whose records go to actors.
//
//	poll ──records──▶ one actor for each partition ──deliveries──▶ your actors
//	  ▲                        │  ▲                                   │
//	  └────── room ◀── front ◀─┴──┴──────────── Ack, Fail, … ─────────┘
//	                     │
//	                     └──▶ commits
type Subscription struct {
	s    *subscriber
	once sync.Once
	err  error
}

// subscriber is a subscription at work.
type subscriber struct {
	o       SubscriptionOptions
	system  *actor.ActorSystem
	cl      *kgo.Client
	props   *actor.Props // of the actors that records are for
	parent  *actor.PID   // of the partitions' actors
	room    room
	pool    pool // of goroutines that the actors run on
	metrics metrics
	aside   atomic.Int64 // records that were put aside
	letters sync.RWMutex // held for each dead letter that is being written: for writing, if it is to be alone
	stopped atomic.Bool  // its metrics may make room for another's
	pressed time.Time    // when there was last too little room; of who polls

	ctx  context.Context // of polls
	stop context.CancelFunc
	work sync.WaitGroup // polling and committing

	ready chan struct{} // closed when all above is set: the client calls back early

	mu         sync.Mutex
	flows      map[place]*flow
	committing sync.Mutex // one commit at a time, so that none overtakes another
}

// place is one partition.
type place struct {
	topic     string
	partition int32
}

// Subscribe joins the group and begins to feed actors. The error says what is
// wrong with the options; brokers that cannot be reached are tried again for ever.
func Subscribe(system *actor.ActorSystem, o SubscriptionOptions) (*Subscription, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	s := &subscriber{o: o, system: system, flows: map[place]*flow{}, ready: make(chan struct{})}
	if err := kgo.ValidateOpts(o.readingOptions()...); err != nil && o.MaxAside >= 0 {
		o.Log.Warn().Err(err).Msg("with these options of the Kafka client nothing can be put aside")
		s.o.MaxAside = -1
	}
	s.room.max.records, s.room.max.bytes = int64(o.MaxRecords), o.MaxBytes
	s.ctx, s.stop = context.WithCancel(context.Background())
	props := *o.Actor
	s.props = props.Configure(actor.WithReceiverMiddleware(s.guard), actor.WithDispatcher(&s.pool))
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, fmt.Errorf("client: subscribe: metrics: %w", err)
	}
	s.cl, err = kgo.NewClient(append(o.clientOptions(),
		kgo.OnPartitionsAssigned(s.assign), kgo.OnPartitionsRevoked(s.revoke), kgo.OnPartitionsLost(s.lose))...)
	if err != nil {
		s.metrics.end(o.Metrics)
		return nil, fmt.Errorf("client: subscribe: %w", err)
	}
	// Partitions' actors are children of one that never fails, and restarts them.
	s.parent = system.Root.Spawn(actor.PropsFromFunc(s.supervise))
	close(s.ready)
	s.work.Go(s.poll)
	s.work.Go(s.keep)
	return &Subscription{s: s}, nil
}

// spawn asks the partitions' parent for one more.
type spawn struct {
	flow    *flow
	spawned chan struct{}
}

// supervise is the parent of the partitions' actors.
func (s *subscriber) supervise(ctx actor.Context) {
	if m, ok := ctx.Message().(spawn); ok {
		m.flow.pid = ctx.Spawn(actor.PropsFromProducer(func() actor.Actor { return m.flow }, actor.WithSupervisor(m.flow)))
		close(m.spawned)
	}
}

// Stop gives the partitions back in order: nothing more is delivered, work that is
// being done may end (see DrainWithin), what was acknowledged is committed, and the
// group is left. ctx bounds all of it. Further calls give the first one's result.
func (s *Subscription) Stop(ctx context.Context) error {
	s.once.Do(func() { s.err = s.s.shutDown(ctx) })
	return s.err
}

func (s *subscriber) shutDown(ctx context.Context) error {
	s.stop()
	s.work.Wait()
	undrained := s.release(ctx, s.assigned())
	err := s.commit(ctx, s.assigned())
	s.retire(ctx, s.assigned(), undrained)
	if s.o.InstanceID == "" {
		err = errors.Join(err, s.cl.LeaveGroupContext(ctx))
	}
	s.cl.Close()
	err = errors.Join(err, s.end(ctx, s.parent))
	s.stopped.Store(true)
	return err
}

// assigned are the partitions that the subscription has, in order.
func (s *subscriber) assigned() []*flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*flow, 0, len(s.flows))
	for _, f := range s.flows {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *flow) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	return list
}

// among picks those of the subscription's partitions that are named.
func (s *subscriber) among(named map[string][]int32) []*flow {
	return slices.DeleteFunc(s.assigned(), func(f *flow) bool { return !slices.Contains(named[f.topic], f.partition) })
}

// poll brings records to the partitions' actors, as long as there is room.
func (s *subscriber) poll() {
	for {
		n, ok := s.awaitRoom()
		if !ok {
			return
		}
		fetches := s.cl.PollRecords(s.ctx, n)
		if s.ctx.Err() != nil || fetches.IsClientClosed() {
			s.cl.AllowRebalance()
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			s.o.Log.Warn().Err(err).Str("topic", topic).Int32("partition", partition).Msg("fetching; it is tried again")
		})
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			s.mu.Lock()
			f := s.flows[place{p.Topic, p.Partition}]
			s.mu.Unlock()
			if f != nil && len(p.Records) > 0 {
				f.arrived(p.Records, p.HighWatermark)
			}
		})
		s.cl.AllowRebalance()
	}
}

// awaitRoom waits until there is room to poll for n records; ok is false when the
// subscription is being stopped.
func (s *subscriber) awaitRoom() (n int, ok bool) {
	for gathered := false; ; {
		n, freed := s.room.ask()
		if freed != nil || s.room.little(n) {
			s.press()
		}
		switch {
		case freed != nil:
			again := time.NewTimer(pressEvery)
			select {
			case <-freed:
			case <-again.C:
			case <-s.ctx.Done():
			}
			again.Stop()
			if s.ctx.Err() != nil {
				return 0, false
			}
		case !gathered && s.room.little(n):
			gathered = true
			more := time.NewTimer(gather)
			select {
			case <-more.C:
			case <-s.ctx.Done():
				more.Stop()
				return 0, false
			}
		default:
			return n, true
		}
	}
}

// press has partitions put aside what their slow actors have waiting, now and then.
func (s *subscriber) press() {
	now := time.Now()
	if s.o.MaxAside < 0 || now.Sub(s.pressed) < pressEvery {
		return
	}
	s.pressed = now
	for _, f := range s.assigned() {
		f.tell(press{now})
	}
}

// keep commits, and looks for actors that have nothing to do, now and then.
func (s *subscriber) keep() {
	every := time.NewTicker(s.o.CommitEvery)
	defer every.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-every.C:
			flows := s.assigned()
			for _, f := range flows {
				f.tell(tick{now})
			}
			if err := s.commit(s.ctx, flows); err != nil && s.ctx.Err() == nil {
				s.o.Log.Warn().Err(err).Msg("committing; it is tried again")
			}
		}
	}
}

// after calls do later, unless the subscription has been stopped.
func (s *subscriber) after(pause time.Duration, do func()) {
	if pause <= 0 {
		do()
		return
	}
	time.AfterFunc(pause, func() {
		if s.ctx.Err() == nil {
			do()
		}
	})
}

func partitionLabel(n int32) string { return strconv.Itoa(int(n)) }
