package commands

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	sdk "understudy/client"
)

func newDeadLetters(streams Streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "dead-letters",
		Short: "Send records back that could not be processed",
	}, newDeadLettersReplay(streams))
}

func newDeadLettersReplay(streams Streams) *cobra.Command {
	var (
		conn clientFlags
		of   string
		back string
	)
	cmd := &cobra.Command{
		Use:   "replay TOPIC",
		Short: "Send the records of a topic of dead letters back to where they came from",
		Long: "Send the records of a topic of dead letters, such as orders.dead, back to the topics that\n" +
			"they came from, without what was noted about their deaths.\n\n" +
			"What has gone back is remembered, so that the next call begins after it. Letters\n" +
			"that are without what was too large, as their header dead-letter.cut says, do not go\n" +
			"back; the others say where the records are.",
		Args: args(1, 1, "topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.knownTopics(cmd.Context(), args[0]); err != nil {
				return err
			}
			o := sdk.ReplayOptions{Brokers: conn.seeds(), Topic: args[0], Group: back}
			if of != "" {
				o.Only = func(letter *kgo.Record) bool { return header(letter, sdk.HeaderGroup) == of }
			}
			sent, err := sdk.Replay(cmd.Context(), o)
			if err != nil {
				if sent > 0 {
					streams.note("%s sent back before that", plural(sent, "record"))
				}
				return c.explain(err)
			}
			_, err = fmt.Fprintf(streams.Out, "sent back %s\n", plural(sent, "record"))
			return err
		},
	}
	conn.add(cmd)
	cmd.Flags().StringVar(&of, "of-group", "", "only those that this group could not process; the others are passed over, and count as sent")
	cmd.Flags().StringVar(&back, "group", "", "the group that remembers what has gone back; by default replay- and the topic")
	return cmd
}

// header is the value of a record's header, or "".
func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}
