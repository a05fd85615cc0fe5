package understudy

import (
	"context"

	"understudy/actors/group"
	"understudy/actors/group/core"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
)

// groupShare says which part of memory.limit consumer groups may take: a quarter.
const groupShare = 4

// startGroups has this broker coordinate consumer groups.
func (b *Broker) startGroups(context.Context) error {
	b.groups = group.New(group.Options{
		Self: b.self.ID, Cell: b.cell, Partitions: b.replicas, Topics: b.changes(),
		Settings:     func(image *metadata.Image) group.Settings { return groupSettings(b.defaults(image)) },
		Restarts:     b.backoff(),
		Log:          b.log,
		ScanInterval: b.cfg.Groups.RetentionCheck,
		Memory:       b.cfg.MemoryLimit / groupShare,
	})
	pid, err := b.tree.Spawn("groups", b.groups.Props())
	if err != nil {
		return err
	}
	b.onStop("end the groups", func(ctx context.Context) error { return b.tree.Stop(ctx, pid) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.groups.Run(ctx)
	}()
	b.onStop("end the groups' clock", func(context.Context) error {
		cancel()
		<-ended
		return nil
	})
	return nil
}

func groupSettings(d topicconfig.Defaults) group.Settings {
	return group.Settings{
		Settings: core.Settings{
			MinSession:   d.Int(topicconfig.GroupMinSessionMs),
			MaxSession:   d.Int(topicconfig.GroupMaxSessionMs),
			InitialDelay: d.Int(topicconfig.GroupInitialDelayMs),
			MaxSize:      int(d.Int(topicconfig.GroupMaxSize)),
			MaxMetadata:  int(d.Int(topicconfig.OffsetMetadataMaxBytes)),
			Retention:    d.Int(topicconfig.OffsetsRetentionMinutes) * 60_000,
		},
		CommitTimeout:     d.Int(topicconfig.OffsetsCommitTimeoutMs),
		Partitions:        int32(d.Int(topicconfig.OffsetsTopicPartitions)),
		ReplicationFactor: int16(d.Int(topicconfig.OffsetsReplicationFactor)),
		SegmentBytes:      d.Int(topicconfig.OffsetsSegmentBytes),
	}
}
