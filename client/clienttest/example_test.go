package clienttest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client/clienttest"
)

// A cluster of three loses a broker, and what was written before is there. In a test,
// Start does without New's error and Stop.
func Example() {
	ctx := context.Background()
	cluster, err := clienttest.New(ctx, clienttest.Options{Brokers: 3})
	must(err)
	defer func() { must(cluster.Stop(ctx)) }()
	must(cluster.CreateTopic(ctx, "orders", 1, nil))
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.Addrs()...), kgo.ConsumeTopics("orders"))
	must(err)
	defer cl.Close()
	must(cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("3 apples")}).FirstErr())

	must(cluster.Kill(0))
	for read := false; !read; {
		for _, r := range cl.PollFetches(ctx).Records() {
			fmt.Printf("%s, at offset %d\n", r.Value, r.Offset)
			read = true
		}
	}
	must(cluster.Revive(ctx, 0))
	fmt.Println("up again:", cluster.Up(0))
	// Output:
	// 3 apples, at offset 0
	// up again: true
}

// must ends the example if there is an error.
func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
