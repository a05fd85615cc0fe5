//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// after is how long is looked for gaps after a node has been lost: Kafka takes 12 s.
const after = 20 * time.Second

// loseNode sends a signal to a node while records are sent at a steady rate to every
// partition, and tells the longest time in which a partition, whoever led it, had
// nothing acknowledged.
func loseNode(signal syscall.Signal, controller bool) func(context.Context, *trial) (figures, error) {
	return func(ctx context.Context, t *trial) (figures, error) {
		topic, remove, _, err := t.ledTopic(ctx)
		if err != nil {
			return nil, err
		}
		defer remove()
		cl, err := t.connect(ctx, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			return nil, err
		}
		defer cl.Close()
		pid, err := t.victim(ctx, cl, controller)
		if err != nil {
			return nil, err
		}
		w := &watched{began: time.Now(), last: make([]atomic.Int64, t.partitions()), worst: make([]atomic.Int64, t.partitions())}
		if err := w.send(ctx, t, cl, t.duration); err != nil {
			return nil, err
		}
		for i := range w.worst {
			w.worst[i].Store(0) // what came before is not this loss's
		}
		if err := syscall.Kill(pid, signal); err != nil {
			return nil, err
		}
		if err := w.send(ctx, t, cl, after); err != nil {
			return nil, err
		}
		return figures{gapSeconds: w.longest().Seconds()}, nil
	}
}

// victim is the process of the node that is the controller, or of the first other one.
func (t *trial) victim(ctx context.Context, cl *kgo.Client, controller bool) (pid int, err error) {
	id, err := controllerOf(ctx, cl)
	if err != nil {
		return 0, err
	}
	m, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl)
	if err != nil {
		return 0, err
	}
	for _, b := range m.Brokers {
		addr := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		if i := slices.Index(t.system.Addrs(), addr); i >= 0 && (b.NodeID == id) == controller {
			return t.system.PIDs()[i], nil
		}
	}
	return 0, fmt.Errorf("the controller is node %d, whose process is not known", id)
}

// controllerOf asks who the controller is: the leader of Kafka's metadata, which it
// does not tell by a Metadata request, or else whom the metadata names.
func controllerOf(ctx context.Context, cl *kgo.Client) (int32, error) {
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	quorum.Topics = append(quorum.Topics, topic)
	if q, err := quorum.RequestWith(ctx, cl); err == nil && q.ErrorCode == 0 && len(q.Topics) == 1 && len(q.Topics[0].Partitions) == 1 {
		return q.Topics[0].Partitions[0].LeaderID, nil
	}
	m, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl)
	if err != nil {
		return 0, err
	}
	return m.ControllerID, nil
}

// watched are the partitions of a topic that is written to: when each last had something
// acknowledged, and the longest time that it had not; in ns since it began.
type watched struct {
	began       time.Time
	last, worst []atomic.Int64
	sent        int
}

// send writes to one partition after the other, for a while.
func (w *watched) send(ctx context.Context, t *trial, cl *kgo.Client, d time.Duration) error {
	value := randomBytes(t.load.size)
	tick := time.NewTicker(time.Duration(float64(time.Second) / t.load.rate))
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); w.sent++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		cl.Produce(ctx, &kgo.Record{Value: value, Partition: int32(w.sent % len(w.last))}, w.acked)
	}
	return nil
}

func (w *watched) acked(r *kgo.Record, err error) {
	if err != nil {
		return
	}
	now := int64(time.Since(w.began))
	if before := w.last[r.Partition].Swap(now); before > 0 {
		worst := &w.worst[r.Partition]
		worst.Store(max(worst.Load(), now-before))
	}
}

// longest is the longest gap, one that has not ended included.
func (w *watched) longest() time.Duration {
	longest := int64(0)
	for i := range w.worst {
		longest = max(longest, w.worst[i].Load(), int64(time.Since(w.began))-w.last[i].Load())
	}
	return time.Duration(longest)
}
