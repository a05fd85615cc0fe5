package commands

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicDescription is all that `topic describe` shows of one topic.
type topicDescription struct {
	Name       string                 `json:"name"`
	ID         string                 `json:"id,omitempty"`
	Internal   bool                   `json:"internal,omitempty"`
	Partitions []partitionDescription `json:"partitions"`
	Settings   []settingDescription   `json:"settings"`
}

type partitionDescription struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"` // -1: none
	Epoch     int32   `json:"leader_epoch"`
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Offline   []int32 `json:"offline,omitempty"`
	BackWith  []int32 `json:"back_with,omitempty"` // there is no leader: any of these nodes brings it back
	Adding    []int32 `json:"adding,omitempty"`    // replicas that are being filled
	Removing  []int32 `json:"removing,omitempty"`  // and those that go then
	Start     int64   `json:"start_offset"`
	End       int64   `json:"end_offset"`
	Error     string  `json:"error,omitempty"`
}

type settingDescription struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
	chosen bool   // set for this topic and not inherited
}

func newTopicDescribe(streams Streams) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "describe [NAME...]",
		Short: "Show partitions, leaders, replicas, offsets and settings of topics",
	}
	write := func(streams Streams, topics []topicDescription) error {
		return writeEach(streams, topics, func(t topicDescription) error { return t.write(streams, all) })
	}
	shows(cmd, streams, write, func(ctx context.Context, c *client, names []string) ([]topicDescription, error) {
		return c.describe(ctx, names)
	})
	cmd.Flags().BoolVar(&all, "all-settings", false, "show the settings that stand at their defaults, too")
	return cmd
}

func (c *client) describe(ctx context.Context, names []string) ([]topicDescription, error) {
	found, err := c.knownTopics(ctx, names...)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		found = slices.DeleteFunc(found, func(t kadm.TopicDetail) bool { return t.IsInternal })
	}
	topics := make([]topicDescription, 0, len(found))
	if len(found) == 0 {
		return topics, nil
	}
	all := make([]string, len(found))
	for i, t := range found {
		all[i] = t.Topic
	}
	// A partition without a leader has no offsets to tell: what can be had is shown.
	starts, startErr := c.admin.ListStartOffsets(ctx, all...)
	ends, endErr := c.admin.ListEndOffsets(ctx, all...)
	configs, err := c.admin.DescribeTopicConfigs(ctx, all...)
	if err != nil {
		return nil, c.explain(err)
	}
	moves := c.movesOf(ctx, all)
	for _, t := range found {
		d := topicDescription{Name: t.Topic, ID: topicID(t.ID), Internal: t.IsInternal, Partitions: []partitionDescription{}, Settings: []settingDescription{}}
		for _, p := range t.Partitions.Sorted() {
			pd := partitionDescription{
				Partition: p.Partition, Leader: p.Leader, Epoch: p.LeaderEpoch, Start: -1, End: -1,
				Replicas: slices.Clip(p.Replicas), ISR: slices.Clip(p.ISR), Offline: p.OfflineReplicas,
			}
			pd.Start = offsetOf(starts, t.Topic, p.Partition, startErr, &pd.Error)
			pd.End = offsetOf(ends, t.Topic, p.Partition, endErr, &pd.Error)
			if p.Err != nil {
				pd.Error = p.Err.Error()
			}
			if p.Leader < 0 {
				pd.BackWith = p.ISR
			}
			if m, ok := moves[t.Topic][p.Partition]; ok {
				pd.Adding, pd.Removing = m.Adding, m.Removing
			}
			d.Partitions = append(d.Partitions, pd)
		}
		if r, err := configs.On(t.Topic, nil); err == nil && r.Err == nil {
			d.Settings = settingsOf(r)
		}
		topics = append(topics, d)
	}
	return topics, nil
}

// movesOf are the moves of topics by partition; none where that cannot be asked.
func (c *client) movesOf(ctx context.Context, topics []string) map[string]map[int32]moveDescription {
	moves, err := c.moves(ctx, topics...)
	if err != nil {
		return nil
	}
	by := map[string]map[int32]moveDescription{}
	for _, m := range moves {
		if by[m.Topic] == nil {
			by[m.Topic] = map[int32]moveDescription{}
		}
		by[m.Topic][m.Partition] = m
	}
	return by
}

// state is what is out of the ordinary about a partition, in words.
func (p partitionDescription) state() string {
	var words []string
	switch {
	case len(p.BackWith) == 1:
		words = append(words, fmt.Sprintf("offline: comes back with node %s", ids(p.BackWith)))
	case len(p.BackWith) > 1:
		words = append(words, fmt.Sprintf("offline: comes back with any of nodes %s", ids(p.BackWith)))
	case p.Error != "":
		words = append(words, p.Error)
	}
	if len(p.BackWith) == 0 && len(p.Offline) > 0 {
		words = append(words, "down: "+ids(p.Offline))
	}
	if len(p.Adding) > 0 {
		words = append(words, "adding "+ids(p.Adding))
	}
	if len(p.Removing) > 0 {
		words = append(words, "removing "+ids(p.Removing))
	}
	return strings.Join(words, "; ")
}

// offsetOf looks an offset up; -1 and a reason when it is not known.
func offsetOf(listed kadm.ListedOffsets, topic string, partition int32, listErr error, reason *string) int64 {
	o, ok := listed.Lookup(topic, partition)
	switch {
	case ok && o.Err == nil:
		return o.Offset
	case ok && errors.Is(o.Err, kerr.OffsetNotAvailable):
		*reason = "the end is not known yet"
	case ok:
		*reason = o.Err.Error()
	case listErr != nil:
		*reason = plain(listErr)
	}
	return -1
}

func settingsOf(r kadm.ResourceConfig) []settingDescription {
	settings := make([]settingDescription, 0, len(r.Configs))
	for _, c := range r.Configs {
		settings = append(settings, settingDescription{
			Name: c.Key, Value: c.MaybeValue(), Source: strings.ToLower(c.Source.String()),
			chosen: c.Source == kmsg.ConfigSourceDynamicTopicConfig,
		})
	}
	slices.SortFunc(settings, func(a, b settingDescription) int { return strings.Compare(a.Name, b.Name) })
	return settings
}

func (t topicDescription) write(streams Streams, all bool) error {
	replicas := 0
	if len(t.Partitions) > 0 {
		replicas = len(t.Partitions[0].Replicas)
	}
	fmt.Fprintf(streams.Out, "%s: %s, %s of each", t.Name, plural(len(t.Partitions), "partition"), copies(int16(replicas)))
	if t.ID != "" {
		fmt.Fprintf(streams.Out, ", id %s", t.ID)
	}
	fmt.Fprintln(streams.Out)
	for _, s := range t.Settings {
		if s.chosen || all {
			fmt.Fprintf(streams.Out, "  %s = %s\n", s.Name, s.Value)
		}
	}
	rows := make([][]any, len(t.Partitions))
	for i, p := range t.Partitions {
		records := any("")
		if p.Start >= 0 && p.End >= 0 {
			records = p.End - p.Start
		}
		rows[i] = []any{p.Partition, orNone(int64(p.Leader)), orNone(int64(p.Epoch)), ids(p.Replicas), ids(p.ISR), orNone(p.Start), orNone(p.End), records, p.state()}
	}
	return writeTable(streams.Out, []column{
		{"partition", true}, {"leader", true}, {"epoch", true}, {name: "replicas"}, {name: "in sync"},
		{"start", true}, {"end", true}, {"offsets", true}, {name: ""},
	}, rows)
}

func orNone(n int64) string {
	if n < 0 {
		return "none"
	}
	return itoa(n)
}

func ids(brokers []int32) string {
	texts := make([]string, len(brokers))
	for i, b := range brokers {
		texts[i] = itoa(b)
	}
	return strings.Join(texts, ",")
}

// topicID is the id as Kafka's tools print it; empty where the broker has none.
func topicID(id kadm.TopicID) string {
	if id == (kadm.TopicID{}) {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(id[:])
}
