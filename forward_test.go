package understudy_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestManyTopicsAtOnceThroughAnyNode has each node create many topics in one
// request, and tell of all their settings.
func TestManyTopicsAtOnceThroughAnyNode(t *testing.T) {
	c := newCluster(t)
	const many = 300
	for i := range c.brokers {
		client := c.client(kgo.SeedBrokers(c.addrs[i]))
		ask := kmsg.NewPtrCreateTopicsRequest()
		ask.TimeoutMillis = 120_000
		for n := range many {
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = fmt.Sprintf("many-%d-%d", i, n), 1, 1
			retention := kmsg.NewCreateTopicsRequestTopicConfig()
			retention.Name, retention.Value = "retention.ms", kmsg.StringPtr("3600000")
			topic.Configs = append(topic.Configs, retention)
			ask.Topics = append(ask.Topics, topic)
		}
		resp, err := client.Broker(i+1).Request(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		for _, created := range resp.(*kmsg.CreateTopicsResponse).Topics {
			if err := kerr.ErrorForCode(created.ErrorCode); err != nil || created.NumPartitions != 1 || created.TopicID == [16]byte{} {
				t.Fatalf("through node %d: topic %q: %v, %d partitions", i+1, created.Topic, err, created.NumPartitions)
			}
			told := ""
			for _, s := range created.Configs {
				if s.Name == "retention.ms" && s.Value != nil {
					told = *s.Value
				}
			}
			if told != "3600000" {
				t.Fatalf("through node %d: topic %q with retention.ms %q of %d settings", i+1, created.Topic, told, len(created.Configs))
			}
		}
	}
}
