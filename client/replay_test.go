package client_test

import (
	"context"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/client"
)

// watcher is told of each answer to one kind of request.
type watcher struct {
	key      int16
	answered chan struct{}
}

func (w watcher) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == w.key {
		select {
		case w.answered <- struct{}{}:
		default:
		}
	}
}

// letters writes dead letters of the bench's topic to a partition.
func (b *bench) letters(values ...string) {
	b.Helper()
	for _, v := range values {
		letter := &kgo.Record{Topic: b.topic + ".dead", Value: []byte(v), Headers: []kgo.RecordHeader{{Key: client.HeaderTopic, Value: []byte(b.topic)}}}
		if err := b.cl.ProduceSync(b.Context(), letter).FirstErr(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLettersThatComeDuringAReplayAreForTheNext writes a letter when a replay has found
// out how many there are, and before it has read them.
func TestLettersThatComeDuringAReplayAreForTheNext(t *testing.T) {
	b := newBench(t, 1)
	b.letters("one", "two")
	asked := watcher{kmsg.OffsetFetch.Int16(), make(chan struct{}, 1)}
	var late sync.Once
	hold := kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {
		late.Do(func() {
			<-asked.answered // the replay's; the group's follows when this returns
			b.letters("three")
		})
	})
	for _, want := range []int{2, 1, 0} {
		sent, err := client.Replay(t.Context(), client.ReplayOptions{Brokers: b.brokers, Topic: b.topic + ".dead", Client: []kgo.Opt{kgo.WithHooks(asked), hold}})
		if sent != want || err != nil {
			t.Errorf("%d sent back instead of %d, %v", sent, want, err)
		}
	}
}

// TestAReplayEndsWhereTheLastLetterIsGone deletes letters while a replay reads them.
func TestAReplayEndsWhereTheLastLetterIsGone(t *testing.T) {
	b := newBench(t, 1)
	b.letters("one", "two")
	asked := watcher{kmsg.OffsetFetch.Int16(), make(chan struct{}, 1)}
	hold := kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {
		<-asked.answered
		if _, err := b.admin.DeleteRecords(t.Context(), kadm.Offsets{b.topic + ".dead": {0: {Topic: b.topic + ".dead", Partition: 0, At: 2}}}); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sent, err := client.Replay(ctx, client.ReplayOptions{Brokers: b.brokers, Topic: b.topic + ".dead", Client: []kgo.Opt{kgo.WithHooks(asked), hold}})
	if sent != 0 || err != nil {
		t.Errorf("%d sent back, %v", sent, err)
	}
}
