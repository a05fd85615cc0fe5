package client_test

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
)

// An actor writes orders, and one actor for each customer works them off.
func Example() {
	cluster := kfake.MustCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "orders"))
	defer cluster.Close()
	brokers := cluster.ListenAddrs()

	system := actor.NewActorSystem()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, what := range []string{"apples", "pears"} {
		order := &kgo.Record{Topic: "orders", Key: []byte("alice"), Value: []byte(what)}
		answer, err := system.Root.RequestFuture(producer.PID(), order, time.Minute).Result()
		if _, written := answer.(*client.Delivered); err != nil || !written {
			fmt.Println(answer, err)
		}
	}

	done := make(chan struct{})
	subscription, err := client.Subscribe(system, client.SubscriptionOptions{
		Brokers: brokers,
		Topics:  []string{"orders"},
		Group:   "packers",
		By:      client.ByKey,
		Actor: client.Handler(func(_ actor.Context, r *kgo.Record) error {
			fmt.Printf("%s wants %s\n", r.Key, r.Value)
			if string(r.Value) == "pears" {
				close(done)
			}
			return nil
		}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	<-done
	if err := subscription.Stop(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// alice wants apples
	// alice wants pears
}
