//go:build cluster

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/integration/checker"
)

// memberEnv, when set, makes this program a member of a group: it is then an order
// in JSON. Members are processes, so that they can be killed and frozen.
const memberEnv = "UNDERSTUDY_MEMBER"

// order is what a member is told.
type order struct {
	Client   string // franzGo or librdkafka
	Seeds    []string
	Group    string
	Topic    string
	Instance string // of a static member; empty: dynamic
	Log      string // what librdkafka's members log, as -client-log says; franz-go's log all then
}

// How soon a group notices that a member is silent, and members that others have
// come or gone.
const (
	memberSession   = 6 * time.Second // the least that brokers allow by default
	memberHeartbeat = 500 * time.Millisecond
)

// workFor is how long a member is at work with what one poll gave.
const workFor = 100 * time.Millisecond

// says prints an event, in one write, for whoever has started this process.
func says(kind checker.GroupEventKind, partition int32, from, to int64) {
	fmt.Fprintf(os.Stdout, "%d %d %d %d %d\n", clockNow(), kind, partition, from, to)
}

// clockNow is the time in ns on a clock that all processes of a machine share, and
// that is never set.
func clockNow() int64 {
	const monotonic = 1
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic(errno)
	}
	return ts.Nano()
}

// runMember is the whole life of a member: it leaves in order on SIGTERM.
func runMember(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	if o.Client == librdkafka {
		return o.runLibrdkafka(ctx)
	}
	return o.runFranz(ctx)
}

func (o order) runFranz(ctx context.Context) error {
	each := func(kind checker.GroupEventKind) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			for _, p := range partitions[o.Topic] {
				says(kind, p, 0, 0)
			}
		}
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(o.Seeds...), kgo.ConsumerGroup(o.Group), kgo.ConsumeTopics(o.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(memberSession), kgo.HeartbeatInterval(memberHeartbeat),
		kgo.OnPartitionsAssigned(each(checker.Assigned)), kgo.OnPartitionsRevoked(each(checker.Revoked)), kgo.OnPartitionsLost(each(checker.Lost)),
	}
	if o.Instance != "" {
		options = append(options, kgo.InstanceID(o.Instance))
	}
	if o.Log != "" {
		options = append(options, logAll())
	}
	cl, err := kgo.NewClient(append(options, quickly...)...)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if n := len(p.Records); n > 0 {
				says(checker.Processed, p.Partition, p.Records[0].Offset, p.Records[n-1].Offset+1)
			}
		})
		short, cancel := context.WithTimeout(ctx, memberSession/2)
		_ = cl.CommitUncommittedOffsets(short) // what is not committed will be processed again
		cancel()
		cl.AllowRebalance()
		sleep(ctx, workFor)
	}
	cl.CloseAllowingRebalance()
	return nil
}

// rdkafkaMember is a member by librdkafka.
type rdkafkaMember struct {
	topic    string
	consumer *kafka.Consumer
	done     map[int32]kafka.Offset // processed, and not committed
}

func (o order) runLibrdkafka(ctx context.Context) error {
	settings := kafka.ConfigMap{
		"bootstrap.servers": strings.Join(o.Seeds, ","), "group.id": o.Group, "enable.auto.commit": false, "auto.offset.reset": "earliest",
		"partition.assignment.strategy": "cooperative-sticky", "log_level": 2, "socket.connection.setup.timeout.ms": 2000,
		"session.timeout.ms": int(memberSession.Milliseconds()), "heartbeat.interval.ms": int(memberHeartbeat.Milliseconds()),
	}
	if o.Instance != "" {
		settings["group.instance.id"] = o.Instance
	}
	if o.Log != "" {
		settings["debug"], settings["log_level"] = o.Log, 7
	}
	consumer, err := kafka.NewConsumer(&settings)
	if err != nil {
		return err
	}
	m := &rdkafkaMember{o.Topic, consumer, map[int32]kafka.Offset{}}
	if err := consumer.Subscribe(o.Topic, m.rebalance); err != nil {
		return err
	}
	for ctx.Err() == nil {
		for enough := time.Now().Add(workFor); time.Now().Before(enough); {
			if err := m.take(consumer.Poll(int(workFor.Milliseconds()))); err != nil {
				return err
			}
		}
		m.commit()
	}
	return consumer.Close()
}

func (m *rdkafkaMember) take(event kafka.Event) error {
	switch e := event.(type) {
	case *kafka.Message:
		if e.TopicPartition.Error != nil {
			return nil // it is tried again
		}
		p, at := e.TopicPartition.Partition, e.TopicPartition.Offset
		says(checker.Processed, p, int64(at), int64(at)+1)
		m.done[p] = at + 1
	case kafka.Error:
		if e.IsFatal() {
			return e
		}
	}
	return nil
}

// commit commits what was processed. What is refused, as while the group changes,
// is committed the next time: there may be no later record to do it with.
func (m *rdkafkaMember) commit() {
	var list []kafka.TopicPartition
	for p, at := range m.done {
		list = append(list, kafka.TopicPartition{Topic: &m.topic, Partition: p, Offset: at})
	}
	if len(list) == 0 {
		return
	}
	committed, err := m.consumer.CommitOffsets(list)
	if err != nil {
		return
	}
	for _, c := range committed {
		if c.Error == nil {
			delete(m.done, c.Partition)
		}
	}
}

// rebalance is called in a Poll.
func (m *rdkafkaMember) rebalance(consumer *kafka.Consumer, event kafka.Event) error {
	switch e := event.(type) {
	case kafka.AssignedPartitions:
		for _, p := range e.Partitions {
			says(checker.Assigned, p.Partition, 0, 0)
		}
		return consumer.IncrementalAssign(e.Partitions)
	case kafka.RevokedPartitions:
		kind := checker.Revoked
		if consumer.AssignmentLost() {
			kind = checker.Lost
		} else {
			m.commit()
		}
		for _, p := range e.Partitions {
			delete(m.done, p.Partition) // whoever gets it processes again what is not committed
			says(kind, p.Partition, 0, 0)
		}
		return consumer.IncrementalUnassign(e.Partitions)
	}
	return nil
}
