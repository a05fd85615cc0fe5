package commands

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
)

func newTopicCreate(streams Streams) *cobra.Command {
	var (
		conn       clientFlags
		partitions int32
		replicas   int16
		settings   []string
		ifMissing  bool
	)
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a topic",
		Example: `  understudy topic create orders --partitions 6
  understudy topic create audit --config retention.ms=-1 --config min.insync.replicas=2 --replicas 3`,
		Args: args(1, 1, "topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pairs, err := parsePairs(cmd, "config", settings)
			if err != nil {
				return err
			}
			c, err := conn.connect(cmd.Context(), streams)
			if err != nil {
				return err
			}
			defer c.Close()
			name, configs := args[0], make(map[string]*string)
			for _, p := range pairs {
				configs[p.key] = &p.value
			}
			made, err := c.admin.CreateTopics(cmd.Context(), partitions, replicas, configs, name)
			if err != nil {
				return c.explain(err)
			}
			r := made[name]
			if ifMissing && errors.Is(r.Err, kerr.TopicAlreadyExists) {
				streams.note("topic %s is there already", name)
				return nil
			}
			if r.Err != nil {
				return aboutTopic(name, r.Err, r.ErrMessage)
			}
			if r.NumPartitions <= 0 { // brokers before Kafka 2.4 do not tell
				r.NumPartitions, r.ReplicationFactor = partitions, replicas
			}
			_, err = fmt.Fprintf(streams.Out, "created %s: %s, %s of each\n", name, plural(r.NumPartitions, "partition"), copies(r.ReplicationFactor))
			return err
		},
	}
	conn.add(cmd)
	cmd.Flags().Int32Var(&partitions, "partitions", -1, "number of partitions; -1: what the broker's num.partitions says")
	cmd.Flags().Int16Var(&replicas, "replicas", -1, "copies of each partition; -1: what the broker's default.replication.factor says")
	cmd.Flags().StringArrayVar(&settings, "config", nil, "a setting of the topic, NAME=VALUE; may be repeated")
	cmd.Flags().BoolVar(&ifMissing, "if-not-exists", false, "a topic that is there already is no error")
	return cmd
}

func copies(n int16) string {
	if n == 1 {
		return "1 copy"
	}
	return itoa(n) + " copies"
}
