package partition

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/supervision"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// Supervisor is the actor above all local replicas. It follows the metadata: a
// partition that has a replica here gets an actor; one that has none any more
// loses it, and its log.
//
// A topic that is deleted and made again under its name must not find the old
// one's files: the new replica's actor is started when the old one's has stopped.
type Supervisor struct {
	shared   *Shared
	cell     *metadata.Cell
	cancel   func()
	ending   bool // what ends now is not started again, whatever still waits in the mailbox
	children map[messages.TopicPartition]*child
	byPID    map[string]*child
	left     map[messages.TopicPartition]*remains // of who has ended, if a hung disk still owed an answer then
}

// child is one replica's actor and what is to come after it.
type child struct {
	slot *slot
	pid  *actor.PID
	next *slot // started when this one has stopped
}

// Props makes the supervisor's props.
func Props(shared *Shared, cell *metadata.Cell, restarts *supervision.Backoff) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &Supervisor{shared: shared, cell: cell,
			children: map[messages.TopicPartition]*child{}, byPID: map[string]*child{}, left: map[messages.TopicPartition]*remains{}}
	}, actor.WithSupervisor(restarts))
}

// Receive follows metadata changes and the ends of children.
func (s *Supervisor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		self, root := c.Self(), c.ActorSystem().Root
		s.cancel = s.cell.Subscribe(func(ch metadata.Change) { root.Send(self, &ch) })
	case *metadata.Change:
		if !s.ending {
			s.follow(c, m)
		}
	case *actor.Terminated:
		s.ended(c, m.Who)
	case *actor.Stopping, *actor.Restarting:
		s.ending = true
		s.cancel()
		for _, ch := range s.children {
			s.drop(ch)
		}
	}
}

// follow brings the local replicas in line with the metadata.
func (s *Supervisor) follow(c actor.Context, ch *metadata.Change) {
	defaults := s.shared.Defaults(ch.New)
	for _, t := range ch.Topics {
		if t.New == nil {
			s.retireTopic(c, t.Old)
		} else if !ch.Configs {
			s.followTopic(c, t.Old, t.New, defaults)
		}
	}
	if ch.Configs {
		for t := range ch.New.Topics() {
			s.followTopic(c, nil, t, defaults)
		}
	}
}

// followTopic brings the replicas of a topic's partitions in line, of those that
// are not as they were in old, if that is given.
func (s *Supervisor) followTopic(c actor.Context, old, t *metadata.Topic, defaults topicconfig.Defaults) {
	settings, err := topicconfig.Parse(t.Config, defaults)
	if err != nil {
		// The controller refuses such settings; a broker of an older version may
		// meet one that it does not know.
		s.shared.Log.Error().Err(err).Str("topic", t.Name).Msg("the topic's settings cannot be used here; the ones before stay")
		return
	}
	var added []*Handle
	for number := range t.Partitions {
		if sameReplica(old, t, number) {
			continue
		}
		tp := messages.TopicPartition{Topic: t.Name, Partition: int32(number)}
		if h := s.place(c, tp, t.ID, t.Partitions[number], settings); h != nil {
			added = append(added, h)
		}
	}
	s.shared.Registry.add(added)
}

// sameReplica reports whether nothing has changed that a replica of a partition
// would have to know. Of a topic with thousands of partitions mostly one has.
func sameReplica(old, now *metadata.Topic, number int) bool {
	return old != nil && old.ConfigRevision == now.ConfigRevision && number < len(old.Partitions) &&
		old.Partitions[number].Revision == now.Partitions[number].Revision
}

// place sees to one partition of a topic that exists. It returns the handle of a
// replica that is new here.
func (s *Supervisor) place(c actor.Context, tp messages.TopicPartition, id messages.TopicID, p metadata.Partition, settings topicconfig.Settings) *Handle {
	old := s.children[tp]
	switch {
	case !slices.Contains(p.Replicas, s.shared.Self.ID):
		if old != nil {
			old.slot.moved.Store(true)
		}
		s.retire(c, old)
		return nil
	case old == nil:
		fresh := s.shared.newSlot(tp, id, p, settings)
		s.spawn(c, fresh)
		return fresh.handle
	case !old.slot.retired.Load() && old.slot.handle.topicID == id:
		old.slot.handle.mail.PostUserMessage(update{p, settings})
		return nil
	case old.next != nil && old.next.handle.topicID == id:
		old.next.assignment, old.next.settings = p, settings
		return nil
	default:
		s.retire(c, old)
		old.next = s.shared.newSlot(tp, id, p, settings)
		return old.next.handle
	}
}

// spawn starts a replica's actor. As long as the log of one before is not closed, which
// goes by the same names, it does not open its own.
func (s *Supervisor) spawn(c actor.Context, sl *slot) {
	sl.left = s.left[sl.handle.tp]
	delete(s.left, sl.handle.tp)
	props := actor.PropsFromProducer(func() actor.Actor { return &replicaActor{shared: s.shared, slot: sl} },
		actor.WithMailbox(func() actor.Mailbox { return sl.handle.mail }))
	props.Configure(s.shared.Stage.options(sl.handle.tp)...)
	pid, err := c.SpawnNamed(props, sl.handle.tp.String())
	if err != nil { // the name is taken: two children of one partition would be a bug
		panic(err)
	}
	ch := &child{slot: sl, pid: pid}
	s.children[sl.handle.tp], s.byPID[pid.Id] = ch, ch
}

func (s *Supervisor) retireTopic(c actor.Context, t *metadata.Topic) {
	for number := range t.Partitions {
		ch := s.children[messages.TopicPartition{Topic: t.Name, Partition: int32(number)}]
		if ch == nil {
			continue
		}
		if ch.next != nil && ch.next.handle.topicID == t.ID {
			s.drop(ch)
		}
		if ch.slot.handle.topicID == t.ID {
			s.retire(c, ch)
		}
	}
}

// retire lets a child end, and its log with it.
func (s *Supervisor) retire(c actor.Context, ch *child) {
	if ch == nil {
		return
	}
	s.drop(ch)
	if !ch.slot.retired.Swap(true) {
		s.shared.Registry.remove(ch.slot.handle)
		c.Stop(ch.pid)
	}
}

// drop forgets what was to come after a child.
func (s *Supervisor) drop(ch *child) {
	if ch.next == nil {
		return
	}
	s.shared.Registry.remove(ch.next.handle)
	gone := &replicaActor{shared: s.shared, slot: ch.next}
	ch.next.retired.Store(true)
	ch.next.handle.mail.Divert(gone.refuse)
	ch.next = nil
}

// ended starts what was to come after a child that has stopped.
func (s *Supervisor) ended(c actor.Context, pid *actor.PID) {
	ch := s.byPID[pid.Id]
	if ch == nil {
		return
	}
	delete(s.byPID, pid.Id)
	delete(s.children, ch.slot.handle.tp)
	s.shared.Registry.remove(ch.slot.handle)
	if left := ch.slot.left; left != nil && !left.isClosed() {
		s.left[ch.slot.handle.tp] = left
	}
	if ch.next != nil && !s.ending {
		s.spawn(c, ch.next)
	}
}
