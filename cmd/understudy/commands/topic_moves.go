package commands

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// moveDescription is one partition whose replicas are being moved.
type moveDescription struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Replicas  []int32 `json:"replicas"` // those that there were, and those that are being added
	Adding    []int32 `json:"adding"`
	Removing  []int32 `json:"removing"`
	Remaining *int64  `json:"remaining_bytes,omitempty"` // still to be copied; nil: not known at the moment
}

func newTopicMoves(streams Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "moves [NAME...]",
		Short: "Show which replicas are being moved, and how far they have come",
	}
	shows(cmd, streams, writeMoves, func(ctx context.Context, c *client, topics []string) ([]moveDescription, error) {
		moves, err := c.moves(ctx, topics...)
		if err == nil {
			c.measure(ctx, moves)
		}
		return moves, err
	})
	return cmd
}

// moves lists the moves that are under way, of the named topics or of all.
func (c *client) moves(ctx context.Context, topics ...string) ([]moveDescription, error) {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	if len(topics) > 0 {
		known, err := c.knownTopics(ctx, topics...)
		if err != nil {
			return nil, err
		}
		for _, t := range known {
			asked := kmsg.NewListPartitionReassignmentsRequestTopic()
			asked.Topic, asked.Partitions = t.Topic, t.Partitions.Numbers()
			req.Topics = append(req.Topics, asked)
		}
	}
	resp, err := req.RequestWith(ctx, c.Client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, c.explain(err)
	}
	moves := []moveDescription{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			moves = append(moves, moveDescription{
				Topic: t.Topic, Partition: p.Partition, Replicas: p.Replicas,
				Adding: append([]int32{}, p.AddingReplicas...), Removing: append([]int32{}, p.RemovingReplicas...),
			})
		}
	}
	return moves, nil
}

// measure finds out what is still to be copied: what the leader has, and those
// that are being added do not have. Nodes that do not answer leave it open.
func (c *client) measure(ctx context.Context, moves []moveDescription) {
	if len(moves) == 0 {
		return
	}
	var set kadm.TopicsSet
	for _, m := range moves {
		set.Add(m.Topic, m.Partition)
	}
	sizes, err := c.admin.DescribeAllLogDirs(ctx, set)
	details, listErr := c.admin.ListTopics(ctx, set.Topics()...)
	if err != nil && len(sizes) == 0 || listErr != nil {
		return
	}
	size := func(node int32, m *moveDescription) (int64, bool) {
		for _, dir := range sizes[node] {
			if p, ok := dir.Topics.Lookup(m.Topic, m.Partition); ok {
				return p.Size, true
			}
		}
		return 0, false
	}
	for i := range moves {
		m := &moves[i]
		all, known := size(details[m.Topic].Partitions[m.Partition].Leader, m)
		remaining := int64(0)
		for _, node := range m.Adding {
			has, ok := size(node, m)
			known = known && ok
			remaining += max(all-has, 0)
		}
		if known {
			m.Remaining = &remaining
		}
	}
}

func writeMoves(streams Streams, moves []moveDescription) error {
	if len(moves) == 0 {
		_, err := fmt.Fprintln(streams.Out, "no replicas are being moved")
		return err
	}
	rows := make([][]any, len(moves))
	for i, m := range moves {
		remaining := "not known"
		if m.Remaining != nil {
			remaining = bytesText(float64(*m.Remaining))
		}
		rows[i] = []any{m.Topic, m.Partition, ids(m.Replicas), ids(m.Adding), ids(m.Removing), remaining}
	}
	return writeTable(streams.Out, []column{
		{name: "topic"}, {"partition", true}, {name: "replicas"}, {name: "adding"}, {name: "removing"}, {"to be copied", true},
	}, rows)
}
