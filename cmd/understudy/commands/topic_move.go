package commands

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func newTopicMove(streams Streams) *cobra.Command {
	var (
		conn      clientFlags
		partition int32
		replicas  string
		cancel    bool
		wait      bool
	)
	cmd := &cobra.Command{
		Use:   "move NAME",
		Short: "Move a partition's replicas to other nodes",
		Long: "Move a partition's replicas to other nodes. New ones are filled first; when all of\n" +
			"them are in sync they take the place of the old ones, which go. The first is the\n" +
			"preferred leader. Another move of the partition replaces one that is under way.",
		Example: `  understudy topic move orders --partition 3 --replicas 4,2,3
  understudy topic move orders --partition 3 --cancel`,
		Args: args(1, 1, "topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := parseReplicas(cmd, replicas, cancel)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("partition") {
				return wrongUsage(cmd, "say which partition: --partition N")
			}
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.move(cmd.Context(), args[0], partition, target); err != nil {
				return err
			}
			name := args[0] + "-" + itoa(partition)
			switch {
			case cancel:
				_, err = fmt.Fprintf(streams.Out, "%s does not move any more\n", name)
			case wait:
				if err = c.awaitMoved(cmd.Context(), args[0], partition); err == nil {
					_, err = fmt.Fprintf(streams.Out, "%s has moved to %s\n", name, ids(target))
				}
			default:
				_, err = fmt.Fprintf(streams.Out, "%s moves to %s; see how far it has come with: understudy topic moves\n", name, ids(target))
			}
			return err
		},
	}
	conn.add(cmd)
	cmd.Flags().Int32Var(&partition, "partition", 0, "the partition's number")
	cmd.Flags().StringVar(&replicas, "replicas", "", "ids of the nodes that shall have a replica, ID,ID,...; the preferred leader first")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "go back to the replicas that there were")
	cmd.Flags().BoolVar(&wait, "wait", false, "return when the move is over")
	return cmd
}

// parseReplicas reads ids of nodes; none with cancel.
func parseReplicas(cmd *cobra.Command, text string, cancel bool) ([]int32, error) {
	if (text == "") != cancel {
		return nil, wrongUsage(cmd, "give either --replicas or --cancel")
	}
	var list []int32
	for word := range strings.SplitSeq(text, ",") {
		if cancel {
			break
		}
		id, err := strconv.ParseInt(strings.TrimSpace(word), 10, 32)
		if err != nil || id < 0 {
			return nil, wrongUsage(cmd, "--replicas %q: write it as ids of nodes, 1,2,3", text)
		}
		list = append(list, int32(id))
	}
	return list, nil
}

func (c *client) move(ctx context.Context, topic string, partition int32, target []int32) error {
	var req kadm.AlterPartitionAssignmentsReq
	if target == nil {
		req.CancelAssign(topic, partition)
	} else {
		req.Assign(topic, partition, target)
	}
	results, err := c.admin.AlterPartitionAssignments(ctx, req)
	if err != nil {
		return c.explain(err)
	}
	r := results[topic][partition]
	switch {
	case errors.Is(r.Err, kerr.NoReassignmentInProgress):
		return &worded{fmt.Sprintf("%s-%d is not being moved", topic, partition), r.Err}
	case errors.Is(r.Err, kerr.UnknownTopicOrPartition):
		return hint(&worded{fmt.Sprintf("there is no partition %s-%d", topic, partition), r.Err}, "see what there is with: understudy topic describe %s", topic)
	}
	return aboutTopic(topic, r.Err, r.ErrMessage)
}

// movePoll is how often it is looked at whether a move is over.
const movePoll = 200 * time.Millisecond

func (c *client) awaitMoved(ctx context.Context, topic string, partition int32) error {
	again := time.NewTicker(movePoll)
	defer again.Stop()
	for {
		moves, err := c.moves(ctx, topic)
		if err != nil {
			return err
		}
		moving := false
		for _, m := range moves {
			moving = moving || m.Partition == partition
		}
		if !moving {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
