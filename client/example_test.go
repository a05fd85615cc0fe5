package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/client/clienttest"
)

// exampleBrokers is a broker for an example, with a topic.
func exampleBrokers(partitions int32) (brokers []string, end func()) {
	cluster, err := clienttest.New(context.Background(), clienttest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := cluster.CreateTopic(context.Background(), "orders", partitions, nil); err != nil {
		log.Fatal(err)
	}
	return cluster.Addrs(), func() {
		if err := cluster.Stop(context.Background()); err != nil {
			log.Fatal(err)
		}
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
	brokers, end := exampleBrokers(3)
	defer end()
	system := quietSystem() // or actor.NewActorSystem()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	if err != nil {
		log.Fatal(err)
	}
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
	if err != nil {
		log.Fatal(err)
	}
	<-done
	if err := subscription.Stop(context.Background()); err != nil {
		log.Fatal(err)
	}
	if err := system.Root.StopFuture(producer.PID()).Wait(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// alice wants apples
	// alice wants pears
}

// Who sends a record as a request is told what became of it.
func ExampleSpawnProducer() {
	brokers, end := exampleBrokers(1)
	defer end()
	system := quietSystem()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range []*kgo.Record{
		{Topic: "orders", Value: []byte("apples")},
		{Topic: "orders", Value: make([]byte, 10<<20)},
	} {
		answer, err := system.Root.RequestFuture(producer.PID(), r, time.Minute).Result()
		if err != nil {
			log.Fatal(err)
		}
		switch answer := answer.(type) {
		case *client.Delivered:
			fmt.Printf("written to %s-%d at offset %d\n", answer.Topic, answer.Partition, answer.Offset)
		case *client.Failed:
			fmt.Println(answer.Cause)
		}
	}
	if err := system.Root.StopFuture(producer.PID()).Wait(); err != nil { // writes what it was sent
		log.Fatal(err)
	}
	// Output:
	// written to orders-0 at offset 0
	// refused
}

// An actor that sends much asks for room first, and so never has more waiting than
// the producer has room for.
func ExampleWaitForRoom() {
	brokers, end := exampleBrokers(1)
	defer end()
	system := quietSystem()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers, MaxRecords: 100})
	if err != nil {
		log.Fatal(err)
	}
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
	if err := system.Root.StopFuture(producer.PID()).Wait(); err != nil {
		log.Fatal(err)
	}
	// Output: written: 1000
}

// An actor that is more than a function gets deliveries, and says what became of
// each, now or later. What cannot be processed becomes a dead letter, and can be
// sent back.
func ExampleDelivery() {
	brokers, end := exampleBrokers(1)
	defer end()
	system := quietSystem()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	if err != nil {
		log.Fatal(err)
	}
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
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-said)
	fmt.Println(<-said)
	// The command does the same: understudy dead-letters replay orders.dead
	sent, err := client.Replay(context.Background(), client.ReplayOptions{Brokers: brokers, Topic: "orders.dead"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sent back:", sent)
	fmt.Println(<-said)
	if err := subscription.Stop(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// apples, attempt 1
	// pears, attempt 2
	// sent back: 1
	// nonsense, attempt 1
}

// Orders become invoices. An order is acknowledged when its invoice is written.
func ExampleTransform() {
	brokers, end := exampleBrokers(1)
	defer end()
	system := quietSystem()
	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
	if err != nil {
		log.Fatal(err)
	}
	send(system, producer, &kgo.Record{Topic: "orders", Key: []byte("alice"), Value: []byte("apples")})
	billing, err := client.Subscribe(system, client.SubscriptionOptions{
		Brokers: brokers, Topics: []string{"orders"}, Group: "billing", By: client.ByKey,
		Actor: client.Transform(producer, func(_ actor.Context, r *kgo.Record) ([]*kgo.Record, error) {
			return []*kgo.Record{{Topic: "invoices", Key: r.Key, Value: append([]byte("a bill for "), r.Value...)}}, nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	invoices, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("invoices"), kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	defer invoices.Close()
	for read := false; !read; {
		for _, r := range invoices.PollFetches(context.Background()).Records() {
			fmt.Printf("%s gets %s\n", r.Key, r.Value)
			read = true
		}
	}
	if err := billing.Stop(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: alice gets a bill for apples
}
