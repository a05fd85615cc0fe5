package group

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"understudy/actors/controller"
	"understudy/actors/partition"
	"understudy/actors/supervision"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/messages"
	"understudy/persistence/flush"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// patience is how long a test waits for what should come at once.
const patience = time.Minute

// broker is a broker's partitions and groups, with nothing around them but
// metadata that the test edits.
type broker struct {
	t        testing.TB
	disk     vfs.FS
	settings Settings
	fresh    func() string // nil: as usual
	memory   int64         // for groups; 0: a lot

	mu       sync.Mutex // of edits
	cell     *metadata.Cell
	created  []controller.NewTopic
	groups   *Coordinator
	failures chan supervision.Failure
	stops    []func()
}

// solitude is the cluster of a broker that hears of no other, and is given the
// epochs that it asks for.
type solitude struct {
	partition.Cluster
	b *broker
}

func (solitude) Send(messages.BrokerID, messages.TopicID, messages.TopicPartition, *replica.Message, partition.Payload) error {
	return nil
}
func (solitude) Crowded(messages.BrokerID) bool                       { return false }
func (solitude) ChangeISR(messages.TopicPartition, replica.ISRChange) {}
func (solitude) Event(messages.TopicPartition, replica.Event)         {}
func (s solitude) Resign(tp messages.TopicPartition, r replica.Resignation) {
	go s.b.elect(tp, r.Epoch)
}

func newBroker(t testing.TB) *broker {
	b := &broker{t: t, disk: vfs.NewMem(vfs.MemOptions{PowerCuts: true}), settings: DefaultSettings(), cell: metadata.NewCell(), failures: make(chan supervision.Failure, 64)}
	b.settings.InitialDelay, b.settings.MinSession = 10, 1
	b.settings.Partitions = 4
	return b
}

func (b *broker) start() *broker {
	b.t.Helper()
	checkpoints, _, err := partition.LoadCheckpoints(b.disk, 1)
	if err != nil {
		b.t.Fatal(err)
	}
	restarts := &supervision.Backoff{Initial: time.Millisecond, Max: 10 * time.Millisecond, Healthy: time.Minute,
		OnFailure: func(f supervision.Failure) {
			if os.Getenv("UNDERSTUDY_TEST_LOG") != "" {
				fmt.Fprintln(os.Stderr, f)
			}
			select {
			case b.failures <- f:
			default:
			}
		}}
	root, err := supervision.NewRoot(restarts)
	if err != nil {
		b.t.Fatal(err)
	}
	flusher := flush.New(flush.Options{})
	registry := partition.NewRegistry()
	log := zerolog.Nop()
	if os.Getenv("UNDERSTUDY_TEST_LOG") != "" {
		log = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: "05.000"}).With().Timestamp().Logger()
	}
	shared := &partition.Shared{
		Self: replica.Member{ID: 1, Epoch: 1}, FS: b.disk, Flush: flusher, Files: segment.NewFiles(100),
		Checkpoints: checkpoints, Registry: registry, Log: log, Opening: make(chan struct{}, 2),
		Defaults: func(*metadata.Image) topicconfig.Defaults { return topicconfig.Defaults{} },
		Cluster:  solitude{b: b},
	}
	partitions, err := root.Spawn("partitions", partition.Props(shared, b.cell, restarts))
	if err != nil {
		b.t.Fatal(err)
	}
	if b.memory == 0 {
		b.memory = 1 << 40
	}
	b.groups = New(Options{
		Self: 1, Cell: b.cell, Partitions: registry, Topics: b, Restarts: restarts, Log: log,
		Settings:     func(*metadata.Image) Settings { return b.settings },
		ScanInterval: time.Hour, Memory: b.memory, Fresh: b.fresh,
	})
	groups, err := root.Spawn("groups", b.groups.Props())
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		b.groups.Run(ctx)
	}()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			<-ran
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := root.Stop(ctx, groups); err != nil {
				b.t.Error(err)
			}
			if err := root.Stop(ctx, partitions); err != nil {
				b.t.Error(err)
			}
			root.Shutdown()
			flusher.Close()
		})
	}
	b.stops = append(b.stops, stop)
	b.t.Cleanup(stop)
	return b
}

// stop stops the broker in order.
func (b *broker) stop() { b.stops[len(b.stops)-1]() }

// powerCut takes the power away and starts the broker again.
func (b *broker) powerCut(coins *rand.Rand) {
	disk := b.disk.(*vfs.Mem)
	disk.Stop()
	b.stop()
	b.disk = disk.Cut(vfs.LoseMixed, coins)
	b.lead(1)
	b.start()
}

// edit changes the metadata.
func (b *broker) edit(how func(*metadata.Edit)) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	e := metadata.NewEdit(b.cell.Image())
	how(e)
	_, change, err := e.Seal(b.cell.Image().Revision + 1)
	if err != nil {
		b.t.Fatal(err)
	}
	b.cell.Publish(change)
}

// CreateTopics makes topics with partitions that this broker leads.
func (b *broker) CreateTopics(_ context.Context, topics []controller.NewTopic, _ bool) []controller.TopicResult {
	results := make([]controller.TopicResult, len(topics))
	for i, wanted := range topics {
		if results[i].Name = wanted.Name; wanted.ReplicationFactor > 1 {
			results[i].Err = messages.E("create topic", messages.InvalidReplicationFactor, wanted.Name, nil)
			continue
		}
		b.created = append(b.created, wanted)
		b.edit(func(e *metadata.Edit) {
			t := &metadata.Topic{Name: wanted.Name, ID: messages.TopicID{byte(len(b.created))}, Internal: true}
			for range wanted.Partitions {
				t.Partitions = append(t.Partitions, metadata.Partition{
					Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}, Leader: 1, UncleanEpoch: messages.NoEpoch})
			}
			e.CreateTopic(t)
		})
	}
	return results
}

func (b *broker) createTopic(name string) {
	b.t.Helper()
	if r := b.CreateTopics(b.t.Context(), []controller.NewTopic{{Name: name, Partitions: 1, ReplicationFactor: 1}}, false); r[0].Err != nil {
		b.t.Fatal(r[0].Err)
	}
}

// lead has a broker lead all partitions of the offsets topic, in the next epoch.
func (b *broker) lead(id messages.BrokerID) {
	b.t.Helper()
	b.edit(func(e *metadata.Edit) {
		for n, p := range b.cell.Image().Topic(topicName).Partitions {
			p.Replicas, p.ISR = []messages.BrokerID{1}, []messages.BrokerID{id}
			if id != 1 {
				p.Replicas = []messages.BrokerID{1, id}
			}
			p.Leader, p.LeaderEpoch = id, p.LeaderEpoch+1
			e.SetPartition(messages.TopicPartition{Topic: topicName, Partition: int32(n)}, p)
		}
	})
}

// elect has this broker lead a partition in the epoch after another.
func (b *broker) elect(tp messages.TopicPartition, after messages.LeaderEpoch) {
	b.edit(func(e *metadata.Edit) {
		if p := b.cell.Image().Partition(tp); p != nil && p.Leader == 1 && p.LeaderEpoch == after {
			next := *p
			next.LeaderEpoch++
			e.SetPartition(tp, next)
		}
	})
}

// find makes sure that a group can be asked.
func (b *broker) find(group string) {
	b.t.Helper()
	if id, err := b.groups.Coordinator(b.t.Context(), group); err != nil || id != 1 {
		b.t.Fatalf("coordinator of %q: %d, %v", group, id, err)
	}
	for deadline, began := time.Now().Add(patience), time.Now(); ; began = time.Now() {
		b.groups.AwaitServing(b.t.Context(), []string{group})
		switch {
		case !b.groups.opening(group):
			return
		case time.Since(began) < servingPatience: // else it has waited for as long as it does
			b.t.Fatalf("%q cannot be asked yet, and was not waited for", group)
		case time.Now().After(deadline):
			b.t.Fatalf("%q can never be asked", group)
		}
	}
}

// retry asks until the answer is not that the coordinator is elsewhere for now.
func retry[A any](b *broker, ask func() (A, error)) (A, error) {
	for deadline := time.Now().Add(patience); ; {
		a, err := ask()
		switch messages.KindOf(err) {
		case messages.NotCoordinator, messages.CoordinatorLoadInProgress, messages.CoordinatorNotAvailable:
			if time.Now().Before(deadline) {
				continue
			}
		}
		return a, err
	}
}

var orders = []messages.TopicPartition{{Topic: "orders", Partition: 0}, {Topic: "orders", Partition: 1}}

// commit commits an offset for orders-0 without being a member.
func (b *broker) commit(group string, offset int64) error {
	each, err := retry(b, func() (map[messages.TopicPartition]error, error) {
		return b.groups.Commit(b.t.Context(), Commit{
			Member:  Member{Group: group, Generation: -1},
			Offsets: map[messages.TopicPartition]Committed{orders[0]: {Offset: offset, LeaderEpoch: -1}},
		})
	})
	if err == nil {
		err = each[orders[0]]
	}
	return err
}

func (b *broker) committed(group string) int64 {
	b.t.Helper()
	found, err := retry(b, func() (map[messages.TopicPartition]Committed, error) {
		return b.groups.Offsets(b.t.Context(), Member{Group: group, Generation: -1}, orders)
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if o, ok := found[orders[0]]; ok {
		return o.Offset
	}
	return -1
}

// await waits until a group is as wanted.
func (b *broker) await(group string, wanted func(Description) bool) Description {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		d, err := retry(b, func() (Description, error) { return b.groups.Describe(b.t.Context(), group) })
		if err != nil {
			b.t.Fatal(err)
		}
		if wanted(d) {
			return d
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("group %q is still %+v", group, d)
		}
	}
}

// consumer is a member that does what clients do.
type consumer struct {
	b *broker
	Member
	session    int64
	assignment string
}

func (b *broker) consumer(group string) *consumer {
	return &consumer{b: b, Member: Member{Group: group, Generation: -1}, session: 60_000}
}

// join joins and asks for the assignment; a leader gives each member one partition.
func (c *consumer) join() error {
	for deadline := time.Now().Add(patience); ; {
		err := c.tryToJoin()
		switch messages.KindOf(err) {
		case messages.MemberIDRequired, messages.RebalanceInProgress, messages.IllegalGeneration,
			messages.NotCoordinator, messages.CoordinatorLoadInProgress, messages.CoordinatorNotAvailable:
		case messages.UnknownMemberID:
			c.MemberID = ""
		default:
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("still not a member: %w", err)
		}
	}
}

func (c *consumer) tryToJoin() error {
	ctx := c.b.t.Context()
	j := c.b.groups.Join(ctx, Join{
		Group: c.Group, MemberID: c.MemberID, InstanceID: c.InstanceID, Client: Client{ID: "test", Host: "/127.0.0.1"},
		SessionTimeout: c.session, RebalanceTimeout: 60_000, ProtocolType: "consumer", RequireMemberID: true,
		Protocols: []Protocol{{Name: "range", Metadata: []byte("\x00\x00\x00\x00\x00\x01\x00\x06orders\xff\xff\xff\xff")}},
	})
	if j.MemberID != "" {
		c.MemberID = j.MemberID
	}
	if j.Err != nil {
		return j.Err
	}
	c.Generation = j.Generation
	sync := Sync{Member: c.Member, Assignments: map[string][]byte{}}
	for i, m := range j.Members {
		sync.Assignments[m.MemberID] = []byte{'0' + byte(i)}
	}
	s := c.b.groups.Sync(ctx, sync)
	c.assignment = string(s.Assignment)
	return s.Err
}

func (c *consumer) leave() error {
	errs, err := retry(c.b, func() ([]error, error) {
		return c.b.groups.Leave(c.b.t.Context(), c.Group, []Leaving{{MemberID: c.MemberID}})
	})
	c.MemberID = ""
	return errors.Join(append(errs, err)...)
}

func (c *consumer) heartbeat() error {
	_, err := retry(c.b, func() (struct{}, error) { return struct{}{}, c.b.groups.Heartbeat(c.b.t.Context(), c.Member) })
	return err
}

func (c *consumer) commit(offset int64) error {
	_, err := retry(c.b, func() (map[messages.TopicPartition]error, error) {
		return c.b.groups.Commit(c.b.t.Context(), Commit{Member: c.Member, Offsets: map[messages.TopicPartition]Committed{orders[0]: {Offset: offset}}})
	})
	return err
}

// samePartition gives names of groups that are kept in one partition.
func samePartition(n, partitions int) []string {
	var names []string
	for i := 0; len(names) < n; i++ {
		if name := fmt.Sprint("group-", i); PartitionOf(name, partitions) == 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
