package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

// clusterAnswer is the part of the answer to GET /cluster that is shown as text.
type clusterAnswer struct {
	ClusterID       string `json:"cluster_id"`
	Name            string
	Controller      int32
	MetadataVersion int64 `json:"metadata_version"`
	Rendezvous      string
	Brokers         []struct {
		ID       int32
		Host     string
		Port     int32
		Admin    string
		Rack     string
		Epoch    int64
		State    string
		Why      string
		Leaders  int
		Replicas int
	}
	Offline []struct {
		Topic     string
		Partition int32
		Why       string
		BackWith  []int32 `json:"back_with"`
	}
	UnderReplicated int `json:"under_replicated"`
	Moves           []struct {
		Topic          string
		Partition      int32
		From, To       []int32
		RemainingBytes int64 `json:"remaining_bytes"`
	}
}

func newClusterDescribe(streams Streams) *cobra.Command {
	var (
		admin adminFlags
		out   outputFlag
	)
	cmd := &cobra.Command{
		Use:   "describe",
		Short: "Show the nodes, and what is offline, behind or moving",
		Args:  args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.json(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), adminTimeout)
			defer cancel()
			var raw json.RawMessage
			if err := admin.ask(ctx, http.MethodGet, "/cluster", nil, &raw); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(streams.Out, raw)
			}
			var answer clusterAnswer
			if err := json.Unmarshal(raw, &answer); err != nil {
				return fmt.Errorf("the answer of %s: %w", admin.address, err)
			}
			return writeCluster(streams, answer)
		},
	}
	admin.add(cmd)
	out.add(cmd)
	return cmd
}

func writeCluster(streams Streams, a clusterAnswer) error {
	name := a.Name
	if name == "" {
		name = "a broker that runs alone"
	}
	controller := "none known"
	if a.Controller >= 0 {
		controller = "node " + itoa(a.Controller)
	}
	fmt.Fprintf(streams.Out, "%s (id %s): controller %s, metadata version %d, rendezvous %s\n\n", name, a.ClusterID, controller, a.MetadataVersion, a.Rendezvous)
	rows := make([][]any, len(a.Brokers))
	for i, b := range a.Brokers {
		rows[i] = []any{b.ID, b.State, fmt.Sprintf("%s:%d", b.Host, b.Port), orDash(b.Admin), orDash(b.Rack), b.Epoch, b.Leaders, b.Replicas, b.Why}
	}
	err := writeTable(streams.Out, []column{{"node", true}, {name: "state"}, {name: "kafka"}, {name: "admin"}, {name: "rack"},
		{"epoch", true}, {"leaders", true}, {"replicas", true}, {name: ""}}, rows)
	if err != nil {
		return err
	}
	return writeTroubles(streams, a)
}

// writeTroubles tells of partitions that are not as they should be.
func writeTroubles(streams Streams, a clusterAnswer) error {
	fmt.Fprintln(streams.Out)
	if len(a.Offline) == 0 && a.UnderReplicated == 0 && len(a.Moves) == 0 {
		_, err := fmt.Fprintln(streams.Out, "all partitions are led, and all their replicas in sync")
		return err
	}
	for _, p := range a.Offline {
		fmt.Fprintf(streams.Out, "offline: %s-%d: %s; back with: %s\n", p.Topic, p.Partition, p.Why, idList(p.BackWith))
	}
	if a.UnderReplicated > 0 {
		fmt.Fprintf(streams.Out, "%s with replicas that are not in sync\n", plural(a.UnderReplicated, "partition"))
	}
	for _, m := range a.Moves {
		left := "not known how much is left"
		if m.RemainingBytes >= 0 {
			left = bytesText(float64(m.RemainingBytes)) + " left"
		}
		fmt.Fprintf(streams.Out, "moving: %s-%d: %s → %s, %s\n", m.Topic, m.Partition, idList(m.From), idList(m.To), left)
	}
	return nil
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
