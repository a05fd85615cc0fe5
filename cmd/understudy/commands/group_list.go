package commands

import (
	"context"

	"github.com/spf13/cobra"
)

// listedGroup is a line of `group list`.
type listedGroup struct {
	Name        string `json:"name"`
	State       string `json:"state"`
	Type        string `json:"protocol_type"` // "consumer", or what else coordinates itself by groups
	Coordinator int32  `json:"coordinator"`   // broker
}

func newGroupList(streams Streams) *cobra.Command {
	var states []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the consumer groups",
		Args:  args(0, 0, ""),
	}
	shows(cmd, streams, writeGroupList, func(ctx context.Context, c *client, _ []string) ([]listedGroup, error) {
		listed, err := c.admin.ListGroups(ctx, states...)
		if err != nil {
			return nil, c.explain(err)
		}
		groups := []listedGroup{}
		for _, g := range listed.Sorted() {
			groups = append(groups, listedGroup{Name: g.Group, State: g.State, Type: g.ProtocolType, Coordinator: g.Coordinator})
		}
		return groups, nil
	})
	cmd.Flags().StringSliceVar(&states, "state", nil, "list only those in these states: Stable, Empty, PreparingRebalance, CompletingRebalance")
	return cmd
}

func writeGroupList(streams Streams, groups []listedGroup) error {
	if len(groups) == 0 {
		streams.note("there are no groups")
		return nil
	}
	rows := make([][]any, len(groups))
	for i, g := range groups {
		rows[i] = []any{g.Name, g.State, g.Type, g.Coordinator}
	}
	return writeTable(streams.Out, []column{{name: "group"}, {name: "state"}, {name: "type"}, {"coordinator", true}}, rows)
}
