package group

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"understudy/actors/group/core"
	"understudy/messages"
)

// Coordinator is this broker's part in coordinating groups. It does nothing until
// an actor of its Props is spawned, and Run runs.
type Coordinator struct {
	o        Options
	settings atomic.Pointer[Settings]
	shards   atomic.Pointer[[]*shard] // by partition; nil where another broker leads
	news     news                     // shards have come, or begun to serve
	alarms   *alarms
	groups   atomic.Int64  // kept here
	bytes    atomic.Int64  // that these take, about
	reading  chan struct{} // has room for as many partitions as may be read at a time
	creating chan struct{} // has room for one who makes the topic
}

var _ Service = (*Coordinator)(nil)

// maxReading is how many partitions are read at a time.
const maxReading = 2

// New makes a coordinator.
func New(o Options) *Coordinator {
	if o.Now == nil {
		o.Now = systemTime
	}
	if o.Fresh == nil {
		o.Fresh = randomName
	}
	c := &Coordinator{
		o: o, news: news{ch: make(chan struct{})}, alarms: newAlarms(),
		reading: make(chan struct{}, maxReading), creating: make(chan struct{}, 1),
	}
	c.shards.Store(new([]*shard))
	c.configure()
	return c
}

// configure takes over the settings as they are now.
func (c *Coordinator) configure() {
	s := c.o.Settings(c.o.Cell.Image())
	c.settings.Store(&s)
}

// groupBytes is the memory of a group of which nothing is known, with its actor.
const groupBytes = 4 << 10

// room is how many bytes more groups may take; less than 0: they take too many.
func (c *Coordinator) room() int64 { return c.o.Memory - c.bytes.Load() }

// count counts groups that come, or go.
func (c *Coordinator) count(n int) {
	c.groups.Add(int64(n))
	c.bytes.Add(int64(n) * groupBytes)
}

// news wakes all who wait for it.
type news struct {
	mu sync.Mutex
	ch chan struct{} // closed, and replaced, with the next
}

func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ch
}

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.ch)
	n.ch = make(chan struct{})
}

// find finds the shard of a group.
func (c *Coordinator) find(op, group string) (*shard, error) {
	image := c.o.Cell.Image()
	t := image.Topic(topicName)
	if t == nil {
		return nil, messages.E(op, messages.CoordinatorNotAvailable, group, errors.New("there is no "+topicName))
	}
	n := PartitionOf(group, len(t.Partitions))
	if shards := *c.shards.Load(); n < len(shards) && shards[n] != nil {
		return shards[n], nil
	}
	switch t.Partitions[n].Leader {
	case c.o.Self:
		return nil, messages.E(op, messages.CoordinatorLoadInProgress, group, nil)
	case messages.NoBroker:
		return nil, messages.E(op, messages.CoordinatorNotAvailable, group, errors.New("its partition has no leader"))
	}
	return nil, messages.E(op, messages.NotCoordinator, group, nil)
}

// ask asks a group and waits for the answer.
func (c *Coordinator) ask(ctx context.Context, op, group string, question any) (any, error) {
	s, err := c.find(op, group)
	if err != nil {
		return nil, err
	}
	r := newRequest(op, group, question)
	s.mail.PostUserMessage(r)
	c.o.Stage.await(ctx, func() bool { return len(r.reply) > 0 })
	select {
	case a := <-r.reply:
		return a.value, a.err
	case <-ctx.Done():
		s.mail.PostUserMessage(withdrawn{r})
		return nil, messages.E(op, messages.RequestTimedOut, group, ctx.Err())
	}
}

// Join implements Service.
func (c *Coordinator) Join(ctx context.Context, j Join) Joined {
	const op = "join group"
	refused := func(err error) Joined { return Joined{Err: err, MemberID: j.MemberID, Generation: -1} }
	if err := core.CheckName(op, j.Group, false); err != nil {
		return refused(err)
	}
	j.Protocols = cloneProtocols(j.Protocols)
	v, err := c.ask(ctx, op, j.Group, j)
	if err != nil {
		return refused(err)
	}
	return v.(Joined)
}

// Sync implements Service.
func (c *Coordinator) Sync(ctx context.Context, s Sync) Synced {
	const op = "sync group"
	if err := core.CheckName(op, s.Group, false); err != nil {
		return Synced{Err: err}
	}
	s.Assignments = cloneAssignments(s.Assignments)
	v, err := c.ask(ctx, op, s.Group, s)
	if err != nil {
		return Synced{Err: err}
	}
	return v.(Synced)
}

// Heartbeat implements Service.
func (c *Coordinator) Heartbeat(ctx context.Context, m Member) error {
	const op = "heartbeat"
	if err := core.CheckName(op, m.Group, false); err != nil {
		return err
	}
	_, err := c.ask(ctx, op, m.Group, heartbeat{m})
	return err
}

// Leave implements Service.
func (c *Coordinator) Leave(ctx context.Context, group string, leaving []Leaving) ([]error, error) {
	const op = "leave group"
	if err := core.CheckName(op, group, false); err != nil {
		return nil, err
	}
	v, err := c.ask(ctx, op, group, leave{slices.Clone(leaving)})
	if err != nil {
		return nil, err
	}
	return v.([]error), nil
}

// Commit implements Service.
func (c *Coordinator) Commit(ctx context.Context, commit Commit) (map[messages.TopicPartition]error, error) {
	const op = "commit offsets"
	if err := core.CheckName(op, commit.Group, true); err != nil {
		return nil, err
	}
	commit.Offsets = maps.Clone(commit.Offsets)
	return c.askDone(ctx, op, commit.Group, commit)
}

// askDone asks a question that is answered with core.Done.
func (c *Coordinator) askDone(ctx context.Context, op, group string, question any) (map[messages.TopicPartition]error, error) {
	v, err := c.ask(ctx, op, group, question)
	if err != nil {
		return nil, err
	}
	d := v.(core.Done)
	return d.Each, d.Err
}

// Offsets implements Service.
func (c *Coordinator) Offsets(ctx context.Context, m Member, tps []messages.TopicPartition) (map[messages.TopicPartition]Committed, error) {
	const op = "fetch offsets"
	if err := core.CheckName(op, m.Group, true); err != nil {
		return nil, err
	}
	s, err := c.find(op, m.Group)
	if err == nil {
		err = s.confirm(ctx, op, m.Group)
	}
	if err != nil {
		return nil, err
	}
	v, err := c.ask(ctx, op, m.Group, fetchOffsets{slices.Clone(tps)})
	if err != nil {
		return nil, err
	}
	return v.(map[messages.TopicPartition]Committed), nil
}

// confirm makes sure that this broker coordinates a group: one that was frozen until
// another had taken its place would show offsets as they were before. Where that cannot
// be found out in time, either, the client is to ask the others who does.
func (s *shard) confirm(ctx context.Context, op, group string) error {
	h := s.c.o.Partitions.Lookup(s.tp)
	if h == nil {
		return messages.E(op, messages.NotCoordinator, group, nil)
	}
	if err := h.Confirm(ctx, s.epoch); err != nil {
		return messages.E(op, messages.NotCoordinator, group, err)
	}
	return nil
}

// DeleteOffsets implements Service.
func (c *Coordinator) DeleteOffsets(ctx context.Context, group string, tps []messages.TopicPartition) (map[messages.TopicPartition]error, error) {
	const op = "delete offsets"
	if err := core.CheckName(op, group, true); err != nil {
		return nil, err
	}
	return c.askDone(ctx, op, group, deleteOffsets{slices.Clone(tps)})
}

// Describe implements Service.
func (c *Coordinator) Describe(ctx context.Context, group string) (Description, error) {
	const op = "describe group"
	if err := core.CheckName(op, group, true); err != nil {
		return Description{}, err
	}
	v, err := c.ask(ctx, op, group, describe{})
	if err != nil {
		return Description{}, err
	}
	return v.(Description), nil
}

// Delete implements Service.
func (c *Coordinator) Delete(ctx context.Context, group string) error {
	const op = "delete group"
	if err := core.CheckName(op, group, true); err != nil {
		return err
	}
	_, err := c.askDone(ctx, op, group, deleteGroup{})
	return err
}

// List implements Service. While a partition is still being read the groups that
// are known come with CoordinatorLoadInProgress.
func (c *Coordinator) List(ctx context.Context) ([]Listing, error) {
	const op = "list groups"
	var asked []*request
	for _, s := range *c.shards.Load() {
		if s != nil {
			r := newRequest(op, "", listGroups{})
			s.mail.PostUserMessage(r)
			asked = append(asked, r)
		}
	}
	var all []Listing
	var failed error
	for _, r := range asked {
		c.o.Stage.await(ctx, func() bool { return len(r.reply) > 0 })
		select {
		case a := <-r.reply:
			if messages.KindOf(a.err) == messages.NotCoordinator {
				continue // they have just become another broker's, which lists them
			}
			if failed = errors.Join(failed, a.err); a.err == nil {
				all = append(all, a.value.([]Listing)...)
			}
		case <-ctx.Done():
			return all, messages.E(op, messages.RequestTimedOut, "", ctx.Err())
		}
	}
	return all, failed
}
