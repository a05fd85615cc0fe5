//go:build cluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestRollingRestart stops every node in order and starts it again, one after the
// other, in any order: no record fails, and none is lost or doubled.
func TestRollingRestart(t *testing.T) {
	tr := startTrial(t, options{consuls: 1, brokers: 3})
	for i := range *repeats {
		for _, n := range tr.rand.Perm(len(tr.nodes)) {
			f := fault{name: "rolling-restart", victim: numbered(n), happen: terminate, heal: restart}
			if err := tr.round(t.Context(), f, i); err != nil {
				t.Fatalf("round %d, node %d: %v", i+1, n+1, err)
			}
		}
	}
	tr.judge(tr.loads, tr.checks)
}

// TestConsulAway stops Consul for a while: by kill -9, so that it refuses, and by
// SIGSTOP, so that it hangs. Nobody loses a leadership.
func TestConsulAway(t *testing.T) {
	for name, f := range map[string]fault{
		"killed": {
			happen: func(_ context.Context, r *round) error { r.consuls[0].kill(); return nil },
			heal: func(ctx context.Context, r *round) error {
				return errors.Join(r.consuls[0].start(), r.consuls[0].awaitReady(ctx))
			},
		},
		"frozen": {
			happen: func(_ context.Context, r *round) error { return r.consuls[0].freeze() },
			heal: func(ctx context.Context, r *round) error {
				return errors.Join(r.consuls[0].thaw(), r.consuls[0].awaitReady(ctx))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := startTrial(t, options{consuls: 1, brokers: 3})
			f.name, f.hold, f.check = fmt.Sprintf("consul-%s-%v", name, *away), *away, sameLeaders
			for i := range *repeats {
				if err := tr.round(t.Context(), f, i); err != nil {
					t.Fatalf("round %d: %v", i+1, err)
				}
			}
			tr.judge(tr.loads, tr.checks)
		})
	}
}

// TestAllReplicasDown has both nodes of a partition go, one after the other. The
// third says at once that nobody leads. The one that was in sync last brings it
// back, and nobody else does.
func TestAllReplicasDown(t *testing.T) {
	c := startCluster(t, options{consuls: 1, brokers: 3})
	for i := range *repeats {
		name := fmt.Sprint("pair-", i)
		c.createTopic(name, 3, 2, nil)
		must(t, c.awaitInSync(t.Context(), name))
		v, err := c.view(t.Context(), nil, name)
		must(t, err)
		at := slices.IndexFunc(v.partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return !slices.Contains(p.Replicas, v.controller) })
		if at < 0 {
			at = 0
		}
		replicas := v.partitions[at].Replicas
		first, last := c.nodes[replicas[0]-1], c.nodes[replicas[1]-1]
		rest := c.nodes[slices.IndexFunc(c.nodes, func(n *node) bool { return n != first && n != last })]
		offset, err := c.write(v.partitions[at].Leader, name, int32(at), "before")
		must(t, err)
		first.Kill()
		c.awaitPartition(rest, name, at, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader == last.id && len(p.ISR) == 1 })
		last.Kill()
		c.awaitPartition(rest, name, at, func(p kmsg.MetadataResponseTopicPartition) bool {
			return p.Leader == -1 && p.ErrorCode == kerr.LeaderNotAvailable.Code
		})
		c.wantRetriable(rest, name, int32(at))
		must(t, first.Restart(t.Context())) // it is not in sync: it must not lead
		c.awaitPartition(first, name, at, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader == -1 })
		must(t, last.Restart(t.Context()))
		c.awaitPartition(rest, name, at, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader == last.id })
		must(t, c.awaitInSync(t.Context(), name))
		again, err := c.write(last.id, name, int32(at), "after")
		if err != nil || again != offset+1 {
			t.Errorf("the next record is at offset %d, and the one before is at %d: %v", again, offset, err)
		}
	}
}

// TestTooFewInSync has two of three nodes die where two must be in sync.
func TestTooFewInSync(t *testing.T) {
	c := startCluster(t, options{consuls: 1, brokers: 3})
	const name = "strict"
	c.createTopic(name, 1, 3, map[string]string{"min.insync.replicas": "2"})
	must(t, c.awaitInSync(t.Context(), name))
	for range *repeats {
		v, err := c.view(t.Context(), nil, name)
		must(t, err)
		leader := c.nodes[v.partitions[0].Leader-1]
		_, err = c.write(leader.id, name, 0, "before")
		must(t, err)
		for _, n := range c.nodes {
			if n != leader {
				n.Kill()
			}
		}
		c.awaitPartition(leader, name, 0, func(p kmsg.MetadataResponseTopicPartition) bool { return len(p.ISR) == 1 })
		if _, err := c.write(leader.id, name, 0, "refused"); !errors.Is(err, kerr.NotEnoughReplicas) {
			t.Errorf("a record was answered with %v, want NOT_ENOUGH_REPLICAS", err)
		}
		if got, err := c.fetch(leader, name, 0); err != nil || got == 0 {
			t.Errorf("fetch gives %d bytes, %v", got, err)
		}
		must(t, every(c.nodes, func(n *node) error {
			if n == leader {
				return nil
			}
			return n.Restart(t.Context())
		}))
		must(t, c.awaitInSync(t.Context(), name))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// awaitPartition waits until a node says of a partition what it should.
func (c *cluster) awaitPartition(n *node, topic string, p int, wanted func(kmsg.MetadataResponseTopicPartition) bool) {
	c.t.Helper()
	must(c.t, await(c.t.Context(), "a partition's state", func(ctx context.Context) error {
		v, err := c.view(ctx, n, topic)
		if err == nil && !wanted(v.partitions[p]) {
			err = fmt.Errorf("node %d says %+v", n.id, v.partitions[p])
		}
		return err
	}))
}

// write sends one record to a node, on a connection of its own, until the answer
// is not that it does not lead, and returns its offset.
func (c *cluster) write(leader int32, topic string, p int32, key string) (int64, error) {
	at := &prober{topic: topic, nodes: c.seeds(), ctx: c.t.Context(), id: -1, epoch: -1}
	l := &lane{partition: p, sequence: -1, node: int(leader) - 1}
	defer l.hangUp()
	offset, err := int64(0), error(nil)
	waited := await(c.t.Context(), "an answer", func(context.Context) error {
		offset, err = at.attempt(l, at.encode(l, []queued{{record: record{p, []byte(key), []byte("value")}}}))
		if errors.Is(err, kerr.NotLeaderForPartition) || err != nil && !errors.As(err, new(*kerr.Error)) {
			return err
		}
		return nil
	})
	return offset, errors.Join(waited, err)
}

// wantRetriable checks that a node refuses a partition that nobody leads with an
// error after which clients try again, and does not keep them waiting.
func (c *cluster) wantRetriable(n *node, topic string, p int32) {
	c.t.Helper()
	at := &prober{topic: topic, nodes: c.seeds(), ctx: c.t.Context(), id: -1, epoch: -1}
	l := &lane{partition: p, sequence: -1, node: int(n.id) - 1}
	defer l.hangUp()
	began := time.Now()
	_, err := at.attempt(l, at.encode(l, []queued{{record: record{p, []byte("refused"), nil}}}))
	if known := (*kerr.Error)(nil); !errors.As(err, &known) || !known.Retriable {
		c.t.Errorf("a record for a partition without a leader is answered with %v", err)
	}
	if _, err := c.fetch(n, topic, p); !kerr.IsRetriable(err) {
		c.t.Errorf("a fetch of a partition without a leader is answered with %v", err)
	}
	noteFigure("a partition without a leader: produce and fetch refused in %v", time.Since(began).Round(time.Millisecond))
}

// fetch reads from the start of a partition at one node, and returns how many bytes came.
func (c *cluster) fetch(n *node, topic string, p int32) (int, error) {
	at := &prober{topic: topic, nodes: c.seeds(), ctx: c.t.Context()}
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.MinBytes = 12, 1<<20, 1
	t, part := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	t.Topic, part.Partition, part.PartitionMaxBytes = topic, p, 1<<20
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	resp, err := at.askOnce(int(n.id)-1, req)
	if err != nil {
		return 0, err
	}
	got := resp.(*kmsg.FetchResponse)
	if len(got.Topics) == 0 {
		return 0, kerr.ErrorForCode(got.ErrorCode)
	}
	return len(got.Topics[0].Partitions[0].RecordBatches), kerr.ErrorForCode(got.Topics[0].Partitions[0].ErrorCode)
}
