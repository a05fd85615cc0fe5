package state_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/persistence"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"understudy/client"
	"understudy/client/clienttest"
	"understudy/client/state"
)

// stage is what each example plays on: a broker with a topic of transfers, a store
// for what actors know, and an actor system.
func stage() (brokers []string, store *state.Store, system *actor.ActorSystem, end func()) {
	ctx := context.Background()
	cluster, err := clienttest.New(ctx, clienttest.Options{})
	must(err)
	must(cluster.CreateTopic(ctx, "transfers", 3, nil))
	store, err = state.Open(ctx, state.Options{Brokers: cluster.Addrs(), Topic: "accounts.state", Partitions: 3})
	must(err)
	system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	return cluster.Addrs(), store, system, func() {
		store.Close()
		must(cluster.Stop(ctx))
	}
}

// must ends the example if there is an error.
func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Account is what the actor of an account knows.
type Account struct{ Transfers int }

// Each account is an actor that knows how often it was used, whenever and wherever
// it is started.
func ExampleHandler() {
	brokers, store, system, end := stage()
	defer end()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	must(err)
	for range 2 { // two lives
		seen := make(chan int)
		subscription, err := client.Subscribe(system, client.SubscriptionOptions{
			Brokers: brokers, Topics: []string{"transfers"}, Group: "accounts", By: client.ByKey,
			Actor: state.Handler(store, func(_ *state.Turn, a *Account, _ *kgo.Record) error {
				a.Transfers++
				seen <- a.Transfers
				return nil
			}),
		})
		must(err)
		system.Root.Send(producer.PID(), &kgo.Record{Topic: "transfers", Key: []byte("alice")})
		fmt.Println("alice's transfers:", <-seen)
		must(subscription.Stop(context.Background()))
	}
	// Output:
	// alice's transfers: 1
	// alice's transfers: 2
}

// Ledger is a state that grows: what is written for each record is only what it adds.
type Ledger struct{ Lines []string }

// The actor of an account decides what a record changes, and the change is applied,
// now and when the actor is restored.
func ExampleSourced() {
	brokers, store, system, end := stage()
	defer end()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	must(err)
	for _, amount := range []string{"+5", "-2"} { // two lives
		known := make(chan []string)
		subscription, err := client.Subscribe(system, client.SubscriptionOptions{
			Brokers: brokers, Topics: []string{"transfers"}, Group: "accounts", By: client.ByKey,
			Actor: state.Sourced(store, state.Sourcing[Ledger, string]{
				Decide: func(_ *state.Turn, l *Ledger, r *kgo.Record) ([]string, error) {
					known <- l.Lines
					return []string{string(r.Value)}, nil
				},
				Apply:         func(l *Ledger, change string) { l.Lines = append(l.Lines, change) },
				SnapshotEvery: 50,
			}),
		})
		must(err)
		system.Root.Send(producer.PID(), &kgo.Record{Topic: "transfers", Key: []byte("alice"), Value: []byte(amount)})
		fmt.Println("known:", <-known, "now:", amount)
		must(subscription.Stop(context.Background()))
	}
	// Output:
	// known: [] now: +5
	// known: [+5] now: -2
}

// Cart is an event-sourced actor as Proto.Actor's persistence has them. It knows
// nothing of topics.
type Cart struct {
	persistence.Mixin
	goods []string
}

// Receive is the actor.
func (c *Cart) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *wrapperspb.StringValue: // an event, new or replayed
		if !c.Recovering() {
			c.PersistReceive(m)
		}
		c.goods = append(c.goods, m.GetValue())
	case string: // a question
		ctx.Respond(fmt.Sprint(c.goods))
	}
}

// An actor that kept its events in memory keeps them on a topic when one line is
// changed, and has them when it is started again.
func ExampleNewProvider() {
	_, store, system, end := stage()
	defer end()
	props := actor.PropsFromProducer(func() actor.Actor { return &Cart{} },
		// The line that changes: another provider was there before.
		actor.WithReceiverMiddleware(persistence.Using(state.NewProvider(store, 100))))
	for _, what := range []string{"apples", "pears"} { // two lives
		cart, err := system.Root.SpawnNamed(props, "alice")
		must(err)
		system.Root.Send(cart, wrapperspb.String(what))
		goods, err := system.Root.RequestFuture(cart, "what is in it?", patience).Result()
		must(err)
		fmt.Println(goods)
		must(system.Root.PoisonFuture(cart).Wait())
	}
	// Output:
	// [apples]
	// [apples pears]
}
