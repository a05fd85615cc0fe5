package clienttest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// askAgain is the pause before a broker is asked once more what it knows.
const askAgain = 5 * time.Millisecond

// CreateTopic creates a topic, replicated to up to three brokers, and returns when
// every broker that runs knows it and its leaders. A nil config is the brokers'
// own; see kadm.Client.CreateTopic.
func (c *Cluster) CreateTopic(ctx context.Context, name string, partitions int32, config map[string]*string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...))
	if err != nil {
		return fmt.Errorf("clienttest: create topic %s: %w", name, err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, int16(min(len(c.nodes), 3)), config, name); err != nil {
		return fmt.Errorf("clienttest: create topic %s: %w", name, err)
	}
	for i := range c.nodes {
		if err := c.awaitTopic(ctx, i, name, int(partitions)); err != nil {
			return fmt.Errorf("clienttest: topic %s is created, but broker %d does not know it: %w", name, i, err)
		}
	}
	return nil
}

// awaitTopic waits until a broker knows a topic, or is down.
func (c *Cluster) awaitTopic(ctx context.Context, i int, name string, partitions int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.nodes[i].cfg.Listen))
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	req.Topics = []kmsg.MetadataRequestTopic{topic}
	for c.Up(i) {
		resp, err := req.RequestWith(ctx, cl.SeedBrokers()[0])
		if err == nil && len(resp.Topics) == 1 && led(resp.Topics[0], partitions) {
			return nil
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
	return nil
}

// led reports whether all partitions of a topic have leaders.
func led(t kmsg.MetadataResponseTopic, partitions int) bool {
	for _, p := range t.Partitions {
		if kerr.ErrorForCode(p.ErrorCode) != nil || p.Leader < 0 {
			return false
		}
	}
	return kerr.ErrorForCode(t.ErrorCode) == nil && len(t.Partitions) >= partitions
}
