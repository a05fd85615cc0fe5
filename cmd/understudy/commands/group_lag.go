package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newGroupLag(streams Streams) *cobra.Command {
	var (
		conn  clientFlags
		out   outputFlag
		watch bool
		every time.Duration
	)
	cmd := &cobra.Command{
		Use:   "lag NAME",
		Short: "Show how far a group is behind, once or again and again",
		Example: `  understudy group lag billing
  understudy group lag billing --watch --every 5s`,
		Args: args(1, 1, "group"),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.json(cmd)
			if err != nil {
				return err
			}
			if every <= 0 {
				return wrongUsage(cmd, "--every %s: it is a time between two looks", every)
			}
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			if !watch {
				return c.showLag(cmd.Context(), args[0], asJSON)
			}
			err = c.watchLag(cmd.Context(), args[0], asJSON, every)
			if errors.Is(err, context.Canceled) {
				return nil // watching ends by interruption
			}
			return err
		},
	}
	conn.add(cmd)
	out.add(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again and again, until interrupted")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "time between two looks")
	return cmd
}

func (c *client) showLag(ctx context.Context, name string, asJSON bool) error {
	groups, err := c.describeGroups(ctx, []string{name})
	if err != nil {
		return err
	}
	g, streams := groups[0], c.watch.streams
	if asJSON {
		return writeJSON(streams.Out, g)
	}
	if err := g.writeLag(streams); err != nil {
		return err
	}
	_, err = fmt.Fprintf(streams.Out, "%s: %s, %s, lag %d\n", g.Name, g.State, plural(len(g.Members), "member"), g.Lag)
	return err
}

// clearScreen has a terminal begin again at its upper left corner.
const clearScreen = "\x1b[H\x1b[2J"

func (c *client) watchLag(ctx context.Context, name string, asJSON bool, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if isTerminal(c.watch.streams.Out) {
			fmt.Fprint(c.watch.streams.Out, clearScreen)
		}
		if err := c.showLag(ctx, name, asJSON); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
