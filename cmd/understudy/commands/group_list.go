package commands

import (
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
	var (
		conn   clientFlags
		out    outputFlag
		states []string
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the consumer groups",
		Args:  args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.json(cmd)
			if err != nil {
				return err
			}
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			listed, err := c.admin.ListGroups(cmd.Context(), states...)
			if err != nil {
				return c.explain(err)
			}
			groups := []listedGroup{}
			for _, g := range listed.Sorted() {
				groups = append(groups, listedGroup{Name: g.Group, State: g.State, Type: g.ProtocolType, Coordinator: g.Coordinator})
			}
			if asJSON {
				return writeJSON(streams.Out, groups)
			}
			return writeGroupList(streams, groups)
		},
	}
	conn.add(cmd)
	out.add(cmd)
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
