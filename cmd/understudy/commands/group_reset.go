package commands

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"understudy/config"
)

// targetHelp documents --to.
const targetHelp = positionHelp + ", shift:±N (from what is committed), duration:D (as D-ago)"

// target is where `group reset-offsets` puts a group.
type target struct {
	position
	shift   int64
	shifted bool // by shift from what is committed; position does not count
}

func parseTarget(s string, now time.Time) (target, error) {
	if by, ok := strings.CutPrefix(s, "shift:"); ok {
		n, err := strconv.ParseInt(by, 10, 64)
		if err != nil {
			return target{}, fmt.Errorf("%q is not a number of records", by)
		}
		return target{shift: n, shifted: true}, nil
	}
	if ago, ok := strings.CutPrefix(s, "duration:"); ok {
		d, err := config.ParseDuration(ago)
		if err != nil || d < 0 {
			return target{}, fmt.Errorf("%q is not a duration; write 90m, 12h or 7d", ago)
		}
		return target{position: position{kind: atTime, time: now.Add(-d)}}, nil
	}
	at, err := parsePosition(s, now)
	if err != nil {
		return target{}, fmt.Errorf("%q is no place; write %s", s, targetHelp)
	}
	return target{position: at}, nil
}

// reset is a change of one committed offset.
type reset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Before    int64  `json:"before"` // -1: nothing
	After     int64  `json:"after"`
	Lag       int64  `json:"lag"` // afterwards
}

type resetFlags struct {
	conn   clientFlags
	out    outputFlag
	topics []string
	to     string
	dryRun bool
}

func newGroupResetOffsets(streams Streams) *cobra.Command {
	var f resetFlags
	cmd := &cobra.Command{
		Use:   "reset-offsets NAME --topic T[:P,...] --to WHERE",
		Short: "Move a group that has no members to other offsets",
		Long: `Move a group that has no members to other offsets.

WHERE is ` + targetHelp + `.
What lies outside a partition is moved to its start or end.`,
		Example: `  understudy group reset-offsets billing --topic orders --to start --dry-run
  understudy group reset-offsets billing --topic orders:0,3 --to shift:-100
  understudy group reset-offsets billing --topic orders --to duration:12h`,
		Args: args(1, 1, "group"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, streams, args[0]) },
	}
	f.conn.add(cmd)
	f.out.add(cmd)
	cmd.Flags().StringArrayVar(&f.topics, "topic", nil, "a topic, or some of its partitions: NAME:PARTITION,... or NAME:FIRST-LAST; may be repeated")
	cmd.Flags().StringVar(&f.to, "to", "", "where to: "+targetHelp)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only show what would be changed")
	return cmd
}

func (f *resetFlags) run(cmd *cobra.Command, streams Streams, name string) error {
	asJSON, err := f.out.json(cmd)
	if err != nil {
		return err
	}
	wanted, err := parseTopicPartitions(cmd, f.topics)
	if err != nil {
		return err
	}
	to, err := parseTarget(f.to, time.Now())
	if err != nil {
		return wrongUsage(cmd, "--to: %v", err)
	}
	ctx := cmd.Context()
	c, err := f.conn.connect(ctx, streams)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.idleGroup(ctx, name); err != nil {
		return err
	}
	resets, err := c.planResets(ctx, name, wanted, to)
	if err != nil {
		return err
	}
	if f.dryRun {
		streams.note("nothing was changed: this is a dry run")
	} else if err := c.commitResets(ctx, name, resets); err != nil {
		return err
	}
	if asJSON {
		return writeJSON(streams.Out, resets)
	}
	rows := make([][]any, len(resets))
	for i, r := range resets {
		rows[i] = []any{r.Topic, r.Partition, orNone(r.Before), r.After, r.Lag}
	}
	return writeTable(streams.Out, []column{{name: "topic"}, {"partition", true}, {"before", true}, {"after", true}, {"lag", true}}, rows)
}

// planResets finds the new offset of every partition that is wanted.
func (c *client) planResets(ctx context.Context, name string, wanted []topicPartitions, to target) ([]reset, error) {
	committed, err := c.committed(ctx, name)
	if err != nil {
		return nil, err
	}
	resets := []reset{}
	for _, w := range wanted {
		spans, err := c.resolve(ctx, w.topic, to.position)
		if err != nil {
			return nil, err
		}
		for _, p := range w.partitions {
			if _, ok := spans[p]; !ok {
				return nil, hint(fmt.Errorf("topic %s has no partition %d", w.topic, p), "it has 0 to %d", len(spans)-1)
			}
		}
		for _, p := range slices.Sorted(maps.Keys(spans)) {
			if !w.has(p) {
				continue
			}
			r, span := reset{Topic: w.topic, Partition: p, Before: -1, After: spans[p].from}, spans[p]
			if o, ok := committed.Lookup(w.topic, p); ok && o.Err == nil {
				r.Before = o.At
			}
			if to.shifted {
				if r.Before < 0 {
					return nil, hint(fmt.Errorf("group %s has committed nothing in %s:%d that could be shifted", name, w.topic, p), "name the partitions to shift with --topic %s:P,... or choose another --to", w.topic)
				}
				r.After = span.shifted(r.Before, to.shift)
			}
			r.Lag = span.end - r.After
			resets = append(resets, r)
		}
	}
	return resets, nil
}

// shifted is an offset so many further on, or back, moved into the span.
func (s span) shifted(from, by int64) int64 {
	by = min(by, math.MaxInt64-from) // no offset is further on
	return min(max(from+by, s.start), s.end)
}

func (c *client) commitResets(ctx context.Context, name string, resets []reset) error {
	offsets := kadm.Offsets{}
	for _, r := range resets {
		offsets.Add(kadm.Offset{Topic: r.Topic, Partition: r.Partition, At: r.After, LeaderEpoch: -1})
	}
	return c.explainGroup(name, c.admin.CommitAllOffsets(ctx, name, offsets))
}
