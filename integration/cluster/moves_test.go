//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestMoves has an operator change what is where while clients are at work: no
// record fails, and none is lost or doubled.
func TestMoves(t *testing.T) {
	for _, f := range []fault{
		{name: "reassign", happen: reassignAll},
		{name: "drain", victim: leading, happen: drain, heal: undrain},
		{name: "drain-controller", victim: leadAndRun, happen: drain, heal: undrain},
		{name: "add-node", happen: addNode},
		{name: "replace-node", victim: leading, happen: replaceNode},
	} {
		t.Run(f.name, func(t *testing.T) {
			tr := startTrial(t, options{consuls: 1, brokers: 4})
			for i := range *repeats {
				if err := tr.round(t.Context(), f, i); err != nil {
					t.Errorf("round %d: %v", i+1, err)
					break
				}
			}
			tr.judge(tr.loads, tr.checks)
		})
	}
}

// move begins to give partitions other replicas, and waits until they have moved.
func (c *cluster) move(ctx context.Context, topic string, targets map[int32][]int32) error {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.TimeoutMillis = int32(patience.Milliseconds())
	t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	t.Topic = topic
	for number, replicas := range targets {
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition, p.Replicas = number, replicas
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, c.admin)
	if err != nil {
		return err
	}
	for _, p := range append([]kmsg.AlterPartitionAssignmentsResponseTopicPartition{{ErrorCode: resp.ErrorCode}}, resp.Topics[0].Partitions...) {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return fmt.Errorf("move %s-%d: %w", topic, p.Partition, err)
		}
	}
	return c.awaitReplicas(ctx, topic, func(p kmsg.MetadataResponseTopicPartition) bool {
		target, moves := targets[p.Partition]
		return !moves || slices.Equal(p.Replicas, target)
	})
}

// awaitReplicas waits until all partitions are as wanted, as any node says.
func (c *cluster) awaitReplicas(ctx context.Context, topic string, wanted func(kmsg.MetadataResponseTopicPartition) bool) error {
	return await(ctx, "replicas to be where they should", func(ctx context.Context) error {
		v, err := c.view(ctx, nil, topic)
		if err != nil {
			return err
		}
		for _, p := range v.partitions {
			if !wanted(p) {
				return fmt.Errorf("partition %d has the replicas %v", p.Partition, p.Replicas)
			}
		}
		return nil
	})
}

// reassignAll gives every partition three nodes that are drawn by lot.
func reassignAll(ctx context.Context, r *round) error {
	targets := map[int32][]int32{}
	for p := range int32(partitions) {
		for _, i := range r.rand.Perm(len(r.nodes))[:3] {
			targets[p] = append(targets[p], r.nodes[i].id)
		}
	}
	return r.move(ctx, r.loads.topic, targets)
}

// operate runs a command of the binary that an operator would use on the victim.
func (r *round) operate(verb string) error {
	out, err := exec.Command(r.victim.Binary(), "cluster", verb, strconv.Itoa(int(r.victim.id)), "--admin", r.victim.place.at(adminPort)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cluster %s: %w: %s", verb, err, out)
	}
	return nil
}

// drain moves everything off the victim.
func drain(ctx context.Context, r *round) error {
	if err := r.operate("drain"); err != nil {
		return err
	}
	return r.awaitReplicas(ctx, r.loads.topic, func(p kmsg.MetadataResponseTopicPartition) bool {
		return !slices.Contains(p.Replicas, r.victim.id) && len(p.Replicas) == 3
	})
}

func undrain(_ context.Context, r *round) error { return r.operate("undrain") }

// addNode starts another node and gives it the leadership of two partitions.
func addNode(ctx context.Context, r *round) error {
	n := r.addNode()
	targets := map[int32][]int32{}
	for _, p := range r.before.partitions[:2] {
		targets[p.Partition] = append([]int32{n.id}, p.Replicas[:2]...)
	}
	return r.move(ctx, r.loads.topic, targets)
}

// replaceNode stops the victim in order and starts it again with an empty disk.
func replaceNode(ctx context.Context, r *round) error {
	if err := r.victim.end(); err != nil {
		return err
	}
	list, err := filepath.Glob(filepath.Join(r.victim.DataDir(), "*"))
	if err == nil {
		err = every(list, os.RemoveAll)
	}
	if err != nil {
		return err
	}
	return r.victim.Restart(ctx)
}
