package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/client/clienttest"
)

// stage is what each example plays on: a broker with a topic of orders, and an actor
// system. A program of yours names its brokers, and calls actor.NewActorSystem.
func stage(partitions int32) (brokers []string, system *actor.ActorSystem, end func()) {
	cluster, err := clienttest.New(context.Background(), clienttest.Options{})
	must(err)
	must(cluster.CreateTopic(context.Background(), "orders", partitions, nil))
	return cluster.Addrs(), quietSystem(), func() { must(cluster.Stop(context.Background())) }
}

// must ends the example if there is an error.
func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// send writes records, and fails if one is not written.
func send(system *actor.ActorSystem, producer *client.Producer, records ...*kgo.Record) {
	for _, r := range records {
		answer, err := system.Root.RequestFuture(producer.PID(), r, time.Minute).Result()
		if _, written := answer.(*client.Delivered); err != nil || !written {
			log.Fatal(answer, err)
		}
	}
}

// An actor writes orders, and one actor for each customer works them off.
func Example() {
	brokers, system, end := stage(3)
	defer end()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	must(err)
	send(system, producer,
		&kgo.Record{Topic: "orders", Key: []byte("alice"), Value: []byte("apples")},
		&kgo.Record{Topic: "orders", Key: []byte("alice"), Value: []byte("pears")})

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
	must(err)
	<-done
	must(subscription.Stop(context.Background()))
	must(producer.Stop(context.Background()))
	// Output:
	// alice wants apples
	// alice wants pears
}

// Who sends a record as a request is told what became of it.
func ExampleSpawnProducer() {
	brokers, system, end := stage(1)
	defer end()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	must(err)
	for _, r := range []*kgo.Record{
		{Topic: "orders", Value: []byte("apples")},
		{Topic: "orders", Value: make([]byte, 10<<20)},
	} {
		answer, err := system.Root.RequestFuture(producer.PID(), r, time.Minute).Result()
		must(err)
		switch answer := answer.(type) {
		case *client.Delivered:
			fmt.Printf("written to %s-%d at offset %d\n", answer.Topic, answer.Partition, answer.Offset)
		case *client.Failed:
			fmt.Println(answer.Cause)
		}
	}
	must(producer.Stop(context.Background())) // writes what it was sent
	// Output:
	// written to orders-0 at offset 0
	// refused
}

// An actor that sends much asks for room first, and so never has more waiting than
// the producer has room for.
func ExampleWaitForRoom() {
	brokers, system, end := stage(1)
	defer end()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers, MaxRecords: 100})
	must(err)
	done := make(chan struct{})
	left, written := 1000, 0
	system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *actor.Started:
			ctx.Request(producer.PID(), client.WaitForRoom{Records: 50})
		case client.Room:
			for range min(m.Records, left) {
				ctx.Request(producer.PID(), &kgo.Record{Topic: "orders", Value: []byte("apples")})
				left--
			}
			if left > 0 {
				ctx.Request(producer.PID(), client.WaitForRoom{Records: 50})
			}
		case *client.Delivered:
			if written++; written == 1000 {
				close(done)
			}
		case *client.Failed:
			log.Fatal(m.Err)
		}
	}))
	<-done
	fmt.Println("written:", written)
	must(producer.Stop(context.Background()))
	// Output: written: 1000
}

// An actor that is more than a function gets deliveries, and says what became of
// each, now or later. What cannot be processed becomes a dead letter, and can be
// sent back.
func ExampleDelivery() {
	brokers, system, end := stage(1)
	defer end()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	must(err)
	for _, what := range []string{"apples", "nonsense", "pears"} {
		send(system, producer, &kgo.Record{Topic: "orders", Key: []byte("alice"), Value: []byte(what)})
	}
	said := make(chan string)
	patient := true
	subscription, err := client.Subscribe(system, client.SubscriptionOptions{
		Brokers: brokers, Topics: []string{"orders"}, Group: "packers", By: client.ByKey,
		Actor: actor.PropsFromFunc(func(ctx actor.Context) {
			d, ok := ctx.Message().(*client.Delivery)
			if !ok {
				return
			}
			switch what := string(d.Record.Value); {
			case what == "nonsense" && patient:
				patient = false
				d.Reject(errors.New("nobody sells this"))
			case what == "pears" && d.Attempt == 1:
				d.Retry(time.Millisecond, errors.New("they are not ripe"))
			default:
				said <- fmt.Sprintf("%s, attempt %d", what, d.Attempt)
				d.Ack()
			}
		}),
	})
	must(err)
	fmt.Println(<-said)
	fmt.Println(<-said)
	// The command does the same: understudy dead-letters replay orders.dead
	sent, err := client.Replay(context.Background(), client.ReplayOptions{Brokers: brokers, Topic: "orders.dead"})
	must(err)
	fmt.Println("sent back:", sent)
	fmt.Println(<-said)
	must(subscription.Stop(context.Background()))
	// Output:
	// apples, attempt 1
	// pears, attempt 2
	// sent back: 1
	// nonsense, attempt 1
}

// Orders become invoices. An order is acknowledged when its invoice is written.
func ExampleTransform() {
	brokers, system, end := stage(1)
	defer end()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	must(err)
	send(system, producer, &kgo.Record{Topic: "orders", Key: []byte("alice"), Value: []byte("apples")})
	billing, err := client.Subscribe(system, client.SubscriptionOptions{
		Brokers: brokers, Topics: []string{"orders"}, Group: "billing", By: client.ByKey,
		Actor: client.Transform(producer, func(_ actor.Context, r *kgo.Record) ([]*kgo.Record, error) {
			return []*kgo.Record{{Topic: "invoices", Key: r.Key, Value: append([]byte("a bill for "), r.Value...)}}, nil
		}),
	})
	must(err)
	invoices, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("invoices"), kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(10*time.Millisecond))
	must(err)
	defer invoices.Close()
	for read := false; !read; {
		for _, r := range invoices.PollFetches(context.Background()).Records() {
			fmt.Printf("%s gets %s\n", r.Key, r.Value)
			read = true
		}
	}
	must(billing.Stop(context.Background()))
	// Output: alice gets a bill for apples
}

// Orders go to actors by what a function makes of them: here one for each kind of
// goods, whoever wants them.
func ExampleRoute() {
	brokers, system, end := stage(1)
	defer end()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	must(err)
	send(system, producer,
		&kgo.Record{Topic: "orders", Key: []byte("alice"), Value: []byte("fruit: apples")},
		&kgo.Record{Topic: "orders", Key: []byte("bob"), Value: []byte("fruit: pears")})
	said := make(chan string)
	subscription, err := client.Subscribe(system, client.SubscriptionOptions{
		Brokers: brokers, Topics: []string{"orders"}, Group: "shelves",
		By: func(r *kgo.Record) string {
			kind, _, _ := strings.Cut(string(r.Value), ":")
			return kind
		},
		Actor: client.Handler(func(_ actor.Context, r *kgo.Record) error {
			said <- fmt.Sprintf("%s for %s", r.Value, r.Key)
			return nil
		}),
	})
	must(err)
	fmt.Println(<-said)
	fmt.Println(<-said)
	must(subscription.Stop(context.Background()))
	// Output:
	// fruit: apples for alice
	// fruit: pears for bob
}

// What a subscription decides can be heard on the actor system's event stream, and
// counted by Prometheus.
func ExampleDeadLettered() {
	brokers, system, end := stage(1)
	defer end()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	must(err)
	dead := make(chan struct{})
	system.EventStream.Subscribe(func(event any) {
		switch e := event.(type) {
		case client.Assigned:
			fmt.Printf("%s has %s-%d\n", e.Group, e.Topic, e.Partition)
		case client.Retried:
			fmt.Printf("attempt %d has failed: %v\n", e.Attempt, e.Cause)
		case client.DeadLettered:
			fmt.Printf("attempt %d was the last; see %s\n", e.Attempt, e.Topic)
			close(dead)
		}
	})
	registry := prometheus.NewRegistry()
	subscription, err := client.Subscribe(system, client.SubscriptionOptions{
		Brokers: brokers, Topics: []string{"orders"}, Group: "packers", Metrics: registry,
		Retry: client.Retry{Attempts: 2, Initial: time.Millisecond},
		Actor: client.Handler(func(actor.Context, *kgo.Record) error { return errors.New("out of boxes") }),
	})
	must(err)
	send(system, producer, &kgo.Record{Topic: "orders", Value: []byte("apples")})
	<-dead
	must(subscription.Stop(context.Background()))
	families, err := registry.Gather()
	must(err)
	for _, f := range families {
		if f.GetName() == "understudy_client_dead_letters_total" {
			fmt.Println("dead letters:", f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	// Output:
	// packers has orders-0
	// attempt 1 has failed: out of boxes
	// attempt 2 was the last; see orders.dead
	// dead letters: 1
}
