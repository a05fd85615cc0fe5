package client_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/client/clienttest"
)

// BenchmarkConsume has actors take records of 1 KiB over 10,000 keys, from a broker
// in this process. `make figures` compares with what a client alone takes.
func BenchmarkConsume(b *testing.B) {
	for name, by := range map[string]client.Route{"by partition": client.ByPartition, "by key": client.ByKey} {
		b.Run(name, func(b *testing.B) {
			cluster := clienttest.Start(b, 1)
			if err := cluster.CreateTopic(b.Context(), "orders", 6, nil); err != nil {
				b.Fatal(err)
			}
			cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.Addrs()...))
			if err != nil {
				b.Fatal(err)
			}
			defer cl.Close()
			value := make([]byte, 1024)
			for i := range b.N {
				cl.Produce(b.Context(), &kgo.Record{Topic: "orders", Key: fmt.Appendf(nil, "key-%05d", i%10_000), Value: value}, nil)
			}
			if err := cl.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			var seen atomic.Int64
			done := make(chan struct{})
			b.SetBytes(1024)
			b.ReportAllocs()
			b.ResetTimer()
			s, err := client.Subscribe(quietSystem(), client.SubscriptionOptions{
				Brokers: cluster.Addrs(), Topics: []string{"orders"}, Group: "bench", By: by,
				Actor: client.Handler(func(actor.Context, *kgo.Record) error {
					if seen.Add(1) == int64(b.N) {
						close(done)
					}
					return nil
				}),
			})
			if err != nil {
				b.Fatal(err)
			}
			<-done
			b.StopTimer()
			if err := s.Stop(context.Background()); err != nil {
				b.Error(err)
			}
		})
	}
}
