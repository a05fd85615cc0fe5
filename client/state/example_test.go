package state_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/client/clienttest"
	"understudy/client/state"
)

// Account is what the actor of an account knows.
type Account struct{ Transfers int }

// Each account is an actor that knows how often it was used, whenever and wherever
// it is started.
func ExampleHandler() {
	ctx := context.Background()
	cluster, err := clienttest.New(ctx, clienttest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Stop(ctx)
	store, err := state.Open(ctx, state.Options{Brokers: cluster.Addrs(), Topic: "accounts.state", Partitions: 3})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	if err := cluster.CreateTopic(ctx, "transfers", 3, nil); err != nil {
		log.Fatal(err)
	}
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: cluster.Addrs()})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 { // two lives
		seen := make(chan int)
		subscription, err := client.Subscribe(system, client.SubscriptionOptions{
			Brokers: cluster.Addrs(), Topics: []string{"transfers"}, Group: "accounts", By: client.ByKey,
			Actor: state.Handler(store, func(_ *state.Turn, a *Account, _ *kgo.Record) error {
				a.Transfers++
				seen <- a.Transfers
				return nil
			}),
		})
		if err != nil {
			log.Fatal(err)
		}
		system.Root.Send(producer.PID(), &kgo.Record{Topic: "transfers", Key: []byte("alice")})
		fmt.Println("alice's transfers:", <-seen)
		if err := subscription.Stop(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// alice's transfers: 1
	// alice's transfers: 2
}
