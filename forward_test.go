package understudy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy"
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

// TestACreatedTopicIsKnownEverywhere asks each node for a topic that another one
// has just created, with its only replica on any of them.
func TestACreatedTopicIsKnownEverywhere(t *testing.T) {
	c := newCluster(t)
	client := c.client()
	for n := range 60 {
		topic := fmt.Sprintf("new-%d", n)
		create := kmsg.NewPtrCreateTopicsRequest()
		create.TimeoutMillis = 60_000
		wanted := kmsg.NewCreateTopicsRequestTopic()
		wanted.Topic, wanted.NumPartitions, wanted.ReplicationFactor = topic, 1, 1
		create.Topics = append(create.Topics, wanted)
		began := time.Now()
		created, err := create.RequestWith(t.Context(), client.Broker(n%len(c.brokers)+1))
		if err != nil || created.Topics[0].ErrorCode != 0 {
			t.Fatalf("%v, %+v", err, created)
		}
		for i := range c.brokers {
			ask := kmsg.NewPtrMetadataRequest()
			one := kmsg.NewMetadataRequestTopic()
			one.Topic = &topic
			ask.Topics = append(ask.Topics, one)
			told, err := ask.RequestWith(t.Context(), client.Broker(i+1))
			if err != nil {
				t.Fatal(err)
			}
			for took := time.Since(began); took >= understudy.HeardWithin && told.Topics[0].ErrorCode != 0 && time.Since(began) < probeTime; {
				if told, err = ask.RequestWith(t.Context(), client.Broker(i+1)); err != nil { // it was not waited for longer
					t.Fatal(err)
				}
			}
			if err := kerr.ErrorForCode(told.Topics[0].ErrorCode); err != nil {
				t.Fatalf("node %d does not know %s that node %d has created: %v", i+1, topic, n%len(c.brokers)+1, err)
			}
		}
	}
}
