package commands

import (
	"context"

	"github.com/spf13/cobra"
)

// listedTopic is a line of `topic list`.
type listedTopic struct {
	Name       string `json:"name"`
	ID         string `json:"id,omitempty"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Internal   bool   `json:"internal,omitempty"`
	Error      string `json:"error,omitempty"`
}

func newTopicList(streams Streams) *cobra.Command {
	var internal bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the topics",
		Args:  args(0, 0, ""),
	}
	shows(cmd, streams, writeTopicList, func(ctx context.Context, c *client, _ []string) ([]listedTopic, error) {
		found, err := c.knownTopics(ctx)
		if err != nil {
			return nil, err
		}
		topics := []listedTopic{}
		for _, t := range found {
			if t.IsInternal && !internal {
				continue
			}
			l := listedTopic{Name: t.Topic, ID: topicID(t.ID), Partitions: len(t.Partitions), Replicas: t.Partitions.NumReplicas(), Internal: t.IsInternal}
			if t.Err != nil {
				l.Error = t.Err.Error()
			}
			topics = append(topics, l)
		}
		return topics, nil
	})
	cmd.Flags().BoolVar(&internal, "internal", false, "list those that the cluster keeps for itself, too")
	return cmd
}

func writeTopicList(streams Streams, topics []listedTopic) error {
	if len(topics) == 0 {
		streams.note("there are no topics yet; make one with: understudy topic create NAME")
		return nil
	}
	rows := make([][]any, len(topics))
	for i, t := range topics {
		rows[i] = []any{t.Name, t.Partitions, t.Replicas, t.Error}
	}
	return writeTable(streams.Out, []column{{name: "topic"}, {"partitions", true}, {"replicas", true}, {name: ""}}, rows)
}
