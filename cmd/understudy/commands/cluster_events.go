package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// eventsWait is how long one request waits for the next event.
const eventsWait = 30 * time.Second

// eventsAnswer is the answer to GET /events.
type eventsAnswer struct {
	Next   int64
	Events []json.RawMessage
}

func newClusterEvents(streams Streams) *cobra.Command {
	var (
		admin  adminFlags
		out    outputFlag
		follow bool
	)
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what was decided, and what happened, and why",
		Long: `Show what was decided, and what happened, and why: elections, in-sync sets, moves,
nodes that went and came. Decisions are the controller's and known to every node;
what happened to its connections only the node itself tells. With -o json each
event is one line.`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.json(cmd)
			if err != nil {
				return err
			}
			return showEvents(cmd.Context(), streams, admin, follow, asJSON)
		},
	}
	admin.add(cmd)
	out.add(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with events as they come, until interrupted")
	return cmd
}

func showEvents(ctx context.Context, streams Streams, admin adminFlags, follow, asJSON bool) error {
	since := int64(0)
	for first := true; first || follow; first = false {
		query := url.Values{"since": {itoa(since)}}
		if !first {
			query.Set("wait", eventsWait.String())
		}
		var answer eventsAnswer
		err := admin.await(ctx, query, &answer)
		if follow && ctx.Err() != nil {
			return nil // being interrupted is how following ends
		}
		if err != nil {
			return err
		}
		for _, e := range answer.Events {
			if err := writeEvent(streams, e, asJSON); err != nil {
				return err
			}
		}
		since = answer.Next
	}
	return nil
}

func (f *adminFlags) await(ctx context.Context, query url.Values, answer *eventsAnswer) error {
	ctx, cancel := context.WithTimeout(ctx, eventsWait+adminTimeout)
	defer cancel()
	return f.ask(ctx, http.MethodGet, "/events", query, answer)
}

func writeEvent(streams Streams, raw json.RawMessage, asJSON bool) error {
	if asJSON {
		_, err := fmt.Fprintf(streams.Out, "%s\n", raw)
		return err
	}
	var e struct {
		Time time.Time
		Node int32
		Text string
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("an event that cannot be read: %w", err)
	}
	_, err := fmt.Fprintf(streams.Out, "%s  node %d  %s\n", e.Time.Local().Format("15:04:05.000"), e.Node, e.Text)
	return err
}
