package state_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/client/state"
)

// teller is a member that tells what each record has led to.
type teller struct {
	seen chan []string
	sub  *client.Subscription
}

// teller subscribes. What it makes of a record is written when hold lets go.
func (b *bench) teller(t *testing.T, kind, instance string, hold func()) *teller {
	t.Helper()
	w := &teller{seen: make(chan []string, 100)}
	store := open(t, b)
	see := func(s *tally, what string) {
		s.Seen = append(s.Seen, what)
		w.seen <- slices.Clone(s.Seen)
		hold()
	}
	props := map[string]*actor.Props{
		"states": state.Handler(store, func(_ *state.Turn, s *tally, r *kgo.Record) error {
			see(s, string(r.Value))
			return nil
		}),
		"changes": state.Sourced(store, state.Sourcing[tally, string]{
			SnapshotEvery: 3,
			Decide: func(_ *state.Turn, s *tally, r *kgo.Record) ([]string, error) {
				see(&tally{Seen: slices.Clone(s.Seen)}, string(r.Value))
				return []string{string(r.Value)}, nil
			},
			Apply: func(s *tally, change string) { s.Seen = append(s.Seen, change) },
		}),
	}
	var err error
	w.sub, err = client.Subscribe(actor.NewActorSystem(), client.SubscriptionOptions{
		Brokers: b.brokers, Topics: []string{b.orders}, Group: b.group, By: client.ByKey, InstanceID: instance,
		CommitEvery: 10 * time.Millisecond, DrainWithin: time.Millisecond,
		Client: []kgo.Opt{kgo.HeartbeatInterval(50 * time.Millisecond)},
		Actor:  props[kind],
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// await waits until the teller has come to the records 0 to n-1.
func (w *teller) await(t *testing.T, n int) {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case have := <-w.seen:
			for i, what := range have {
				if what != fmt.Sprint(i) {
					t.Fatalf("record %d is %s, in %v", i, what, have)
				}
			}
			if len(have) == n {
				return
			}
		case <-limit:
			t.Fatalf("%d records are never seen", n)
		}
	}
}

func (w *teller) stop() { _ = w.sub.Stop(context.Background()) } // a member that was removed says so

// TestWhatComesLateDoesNoHarm has a member lose its partitions in the middle of a
// record, and write what that has led to when others have gone on: nothing of theirs
// is lost.
func TestWhatComesLateDoesNoHarm(t *testing.T) {
	for _, kind := range []string{"states", "changes"} {
		for _, how := range []string{"removed", "replaced"} {
			t.Run(kind+" "+how, func(t *testing.T) {
				t.Parallel()
				b := start(t)
				release := make(chan struct{})
				var late atomic.Bool
				first := b.teller(t, kind, "a", func() {
					if late.Load() {
						<-release
					}
				})
				write(t, b, 0, 2, 1)
				first.await(t, 2)
				b.committed(t, 2)
				late.Store(true)
				write(t, b, 2, 3, 1)
				first.await(t, 3)
				instance := "a"
				if how == "removed" {
					b.remove(t, "a")
					instance = "b"
				}
				second := b.teller(t, kind, instance, func() {})
				write(t, b, 3, 8, 1)
				second.await(t, 8)
				b.committed(t, 8)
				second.stop()
				close(release)
				first.stop()
				write(t, b, 8, 10, 1)
				b.remove(t, instance) // a static member stays when it stops
				third := b.teller(t, kind, "c", func() {})
				third.await(t, 10)
				third.stop()
			})
		}
	}
}

// remove removes a static member from the group.
func (b *bench) remove(t *testing.T, instance string) {
	t.Helper()
	if _, err := kadm.NewClient(b.client(t)).LeaveGroup(t.Context(), kadm.LeaveGroup(b.group).InstanceIDs(instance)); err != nil {
		t.Fatal(err)
	}
}

// committed waits until the group has committed so many records.
func (b *bench) committed(t *testing.T, n int64) {
	t.Helper()
	admin := kadm.NewClient(b.client(t))
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		offsets, err := admin.FetchOffsets(t.Context(), b.group)
		if err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		offsets.Each(func(o kadm.OffsetResponse) { sum += max(o.At, 0) })
		if sum >= n {
			return
		}
	}
	t.Fatalf("%d records are never committed", n)
}
