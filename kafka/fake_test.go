package kafka

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"understudy/actors/controller"
	"understudy/actors/partition"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/producer"
)

// fakeCluster stands for all that is below package kafka: metadata, the
// controller, and partitions whose logs are slices of batches.
type fakeCluster struct {
	t      testing.TB
	onDisk string // directory of the partitions' files; "" keeps records in memory
	image  atomic.Pointer[metadata.Image]
	clock  atomic.Int64
	groups *fakeGroups

	mu     sync.Mutex
	static map[string]string
	parts  map[messages.TopicPartition]*fakePartition
	nextID byte
	pids   int64
}

const (
	self      = 1
	startTime = 1_700_000_000_000 // ms
)

func newFakeCluster(t testing.TB) *fakeCluster {
	f := &fakeCluster{t: t, parts: make(map[messages.TopicPartition]*fakePartition), static: map[string]string{}, groups: newFakeGroups()}
	f.clock.Store(startTime)
	f.image.Store(metadata.Empty())
	f.edit(func(e *metadata.Edit) {
		e.SetClusterID("testcluster")
		e.SetController(self)
		e.SetBroker(metadata.Broker{ID: self, Epoch: 1, Host: "127.0.0.1", Port: 9092, Rack: "here"})
	})
	return f
}

func (f *fakeCluster) edit(change func(*metadata.Edit)) {
	old := f.image.Load()
	e := metadata.NewEdit(old)
	change(e)
	next, _, err := e.Seal(old.Revision + 1)
	if err != nil {
		f.t.Error(err)
		return
	}
	f.image.Store(next)
}

// create makes a topic whose partitions are all led by this broker.
func (f *fakeCluster) create(name string, partitions int, config map[string]string) *metadata.Topic {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nextID++
	t := &metadata.Topic{Name: name, ID: messages.TopicID{15: f.nextID}, Config: config, Internal: messages.InternalTopic(name)}
	for i := range partitions {
		t.Partitions = append(t.Partitions, metadata.Partition{Replicas: []int32{self}, ISR: []int32{self}, Leader: self, LeaderEpoch: 3})
		f.addPartition(t, i)
	}
	f.edit(func(e *metadata.Edit) { e.CreateTopic(t) })
	return t
}

func (f *fakeCluster) addPartition(t *metadata.Topic, n int) {
	tp := messages.TopicPartition{Topic: t.Name, Partition: int32(n)}
	p := &fakePartition{topicID: t.ID, epoch: 3, leader: self}
	if f.onDisk != "" {
		file, err := os.Create(filepath.Join(f.onDisk, tp.String()))
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { file.Close() })
		p.file = file
	}
	f.parts[tp] = p
}

func (f *fakeCluster) at(topic string, n int32) *fakePartition {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.parts[messages.TopicPartition{Topic: topic, Partition: n}]
}

func (f *fakeCluster) defaults(image *metadata.Image) topicconfig.Defaults {
	return topicconfig.Defaults{Broker: image.BrokerConfigs[self], Cluster: image.ClusterConfig, Static: f.static}
}

// Lookup implements Partitions.
func (f *fakeCluster) Lookup(tp messages.TopicPartition) Partition {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.parts[tp]; p != nil {
		return p
	}
	return nil
}

// AwaitServing implements Admin.
func (f *fakeCluster) AwaitServing(context.Context, []string) {}

// Reassign implements Admin: a move to where the replica is succeeds.
func (f *fakeCluster) Reassign(_ context.Context, moves []controller.Reassignment, fixedFactor bool) []controller.ReassignmentResult {
	results := make([]controller.ReassignmentResult, len(moves))
	for i, m := range moves {
		results[i] = controller.ReassignmentResult{Topic: m.Topic, Partition: m.Partition}
		switch {
		case f.image.Load().Partition(messages.TopicPartition{Topic: m.Topic, Partition: m.Partition}) == nil:
			results[i].Err = errNoTopic
		case m.Target == nil:
			results[i].Err = messages.E("fake", messages.NoReassignment, m.Topic, nil)
		case fixedFactor && len(m.Target) != 1:
			results[i].Err = messages.E("fake", messages.InvalidReplicationFactor, m.Topic, nil)
		}
	}
	return results
}

// ElectLeaders implements Admin: all lead already.
func (f *fakeCluster) ElectLeaders(_ context.Context, kind controller.ElectionKind, partitions []messages.TopicPartition) ([]controller.ElectionResult, error) {
	if kind > controller.UncleanElection {
		return nil, messages.E("fake", messages.InvalidRequest, "", nil)
	}
	var results []controller.ElectionResult
	for _, tp := range partitions {
		r := controller.ElectionResult{Topic: tp.Topic, Partition: tp.Partition, Losses: "everything"}
		if kind == controller.PreferredElection {
			r.Losses, r.Err = "", messages.E("fake", messages.ElectionNotNeeded, tp.String(), nil)
		}
		results = append(results, r)
	}
	return results, nil
}

// CreateTopics implements Admin.
func (f *fakeCluster) CreateTopics(_ context.Context, topics []controller.NewTopic, validateOnly bool) []controller.TopicResult {
	results := make([]controller.TopicResult, len(topics))
	for i, n := range topics {
		r := &results[i]
		r.Name = n.Name
		if r.Err = messages.CheckTopicName(n.Name); r.Err != nil {
			continue
		}
		if f.image.Load().Topic(n.Name) != nil {
			r.Err = messages.E("create topic", messages.TopicExists, n.Name, nil)
			continue
		}
		if r.Err = topicconfig.Check(n.Config, f.defaults(f.image.Load())); r.Err != nil {
			continue
		}
		r.Partitions, r.ReplicationFactor = max(n.Partitions, 1), 1
		if n.Assignments != nil {
			r.Partitions = int32(len(n.Assignments))
		}
		r.Config = topicconfig.DescribeTopic(n.Config, f.defaults(f.image.Load()))
		if !validateOnly {
			r.ID = f.create(n.Name, int(r.Partitions), n.Config).ID
		}
	}
	return results
}

// DeleteTopics implements Admin.
func (f *fakeCluster) DeleteTopics(_ context.Context, refs []controller.TopicRef) []controller.DeleteResult {
	results := make([]controller.DeleteResult, len(refs))
	for i, ref := range refs {
		image := f.image.Load()
		t := image.Topic(ref.Name)
		if ref.Name == "" {
			t = image.TopicByID(ref.ID)
		}
		if t == nil {
			results[i] = controller.DeleteResult{Name: ref.Name, ID: ref.ID, Err: errNoTopic}
			continue
		}
		results[i] = controller.DeleteResult{Name: t.Name, ID: t.ID}
		f.edit(func(e *metadata.Edit) { e.DeleteTopic(t.Name) })
	}
	return results
}

// CreatePartitions implements Admin.
func (f *fakeCluster) CreatePartitions(_ context.Context, topics []controller.NewPartitions, validateOnly bool) []controller.PartitionsResult {
	results := make([]controller.PartitionsResult, len(topics))
	for i, n := range topics {
		results[i].Topic = n.Topic
		t := f.image.Load().Topic(n.Topic)
		if t == nil {
			results[i].Err = errNoTopic
			continue
		}
		if validateOnly {
			continue
		}
		var more []metadata.Partition
		f.mu.Lock()
		for k := len(t.Partitions); k < int(n.Count); k++ {
			more = append(more, metadata.Partition{Replicas: []int32{self}, ISR: []int32{self}, Leader: self, LeaderEpoch: 3})
			f.addPartition(t, k)
		}
		f.mu.Unlock()
		f.edit(func(e *metadata.Edit) { e.AddPartitions(n.Topic, more) })
	}
	return results
}

// AlterConfigs implements Admin.
func (f *fakeCluster) AlterConfigs(_ context.Context, changes []controller.ConfigChange, validateOnly bool) []controller.ConfigResult {
	results := make([]controller.ConfigResult, len(changes))
	for i, ch := range changes {
		image := f.image.Load()
		t := image.Topic(ch.Resource.Name)
		if ch.Resource.Type != controller.TopicResource || t == nil {
			results[i].Err = errNoTopic
			continue
		}
		ops := ch.Ops
		if ch.Replace {
			wanted := map[string]string{}
			for _, op := range ops {
				wanted[op.Name] = op.Value
			}
			ops = topicconfig.Replace(t.Config, wanted)
		}
		next, err := topicconfig.Topic.Alter(t.Config, ops, f.defaults(image))
		if results[i].Err = err; err == nil && !validateOnly {
			f.edit(func(e *metadata.Edit) { e.SetTopicConfig(t.Name, next) })
		}
	}
	return results
}

// AllocateProducerIDs implements Admin.
func (f *fakeCluster) AllocateProducerIDs(_ context.Context, n int64) (messages.ProducerID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := f.pids
	f.pids += n
	return first, nil
}

// fakePartition is a partition whose log is a slice of batches.
type fakePartition struct {
	file *os.File

	mu      sync.Mutex
	topicID messages.TopicID
	leader  messages.BrokerID
	epoch   messages.LeaderEpoch
	err     error
	led     messages.LeaderEpoch
	alone   bool // View.Isolated
	batches []batch.Batch
	at      []int64 // where in file
	size    int64
	start   messages.Offset
	end     messages.Offset
	waiters []*Waiter
	hold    bool                // appends are kept until release
	held    []*partition.Append // in order of arrival
	appends int
}

// Append implements Partition.
func (p *fakePartition) Append(a *partition.Append) {
	p.mu.Lock()
	p.appends++
	if p.hold {
		p.held = append(p.held, a)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.perform(a)
}

// release performs what was held, or answers it with an error.
func (p *fakePartition) release(err error) {
	p.mu.Lock()
	held := p.held
	p.held, p.hold = nil, false
	p.mu.Unlock()
	for _, a := range held {
		if err != nil {
			a.Reply.Appended(a.Slot, partition.Result{Base: -1, LogAppendTime: -1, LogStart: -1, Err: err})
			continue
		}
		p.perform(a)
	}
}

func (p *fakePartition) perform(a *partition.Append) {
	p.mu.Lock()
	if p.err != nil {
		err := p.err
		p.mu.Unlock()
		a.Reply.Appended(a.Slot, partition.Result{Base: -1, LogAppendTime: -1, LogStart: -1, Err: err})
		return
	}
	r := partition.Result{Base: p.end, LogAppendTime: -1, LogStart: p.start}
	for _, b := range a.Batches {
		b.Stamp(p.end, p.epoch)
		p.add(append(batch.Batch{}, b...))
	}
	woken := p.waiters
	p.waiters = nil
	p.mu.Unlock()
	a.Reply.Appended(a.Slot, r)
	for _, w := range woken {
		w.Wake()
	}
}

func (p *fakePartition) add(b batch.Batch) {
	p.batches = append(p.batches, b)
	p.at = append(p.at, p.size)
	if p.file != nil {
		_, _ = p.file.WriteAt(b, p.size)
	}
	p.size += int64(len(b))
	p.end = b.NextOffset()
}

// change changes the partition and publishes that.
func (p *fakePartition) change(f func(*fakePartition)) {
	p.mu.Lock()
	f(p)
	woken := p.waiters
	p.waiters = nil
	p.mu.Unlock()
	for _, w := range woken {
		w.Wake()
	}
}

// View implements Partition.
func (p *fakePartition) View() View {
	p.mu.Lock()
	defer p.mu.Unlock()
	return View{
		TopicID: p.topicID, Leader: p.leader, Epoch: p.epoch, Led: p.led, Err: p.err, Isolated: p.alone,
		LogStart: p.start, HighWatermark: p.end, End: p.end,
		Log:    fakeLog{p},
		Epochs: []replica.EpochStart{{Epoch: 1, Start: 0}, {Epoch: 3, Start: 10}},
	}
}

// Wait implements Partition.
func (p *fakePartition) Wait(w *Waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiters = append(p.waiters, w)
}

// Cancel implements Partition.
func (p *fakePartition) Cancel(w *Waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.waiters {
		if other == w {
			p.waiters = append(p.waiters[:i:i], p.waiters[i+1:]...)
			return
		}
	}
}

func (p *fakePartition) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiters)
}

// DeleteRecords implements Partition.
func (p *fakePartition) DeleteRecords(_ context.Context, before messages.Offset) (messages.Offset, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before == -1 {
		before = p.end
	}
	if before > p.end {
		return -1, errOutOfRange
	}
	p.start = max(p.start, before)
	return p.start, nil
}

// Producers implements Partition.
func (p *fakePartition) Producers(context.Context) ([]producer.Info, error) {
	return []producer.Info{{ID: 7, Epoch: 1, LastSequence: 41, LastTimestamp: startTime, CoordinatorEpoch: -1, TxnStart: -1}}, nil
}

// Size implements Partition.
func (p *fakePartition) ReadFailed(error) {}

func (p *fakePartition) Size() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size
}

// fakeLog implements Reader.
type fakeLog struct{ p *fakePartition }

func (l fakeLog) Read(from messages.Offset, maxBytes int, wholeFirst bool) (Slice, error) {
	p := l.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, b := range p.batches {
		if b.LastOffset() < from {
			continue
		}
		s := &fakeSlice{file: p.file, pos: p.at[i], whole: true}
		for _, next := range p.batches[i:] {
			if n := len(s.bytes) + len(next); n > maxBytes && (len(s.bytes) > 0 || !wholeFirst) {
				s.whole, s.more = len(s.bytes) > 0, true
				break
			}
			s.bytes = append(s.bytes, next...)
		}
		if !s.whole {
			s.bytes = append(s.bytes, b[:maxBytes]...)
		}
		liveSlices.Add(1)
		return s, nil
	}
	return nil, nil
}

func (l fakeLog) OffsetForTime(ts int64) (messages.Offset, int64, messages.LeaderEpoch, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	for _, b := range l.p.batches {
		if b.MaxTimestamp() >= ts {
			return b.BaseOffset(), b.MaxTimestamp(), b.LeaderEpoch(), nil
		}
	}
	return -1, -1, -1, nil
}

func (l fakeLog) MaxTimestamp() (messages.Offset, int64, messages.LeaderEpoch, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	best := -1
	for i, b := range l.p.batches {
		if best < 0 || b.MaxTimestamp() > l.p.batches[best].MaxTimestamp() {
			best = i
		}
	}
	if best < 0 {
		return -1, -1, -1, nil
	}
	b := l.p.batches[best]
	return b.LastOffset(), b.MaxTimestamp(), b.LeaderEpoch(), nil
}

// liveSlices counts the slices that were given out and not released.
var liveSlices atomic.Int64

type fakeSlice struct {
	file  *os.File
	pos   int64
	bytes []byte
	whole bool
	more  bool
}

func (s *fakeSlice) Len() int { return len(s.bytes) }

func (s *fakeSlice) AppendTo(dst []byte) ([]byte, error) { return append(dst, s.bytes...), nil }

func (s *fakeSlice) File() (uintptr, int64, bool) {
	if s.file == nil {
		return 0, 0, false
	}
	return s.file.Fd(), s.pos, true
}

func (s *fakeSlice) FirstWhole() bool { return s.whole }

func (s *fakeSlice) More() bool { return s.more }

func (s *fakeSlice) Release() {
	if s.bytes == nil {
		panic("a slice was released twice")
	}
	s.bytes = nil
	liveSlices.Add(-1)
}
