package state

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
)

// Turn is the handling of one record by an actor with state.
type Turn struct {
	actor.Context
	// Fresh tells that the actor knew nothing before.
	Fresh bool

	emitted []*kgo.Record
}

// Emit has a record written when the turn is over, before the state is. If that
// fails, the record that the turn is about comes again.
func (t *Turn) Emit(r *kgo.Record) { t.emitted = append(t.emitted, r) }

// Handler makes an actor for a subscription by key. Its state, S, is kept as JSON
// under the record's key, and written after each record. The handler changes it; if
// it gives an error, or panics, the change is forgotten and the record comes again.
//
// Actors with the same key share a state. So a subscription with more than one
// topic needs a store for each.
func Handler[S any](store *Store, handle func(t *Turn, state *S, r *kgo.Record) error) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &keeper[S, struct{}]{store: store, o: Sourcing[S, struct{}]{
			Decide: func(t *Turn, state *S, r *kgo.Record) ([]struct{}, error) { return nil, handle(t, state, r) },
		}}
	})
}

// Sourcing says what an actor does that keeps changes, C, of its state, S. Both are
// kept as JSON.
type Sourcing[S, C any] struct {
	// Decide says what a record changes. It leaves the state as it is.
	Decide func(t *Turn, state *S, r *kgo.Record) ([]C, error)
	// Apply makes a change, now or when the actor is restored.
	Apply func(state *S, change C)
	// SnapshotEvery is after the changes of how many records the state is written, and
	// they are removed. 0 means 100.
	SnapshotEvery int
}

// Sourced makes an actor as Handler does, that writes what changes.
func Sourced[S, C any](store *Store, o Sourcing[S, C]) *actor.Props {
	if o.SnapshotEvery <= 0 {
		o.SnapshotEvery = 100
	}
	return actor.PropsFromProducer(func() actor.Actor { return &keeper[S, C]{store: store, o: o} })
}

// keeper is an actor that keeps its state.
//
//	unknown ──a record──▶ known ──anything fails──▶ unknown
type keeper[S, C any] struct {
	store *Store
	o     Sourcing[S, C]

	known   bool
	line    line // that it writes
	begun   bool // it has its snapshot
	state   *S
	fresh   bool
	next    int64   // index of the next change
	pending []int64 // indexes of the changes since the snapshot
	from    Source  // the last record that led to anything
}

// Receive is the actor.
func (k *keeper[S, C]) Receive(ctx actor.Context) {
	d, ok := ctx.Message().(*client.Delivery)
	if !ok {
		return
	}
	if err := k.handle(ctx, line(d.Assignment()), d.Record); err != nil {
		k.known = false
		d.Fail(err)
		return
	}
	d.Ack()
}

func (k *keeper[S, C]) handle(ctx actor.Context, as line, r *kgo.Record) error {
	work := context.Background() // bounded by the store's patience
	name := string(r.Key)
	if !k.known {
		if err := k.restore(work, as, name); err != nil {
			return err
		}
	}
	if k.from.covers(sourceOf(r)) {
		return nil // it has led to what it leads to
	}
	k.known = false // in case of a panic under a supervisor that resumes
	turn := &Turn{Context: ctx, Fresh: k.fresh}
	changes, err := k.o.Decide(turn, k.state, r)
	if err != nil {
		return err
	}
	if err := k.store.emit(work, turn.emitted); err != nil {
		return err
	}
	if err := k.persist(work, name, changes, sourceOf(r)); err != nil {
		return err
	}
	k.known, k.fresh, k.from = true, false, sourceOf(r)
	return nil
}

// restore reads what is known.
func (k *keeper[S, C]) restore(ctx context.Context, as line, name string) error {
	j, err := k.store.Load(ctx, name)
	if err != nil {
		return err
	}
	k.state, k.fresh, k.next, k.pending, k.from = new(S), j.Snapshot == nil && len(j.Changes) == 0, 0, nil, Source{}
	if j.Snapshot != nil {
		if err := json.Unmarshal(j.Snapshot.Data, k.state); err != nil {
			return fmt.Errorf("state: restore %s/%s: %w", k.store.o.Topic, name, err)
		}
		k.next, k.from = j.Snapshot.Index, j.Snapshot.From
	}
	for _, e := range j.Since() {
		var changes []C
		if err := json.Unmarshal(e.Data, &changes); err != nil {
			return fmt.Errorf("state: restore %s/%s, change %d: %w", k.store.o.Topic, name, e.Index, err)
		}
		for _, change := range changes {
			k.o.Apply(k.state, change)
		}
		k.next, k.from = e.Index+1, e.From
	}
	k.line, k.begun = as, j.line == as
	if k.begun {
		for _, e := range j.Changes {
			k.pending = append(k.pending, e.Index)
		}
	}
	k.known = true
	return nil
}

// persist writes what a record has led to, all of it or nothing.
func (k *keeper[S, C]) persist(ctx context.Context, name string, changes []C, from Source) error {
	if k.o.Apply == nil {
		return k.snapshot(ctx, name, from)
	}
	if len(changes) == 0 {
		return nil
	}
	if k.begun {
		if err := k.append(ctx, name, changes, from); err != nil {
			return err
		}
	}
	k.next++
	for _, change := range changes {
		k.o.Apply(k.state, change)
	}
	if k.begun && len(k.pending) < k.o.SnapshotEvery {
		return nil
	}
	return k.snapshot(ctx, name, from)
}

// append writes changes.
func (k *keeper[S, C]) append(ctx context.Context, name string, changes []C, from Source) error {
	data, err := json.Marshal(changes)
	if err != nil {
		return err
	}
	if err := k.store.put(ctx, key{line: k.line, name: name, index: k.next}, Entry{Index: k.next, Data: data, From: from}); err != nil {
		return err
	}
	k.pending = append(k.pending, k.next)
	return nil
}

// snapshot writes the state, and removes the changes that have led to it, and what
// others have written who have lost the partition.
func (k *keeper[S, C]) snapshot(ctx context.Context, name string, from Source) error {
	data, err := json.Marshal(k.state)
	if err != nil {
		return err
	}
	if err := k.store.put(ctx, key{line: k.line, name: name, snapshot: true}, Entry{Index: k.next, Data: data, From: from}); err != nil {
		return err
	}
	k.begun = true
	if len(k.pending) > 0 {
		if err := k.store.drop(ctx, k.line, name, k.pending); err != nil {
			return err
		}
		k.pending = nil
	}
	return k.store.remove(ctx, name, k.line.supersedes)
}

// emit writes records to other topics.
func (s *Store) emit(ctx context.Context, records []*kgo.Record) error {
	if len(records) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Patience)
	defer cancel()
	if err := s.cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("state: emit: %w", err)
	}
	return nil
}
