package commands

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newGroupDelete(streams Streams) *cobra.Command {
	var conn clientFlags
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete groups that have no members, with their offsets",
		Args:  args(1, -1, "group"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			deleted, err := c.admin.DeleteGroups(cmd.Context(), args...)
			if err != nil {
				return c.explainGroup(args[0], err)
			}
			var failed []error
			for _, name := range args {
				r, err := deleted.On(name, nil)
				if err == nil {
					err = r.Err
				}
				if err != nil {
					failed = append(failed, aboutGroup(name, err))
					continue
				}
				if _, err := fmt.Fprintf(streams.Out, "deleted %s\n", name); err != nil {
					return err
				}
			}
			return errors.Join(failed...)
		},
	}
	conn.add(cmd)
	return cmd
}

func newGroupDeleteOffsets(streams Streams) *cobra.Command {
	var (
		conn   clientFlags
		topics []string
	)
	cmd := &cobra.Command{
		Use:   "delete-offsets NAME --topic T[:P,...]",
		Short: "Have a group forget its offsets of topics that it does not consume any more",
		Args:  args(1, 1, "group"),
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted, err := parseTopicPartitions(cmd, topics)
			if err != nil {
				return err
			}
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			committed, err := c.committed(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			set := kadm.TopicsSet{}
			for _, w := range wanted {
				for partition := range committed[w.topic] {
					if w.has(partition) {
						set.Add(w.topic, partition)
					}
				}
			}
			if len(set) == 0 {
				return hint(fmt.Errorf("group %s has no such offsets", args[0]), "see what it has with: understudy group describe %s", args[0])
			}
			deleted, err := c.admin.DeleteOffsets(cmd.Context(), args[0], set)
			if err == nil {
				err = deleted.Error()
			}
			if err != nil {
				return c.explainGroup(args[0], err)
			}
			for _, tp := range set.Sorted() {
				fmt.Fprintf(streams.Out, "deleted %s:%s\n", tp.Topic, ranges(tp.Partitions))
			}
			return nil
		},
	}
	conn.add(cmd)
	cmd.Flags().StringArrayVar(&topics, "topic", nil, "a topic, or some of its partitions: NAME:PARTITION,... or NAME:FIRST-LAST; may be repeated")
	return cmd
}
