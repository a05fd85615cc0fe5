package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// groupDescription is all that `group describe` and `group lag` show of one group.
type groupDescription struct {
	Name        string           `json:"name"`
	State       string           `json:"state"`
	Type        string           `json:"protocol_type"`
	Protocol    string           `json:"protocol,omitempty"` // the assignment strategy
	Coordinator int32            `json:"coordinator"`
	Lag         int64            `json:"lag"` // of all partitions of which it is known
	Members     []groupMember    `json:"members"`
	Partitions  []groupPartition `json:"partitions"`
}

type groupMember struct {
	ID       string             `json:"id"`
	Instance string             `json:"instance,omitempty"` // of a static member
	Client   string             `json:"client"`
	Host     string             `json:"host"`
	Assigned map[string][]int32 `json:"assigned"` // topic to partitions
}

type groupPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing yet
	Start     int64  `json:"start_offset"`
	End       int64  `json:"end_offset"`
	Lag       int64  `json:"lag"` // -1: not known
	Metadata  string `json:"metadata,omitempty"`
	Member    string `json:"member,omitempty"` // id of the member that it is assigned to
	Error     string `json:"error,omitempty"`
	client    string
}

func newGroupDescribe(streams Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "describe NAME...",
		Short: "Show members, assignments, committed offsets and lag of groups",
		Args:  args(1, -1, "group"),
	}
	write := func(streams Streams, groups []groupDescription) error {
		return writeEach(streams, groups, func(g groupDescription) error { return g.write(streams) })
	}
	shows(cmd, streams, write, func(ctx context.Context, c *client, names []string) ([]groupDescription, error) {
		return c.describeGroups(ctx, names)
	})
	return cmd
}

// describeGroups asks for groups by name. One that is not there is an error.
func (c *client) describeGroups(ctx context.Context, names []string) ([]groupDescription, error) {
	lags, err := c.admin.Lag(ctx, slices.Clone(names)...)
	if err != nil {
		return nil, c.explainGroup(names[0], err)
	}
	var groups []groupDescription
	for _, name := range names {
		l, found := lags[name]
		switch {
		case !found || l.State == noState:
			return nil, aboutGroup(name, errNoGroup)
		case l.Error() != nil:
			return nil, aboutGroup(name, l.Error())
		}
		groups = append(groups, describedGroup(l))
	}
	return groups, nil
}

func describedGroup(l kadm.DescribedGroupLag) groupDescription {
	g := groupDescription{
		Name: l.Group, State: l.State, Type: l.ProtocolType, Protocol: l.Protocol, Coordinator: l.Coordinator.NodeID,
		Members: []groupMember{}, Partitions: []groupPartition{},
	}
	for _, m := range l.Members {
		gm := groupMember{ID: m.MemberID, Client: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/"), Assigned: map[string][]int32{}}
		if m.InstanceID != nil {
			gm.Instance = *m.InstanceID
		}
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				gm.Assigned[t.Topic] = slices.Sorted(slices.Values(t.Partitions))
			}
		}
		g.Members = append(g.Members, gm)
	}
	for _, p := range l.Lag.Sorted() {
		gp := describedPartition(p)
		g.Lag += max(gp.Lag, 0)
		g.Partitions = append(g.Partitions, gp)
	}
	return g
}

func describedPartition(p kadm.GroupMemberLag) groupPartition {
	gp := groupPartition{Topic: p.Topic, Partition: p.Partition, Committed: p.Commit.At, Start: -1, End: -1, Lag: p.Lag, Metadata: p.Commit.Metadata}
	if p.Start.Err == nil {
		gp.Start = p.Start.Offset
	}
	if p.End.Err == nil {
		gp.End = p.End.Offset
	}
	switch {
	case errors.Is(p.Err, kerr.UnknownTopicOrPartition):
		gp.Error = "is no more"
	case p.Err != nil:
		gp.Error = p.Err.Error()
	}
	if m := p.Member; m != nil {
		gp.Member, gp.client = m.MemberID, m.ClientID+"@"+strings.TrimPrefix(m.ClientHost, "/")
	}
	return gp
}

func (g groupDescription) write(streams Streams) error {
	fmt.Fprintf(streams.Out, "%s: %s, %s", g.Name, g.State, plural(len(g.Members), "member"))
	if g.Protocol != "" {
		fmt.Fprintf(streams.Out, ", strategy %s", g.Protocol)
	}
	fmt.Fprintf(streams.Out, ", coordinator %d, lag %d\n", g.Coordinator, g.Lag)
	if len(g.Members) > 0 {
		rows := make([][]any, len(g.Members))
		for i, m := range g.Members {
			rows[i] = []any{m.ID, m.Instance, m.Client, m.Host, assignedText(m.Assigned)}
		}
		if err := writeTable(streams.Out, []column{{name: "member"}, {name: "instance"}, {name: "client"}, {name: "host"}, {name: "assigned"}}, rows); err != nil {
			return err
		}
	}
	return g.writeLag(streams)
}

// writeLag writes the group's partitions.
func (g groupDescription) writeLag(streams Streams) error {
	if len(g.Partitions) == 0 {
		return nil
	}
	rows := make([][]any, len(g.Partitions))
	for i, p := range g.Partitions {
		rows[i] = []any{p.Topic, p.Partition, orNone(p.Committed), orNone(p.Start), orNone(p.End), orNone(p.Lag), p.client, p.Metadata, p.Error}
	}
	return writeTable(streams.Out, []column{
		{name: "topic"}, {"partition", true}, {"committed", true}, {"start", true}, {"end", true}, {"lag", true},
		{name: "member"}, {name: "metadata"}, {name: ""},
	}, rows)
}

// assignedText is "orders:0-2,5 returns:0".
func assignedText(assigned map[string][]int32) string {
	var texts []string
	for topic, partitions := range assigned {
		texts = append(texts, topic+":"+ranges(partitions))
	}
	slices.Sort(texts)
	return strings.Join(texts, " ")
}

// ranges writes sorted numbers: "0-2,5".
func ranges(numbers []int32) string {
	var texts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		text := itoa(numbers[i])
		if j > i {
			text += "-" + itoa(numbers[j])
		}
		texts = append(texts, text)
		i = j + 1
	}
	return strings.Join(texts, ",")
}
