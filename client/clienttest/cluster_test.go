package clienttest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client/clienttest"
)

// connect gives a client that does not give up while the test runs.
func connect(t *testing.T, c *clienttest.Cluster, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Addrs()...), kgo.DefaultProduceTopic("orders"), kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func write(t *testing.T, cl *kgo.Client, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := cl.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// read reads so many records, and checks that they are numbered.
func read(t *testing.T, cl *kgo.Client, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := 0; i < n; {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d records instead of %d", i, n)
		}
		for _, r := range fetches.Records() {
			if string(r.Value) != fmt.Sprint(i) {
				t.Fatalf("%s is number %d", r.Value, i)
			}
			i++
		}
	}
}

func TestOneBroker(t *testing.T) {
	t.Parallel()
	c := clienttest.Start(t, 1)
	if err := c.CreateTopic(t.Context(), "orders", 1, nil); err != nil {
		t.Fatal(err)
	}
	cl := connect(t, c)
	write(t, cl, 0, 10)
	if err := c.Kill(0); err != nil || c.Up(0) {
		t.Fatal(err)
	}
	if err := c.Revive(t.Context(), 0); err != nil || !c.Up(0) {
		t.Fatal(err)
	}
	write(t, cl, 10, 20)
	read(t, cl, 20)
}

// TestKilledAndRevived kills one broker after the other: what was acknowledged is
// there, and what comes is taken.
func TestKilledAndRevived(t *testing.T) {
	t.Parallel()
	c := clienttest.Start(t, 3)
	if err := c.CreateTopic(t.Context(), "orders", 1, nil); err != nil {
		t.Fatal(err)
	}
	cl := connect(t, c)
	for i := range 3 {
		write(t, cl, 20*i, 20*i+10)
		if err := c.Kill(i); err != nil {
			t.Fatal(err)
		}
		write(t, cl, 20*i+10, 20*i+20)
		if err := c.Revive(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	read(t, cl, 60)
}

// TestDownIsDown checks that what has been done before is no error.
func TestDownIsDown(t *testing.T) {
	t.Parallel()
	c := clienttest.Start(t, 1)
	for range 2 {
		if err := c.Revive(t.Context(), 0); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := c.Kill(0); err != nil {
			t.Error(err)
		}
	}
}
