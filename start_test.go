package understudy

import (
	"context"
	"testing"

	"understudy/actors/partition"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// TestAStartDoesNotWaitForWhatIsGone has a topic be deleted while a broker starts
// that has a replica of it, which it has not opened yet.
func TestAStartDoesNotWaitForWhatIsGone(t *testing.T) {
	b := &Broker{cell: metadata.NewCell(), replicas: partition.NewRegistry(), self: metadata.Broker{ID: 1}}
	publish := func(revision int64, change func(*metadata.Edit)) {
		e := metadata.NewEdit(b.cell.Image())
		change(e)
		_, ch, err := e.Seal(revision)
		if err != nil {
			t.Fatal(err)
		}
		b.cell.Publish(ch)
	}
	publish(1, func(e *metadata.Edit) {
		e.SetBroker(metadata.Broker{ID: 1, Epoch: 1, Host: "node", Port: 9092})
		e.CreateTopic(&metadata.Topic{Name: "t", ID: messages.TopicID{1}, Partitions: []metadata.Partition{
			{Leader: 1, Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}},
		}})
	})
	ctx, cancel := context.WithCancel(t.Context())
	given := b.localPartitions()
	if len(given) != 1 {
		t.Fatalf("the broker has %v", given)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.awaitPartition(ctx, given[0]) }()
	publish(2, func(e *metadata.Edit) { e.DeleteTopic("t") })
	if err := <-ended; err != nil {
		t.Errorf("the start ended with %v", err)
	}
	cancel()
	if err := b.awaitPartition(ctx, given[0]); err == nil {
		t.Error("a start that was given up goes on")
	}
}
