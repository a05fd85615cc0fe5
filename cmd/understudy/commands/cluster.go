package commands

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func newCluster(streams Streams) *cobra.Command {
	return group(&cobra.Command{
		Use:   "cluster",
		Short: "See how the cluster stands, take nodes out, bring metadata back",
	}, newClusterDescribe(streams), newClusterEvents(streams),
		newClusterDrain(streams), newClusterUndrain(streams), newClusterRemove(streams), newClusterRestore(streams))
}

// newClusterDrain and those below it change one thing of one node.
func newClusterDrain(streams Streams) *cobra.Command {
	return nodeCommand(streams, http.MethodPost, "/drain", "node %d is being drained; see how far it is with: understudy cluster describe",
		&cobra.Command{
			Use:   "drain ID",
			Short: "Move everything away from a node, for good",
			Long: `Move everything away from a node, for good. What it leads is led by others at
once, its replicas are made anew on other nodes and then removed from it, and new
topics pass it over. It goes on serving until the last replica has gone. undrain
takes it back.`,
		})
}

func newClusterUndrain(streams Streams) *cobra.Command {
	return nodeCommand(streams, http.MethodPost, "/undrain", "node %d takes replicas again",
		&cobra.Command{
			Use:   "undrain ID",
			Short: "Let a node that was being drained take replicas again",
			Long: `Let a node that was being drained take replicas again. What has left it already
does not come back by itself; see: understudy topic move`,
		})
}

func newClusterRemove(streams Streams) *cobra.Command {
	return nodeCommand(streams, http.MethodDelete, "", "node %d is forgotten",
		&cobra.Command{
			Use:   "remove ID",
			Short: "Forget a node that is down and holds nothing",
			Long: `Forget a node that is down and holds nothing any more. Refused for one that is up
or holds replicas: drain it first, then stop it.`,
		})
}

// nodeCommand makes a command that asks one thing about the node it is given.
func nodeCommand(streams Streams, method, path, done string, cmd *cobra.Command) *cobra.Command {
	var admin adminFlags
	cmd.Args = args(1, 1, "node")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 32)
		if err != nil || id < 0 {
			return wrongUsage(cmd, "%q is not the number of a node; see: understudy cluster describe", args[0])
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), adminTimeout)
		defer cancel()
		if err := admin.ask(ctx, method, fmt.Sprintf("/cluster/brokers/%d%s", id, path), nil, nil); err != nil {
			return err
		}
		streams.note(done, id)
		return nil
	}
	admin.add(cmd)
	return cmd
}

func newClusterRestore(streams Streams) *cobra.Command {
	var admin adminFlags
	var force, replace bool
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Write the metadata back to a Consul that has lost it",
		Long: `Write the metadata back to a Consul that has lost it, from the copies that the
nodes hold; the newest wins. Until then the nodes go on serving what they have, and
those that are started wait. Refused where Consul holds metadata of the cluster.`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), adminTimeout)
			defer cancel()
			query := url.Values{}
			for name, on := range map[string]bool{"force": force, "replace": replace} {
				if on {
					query.Set(name, "true")
				}
			}
			if err := admin.ask(ctx, http.MethodPost, "/cluster/restore", query, nil); err != nil {
				return err
			}
			streams.note("the metadata is written back")
			return nil
		},
	}
	admin.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "do without nodes that cannot be asked, one of which may have a newer copy")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace metadata that is there, and older than the nodes' copies")
	return cmd
}

// idList is "1,2,3", or "none".
func idList(ids []int32) string {
	if len(ids) == 0 {
		return "none"
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = itoa(id)
	}
	return strings.Join(texts, ",")
}
