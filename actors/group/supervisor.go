package group

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/mailbox"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// supervisor is the actor above all shards. It follows the metadata: where this
// broker leads a partition of the offsets topic there is a shard of that epoch.
type supervisor struct {
	c      *Coordinator
	cancel func()
	ending bool
	shards []*child // by partition; nil: led elsewhere
}

// child is a shard and its actor.
type child struct {
	*shard
	pid *actor.PID
}

// Props makes the supervisor's props.
func (c *Coordinator) Props() *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &supervisor{c: c} }, actor.WithSupervisor(c.o.Restarts))
}

// Receive follows metadata changes.
func (s *supervisor) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		self, root := ctx.Self(), ctx.ActorSystem().Root
		s.cancel = s.c.o.Cell.Subscribe(func(ch metadata.Change) { root.Send(self, &ch) })
	case *metadata.Change:
		if !s.ending {
			s.follow(ctx, m)
		}
	case *actor.Stopping, *actor.Restarting:
		s.ending = true
		s.cancel()
		s.shards = nil
		s.publish()
	}
}

func (s *supervisor) follow(ctx actor.Context, ch *metadata.Change) {
	if ch.Configs {
		s.c.configure()
	}
	moved := false
	for _, t := range ch.Topics {
		if t.Name() == topicName {
			moved = true
		} else if t.New == nil {
			s.tell(topicGone{t.Name()})
		} else if t.Old != nil && len(t.New.Partitions) > len(t.Old.Partitions) {
			s.tell(topicGrown{t.Name()})
		}
	}
	if moved {
		s.place(ctx, ch.New.Topic(topicName))
	}
}

// tell tells all shards.
func (s *supervisor) tell(message any) {
	for _, ch := range s.shards {
		if ch != nil {
			ch.mail.PostUserMessage(message)
		}
	}
}

// place has shards where this broker leads, and nowhere else. t is nil when there
// is no such topic.
func (s *supervisor) place(ctx actor.Context, t *metadata.Topic) {
	var partitions []metadata.Partition
	if t != nil {
		partitions = t.Partitions
	}
	placed := make([]*child, max(len(partitions), len(s.shards)))
	copy(placed, s.shards)
	for n, ch := range placed {
		wanted := n < len(partitions) && partitions[n].Leader == s.c.o.Self
		if ch != nil && (!wanted || ch.epoch != partitions[n].LeaderEpoch || ch.topicID != t.ID) {
			ctx.Stop(ch.pid)
			ch = nil
		}
		if ch == nil && wanted {
			ch = s.spawn(ctx, &shard{
				c: s.c, tp: messages.TopicPartition{Topic: topicName, Partition: int32(n)}, topicID: t.ID,
				epoch: partitions[n].LeaderEpoch, mail: mailbox.NewBatching(),
			})
		}
		placed[n] = ch
	}
	s.shards = placed[:len(partitions)]
	s.publish()
}

func (s *supervisor) spawn(ctx actor.Context, sh *shard) *child {
	sh.alarm = newAlarm(sh.mail)
	props := actor.PropsFromProducer(func() actor.Actor { return &shardActor{shard: sh} },
		actor.WithMailbox(func() actor.Mailbox { return sh.mail }), actor.WithSupervisor(s.c.o.Restarts)).Configure(s.c.o.Stage.options(sh.tp.String())...)
	return &child{sh, ctx.Spawn(props)}
}

// publish makes known which shards there are.
func (s *supervisor) publish() {
	list := make([]*shard, len(s.shards))
	for n, ch := range s.shards {
		if ch != nil {
			list[n] = ch.shard
		}
	}
	s.c.shards.Store(&list)
	s.c.news.tell()
}

// Run does what depends on the time, until the context ends: it wakes groups that
// wait for one, and has all of them look for what need not be kept.
func (c *Coordinator) Run(ctx context.Context) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.alarms.run(ctx, func() int64 { return c.o.Now().Clock })
	}()
	scan := time.NewTicker(c.o.ScanInterval)
	defer scan.Stop()
	for {
		select {
		case <-scan.C:
			c.Scan()
		case <-ctx.Done():
			<-ended
			return
		}
	}
}

// Wake wakes the groups that wait for a time that has come. Who does not run Run calls
// it now and then, and Scan.
func (c *Coordinator) Wake() { c.alarms.ring(c.o.Now().Clock) }

// Scan has all groups look for what need not be kept.
func (c *Coordinator) Scan() {
	for _, s := range *c.shards.Load() {
		if s != nil {
			s.mail.PostUserMessage(expire{})
		}
	}
}
