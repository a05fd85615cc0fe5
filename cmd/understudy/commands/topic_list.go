package commands

import (
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
	var (
		conn     clientFlags
		out      outputFlag
		internal bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the topics",
		Args:  args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.json(cmd)
			if err != nil {
				return err
			}
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			found, err := c.knownTopics(cmd.Context())
			if err != nil {
				return err
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
			if asJSON {
				return writeJSON(streams.Out, topics)
			}
			return writeTopicList(streams, topics)
		},
	}
	conn.add(cmd)
	out.add(cmd)
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
