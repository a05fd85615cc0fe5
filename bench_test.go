package understudy_test

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy"
)

// BenchmarkStart is a start and an orderly stop of a broker that has a thousand
// partitions on disk.
func BenchmarkStart(b *testing.B) {
	ctx := context.Background()
	cfg := testConfig(b.TempDir())
	run := func(while func(*understudy.Broker)) {
		broker, err := understudy.Start(ctx, cfg)
		if err != nil {
			b.Fatal(err)
		}
		while(broker)
		b.StopTimer()
		if err := broker.Stop(ctx); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	run(func(broker *understudy.Broker) {
		client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr().String()))
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		if _, err := kadm.NewClient(client).CreateTopic(ctx, 1000, 1, nil, "orders"); err != nil {
			b.Fatal(err)
		}
	})
	b.ResetTimer()
	for range b.N {
		run(func(*understudy.Broker) {})
	}
}
