package understudy_test

import (
	"context"
	"fmt"
	"log"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy"
	"understudy/config"
)

// A whole broker inside a program: in memory, on a port of its own, ready in
// milliseconds. Any Kafka client works with it.
func ExampleStart() {
	ctx := context.Background()
	cfg := config.Default()
	cfg.InMemory = true
	cfg.Listen = "127.0.0.1:0"
	cfg.AdminListen = config.AdminOff
	broker, err := understudy.Start(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Stop(ctx)

	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker.Addr().String()),
		kgo.AllowAutoTopicCreation(),
		kgo.DefaultProduceTopic("greetings"),
		kgo.ConsumeTopics("greetings"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, kgo.StringRecord("hello")).FirstErr(); err != nil {
		log.Fatal(err)
	}
	for _, r := range client.PollFetches(ctx).Records() {
		fmt.Printf("%s-%d at offset %d: %s\n", r.Topic, r.Partition, r.Offset, r.Value)
	}
	// Output: greetings-0 at offset 0: hello
}
