package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// electionDescription is what became of one partition.
type electionDescription struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Error     string `json:"error,omitempty"`
	Losses    string `json:"losses,omitempty"` // what an unclean election has lost, as far as it is known
}

func newTopicElect(streams Streams) *cobra.Command {
	var (
		conn       clientFlags
		out        outputFlag
		partitions []int32
		unclean    bool
	)
	cmd := &cobra.Command{
		Use:   "elect [NAME]",
		Short: "Have the preferred nodes lead, or any node where none that is in sync is left",
		Long: "Have the preferred nodes lead the partitions of a topic, or of all topics.\n\n" +
			"A partition whose in-sync replicas are all down has no leader, and comes back with\n" +
			"any of them. If they are gone for good, --unclean has another replica lead, the one\n" +
			"that holds the most, and what only the others had is lost. Without --unclean it is\n" +
			"only said what there is.",
		Args: args(0, 1, "topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.json(cmd)
			if err != nil {
				return err
			}
			if len(args) == 0 && (unclean || len(partitions) > 0) {
				return wrongUsage(cmd, "say which topic: %s", cmd.UseLine())
			}
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			e := election{client: c, streams: streams, unclean: unclean}
			if err := e.choose(cmd.Context(), args, partitions); err != nil {
				return err
			}
			results, err := e.hold(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(streams.Out, results)
			}
			return e.tell(cmd.Context(), results)
		},
	}
	conn.add(cmd)
	out.add(cmd)
	cmd.Flags().Int32SliceVar(&partitions, "partition", nil, "only these partitions; may be repeated")
	cmd.Flags().BoolVar(&unclean, "unclean", false, "go on without those that were in sync, and lose what only they had")
	return cmd
}

// election is one that somebody asks for.
type election struct {
	*client
	streams Streams
	unclean bool
	topics  kadm.TopicDetails
	set     kadm.TopicsSet // nil: all
}

// choose finds the partitions that are meant. An unclean election is only for
// those without a leader: to name others is no error.
func (e *election) choose(ctx context.Context, names []string, partitions []int32) error {
	topics, err := e.knownTopics(ctx, names...)
	if err != nil {
		return err
	}
	e.topics = kadm.TopicDetails{}
	for _, t := range topics {
		e.topics[t.Topic] = t
	}
	if len(names) == 0 {
		return nil
	}
	e.set = kadm.TopicsSet{}
	for _, n := range partitions {
		if _, ok := e.topics[names[0]].Partitions[n]; !ok {
			return &worded{fmt.Sprintf("there is no partition %s-%d", names[0], n), kerr.UnknownTopicOrPartition}
		}
	}
	for _, p := range e.topics[names[0]].Partitions.Sorted() {
		if (len(partitions) == 0 || slices.Contains(partitions, p.Partition)) && (!e.unclean || p.Leader < 0) {
			e.set.Add(names[0], p.Partition)
		}
	}
	return nil
}

// hold has the leaders elected, and tells before what is known of what an unclean
// election loses.
func (e *election) hold(ctx context.Context) ([]electionDescription, error) {
	how := kadm.ElectPreferredReplica
	if e.unclean {
		how = kadm.ElectLiveReplica
		for topic, ps := range e.set {
			for n := range ps {
				e.tellWhatThereIs(ctx, e.streams.note, topic, n)
			}
		}
	}
	results := []electionDescription{}
	if e.set != nil && len(e.set) == 0 {
		return results, nil
	}
	elected, err := e.admin.ElectLeaders(ctx, how, e.set)
	if err != nil {
		return nil, e.explain(err)
	}
	for topic, ps := range elected {
		for n, r := range ps {
			d := electionDescription{Topic: topic, Partition: n}
			switch {
			case errors.Is(r.Err, kerr.ElectionNotNeeded):
				continue
			case r.Err != nil:
				d.Error = cmp.Or(r.ErrMessage, r.Err.Error())
			default:
				d.Losses = r.ErrMessage
			}
			results = append(results, d)
		}
	}
	slices.SortFunc(results, func(a, b electionDescription) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return results, nil
}

// tell says what became of it, and of partitions without a leader what there is.
func (e *election) tell(ctx context.Context, results []electionDescription) error {
	if len(results) == 0 {
		_, err := fmt.Fprintln(e.streams.Out, "no election is needed")
		return err
	}
	failed := 0
	for _, r := range results {
		name := r.Topic + "-" + itoa(r.Partition)
		switch p := e.topics[r.Topic].Partitions[r.Partition]; {
		case r.Error == "" && r.Losses != "":
			fmt.Fprintf(e.streams.Out, "%s has a leader: %s\n", name, r.Losses)
		case r.Error == "":
			fmt.Fprintf(e.streams.Out, "%s has another leader\n", name)
		case p.Leader < 0 && !e.unclean:
			failed++
			e.tellWhatThereIs(ctx, func(format string, args ...any) { fmt.Fprintf(e.streams.Out, format+"\n", args...) }, r.Topic, r.Partition)
			fmt.Fprintf(e.streams.Out, "  go on with what these hold: understudy topic elect %s --partition %d --unclean\n", r.Topic, r.Partition)
		default:
			failed++
			fmt.Fprintf(e.streams.Out, "%s: %s\n", name, r.Error)
		}
	}
	if failed > 0 {
		return fmt.Errorf("no other leader for %s", plural(failed, "partition"))
	}
	return nil
}

// tellWhatThereIs says what replicas hold of a partition that has no leader.
func (e *election) tellWhatThereIs(ctx context.Context, say func(string, ...any), topic string, partition int32) {
	p := e.topics[topic].Partitions[partition]
	say("%s-%d has no leader. In sync were nodes %s: with any of them it comes back and loses nothing", topic, partition, ids(p.ISR))
	for _, node := range p.Replicas {
		end, epoch, err := e.heldBy(ctx, node, topic, partition)
		switch {
		case slices.Contains(p.OfflineReplicas, node):
			say("  node %d is down; what it holds is not known", node)
		case err != nil:
			say("  node %d does not say what it holds: %s", node, plain(err))
		default:
			say("  node %d holds the records below offset %d, the last of leader epoch %d", node, end, epoch)
		}
	}
}

// A node that has just got a replica may not have opened it yet: it is asked so
// often, with such a pause between.
const (
	heldAttempts = 20
	heldPoll     = 100 * time.Millisecond
)

// heldBy asks one node where its replica's log ends.
func (e *election) heldBy(ctx context.Context, node int32, topic string, partition int32) (end int64, epoch int32, failure error) {
	const anyReplica = -2 // and not only the leader
	p := e.topics[topic].Partitions[partition]
	if slices.Contains(p.OfflineReplicas, node) {
		return 0, 0, nil
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = anyReplica
	asked := kmsg.NewListOffsetsRequestTopicPartition()
	asked.Partition, asked.Timestamp, asked.CurrentLeaderEpoch = partition, -1, -1
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{asked}}}
	ask := time.NewTicker(heldPoll)
	defer ask.Stop()
	for range heldAttempts {
		resp, err := req.RequestWith(ctx, e.Broker(int(node)))
		if err != nil {
			return 0, 0, err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return 0, 0, errors.New("its answer is about something else")
		}
		got := resp.Topics[0].Partitions[0]
		if err = kerr.ErrorForCode(got.ErrorCode); !kerr.IsRetriable(err) {
			return got.Offset, got.LeaderEpoch, err
		}
		failure = err
		select {
		case <-ask.C:
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
	return 0, 0, failure
}
