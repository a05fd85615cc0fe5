package commands

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
)

func newTopicDelete(streams Streams) *cobra.Command {
	var (
		conn     clientFlags
		ifExists bool
	)
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete topics and all their records",
		Args:  args(1, -1, "topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			results, err := c.admin.DeleteTopics(cmd.Context(), args...)
			if err != nil {
				return c.explain(err)
			}
			var failed []error
			for _, name := range args {
				r, err := results.On(name, nil)
				if err == nil {
					err = r.Err
				}
				switch {
				case err == nil:
					fmt.Fprintf(streams.Out, "deleted %s\n", name)
				case ifExists && errors.Is(err, kerr.UnknownTopicOrPartition):
					streams.note("there is no topic %s", name)
				default:
					failed = append(failed, aboutTopic(name, err, r.ErrMessage))
				}
			}
			return errors.Join(failed...)
		},
	}
	conn.add(cmd)
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "a topic that is not there is no error")
	return cmd
}
