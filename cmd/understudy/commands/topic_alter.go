package commands

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newTopicAlter(streams Streams) *cobra.Command {
	var (
		conn       clientFlags
		partitions int
		settings   []string
		unset      []string
	)
	cmd := &cobra.Command{
		Use:   "alter NAME",
		Short: "Add partitions to a topic and change its settings, live",
		Example: `  understudy topic alter orders --partitions 12
  understudy topic alter orders --config retention.ms=86400000 --unset segment.bytes`,
		Args: args(1, 1, "topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pairs, err := parsePairs(cmd, "config", settings)
			if err != nil {
				return err
			}
			var changes []kadm.AlterConfig
			for _, p := range pairs {
				changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: p.key, Value: &p.value})
			}
			for _, name := range unset {
				changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
			}
			if len(changes) == 0 && !cmd.Flags().Changed("partitions") {
				return wrongUsage(cmd, "nothing to change: give --partitions, --config or --unset")
			}
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.alterSettings(cmd.Context(), args[0], changes); err != nil {
				return err
			}
			if cmd.Flags().Changed("partitions") {
				if err := c.addPartitions(cmd.Context(), args[0], partitions); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(streams.Out, "altered %s\n", args[0])
			return err
		},
	}
	conn.add(cmd)
	cmd.Flags().IntVar(&partitions, "partitions", 0, "number of partitions that the topic shall have; there cannot be fewer than before")
	cmd.Flags().StringArrayVar(&settings, "config", nil, "set a setting, NAME=VALUE; may be repeated")
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "put a setting back to its default; may be repeated")
	return cmd
}

func (c *client) alterSettings(ctx context.Context, topic string, changes []kadm.AlterConfig) error {
	if len(changes) == 0 {
		return nil
	}
	results, err := c.admin.AlterTopicConfigs(ctx, changes, topic)
	if err != nil {
		return c.explain(err)
	}
	r, err := results.On(topic, nil)
	if err == nil {
		err = r.Err
	}
	return aboutTopic(topic, err, r.ErrMessage)
}

func (c *client) addPartitions(ctx context.Context, topic string, count int) error {
	results, err := c.admin.UpdatePartitions(ctx, count, topic)
	if err != nil {
		return c.explain(err)
	}
	r, err := results.On(topic, nil)
	if err == nil {
		err = r.Err
	}
	return aboutTopic(topic, err, r.ErrMessage)
}
