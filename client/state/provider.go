package state

import (
	"context"
	"fmt"

	"github.com/asynkron/protoactor-go/persistence"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Provider is Proto.Actor's persistence on a Store: the journal of an actor has its
// id as name, its events are the changes. Each call returns when what it did is on
// every in-sync replica. The interface knows no errors, so a call that fails panics;
// the actor's supervisor then starts it anew, from what there is.
//
// Ids must be unique among all processes that use the topic: nothing but that keeps an
// actor that was replaced, and does not know it, from writing over its successor's
// events. Those of the state of a key are kept apart, see Handler. Events and snapshots
// are protobuf messages whose types the program knows. Those that are covered by a
// snapshot stay until DeleteEvents removes them.
type Provider struct {
	store    *Store
	interval int
}

var _ interface {
	persistence.Provider
	persistence.ProviderState
} = (*Provider)(nil)

// NewProvider makes a Provider that asks actors for a snapshot after so many events.
func NewProvider(store *Store, snapshotInterval int) *Provider {
	return &Provider{store, max(snapshotInterval, 1)}
}

// GetState is of persistence.Provider.
func (p *Provider) GetState() persistence.ProviderState { return p }

// Restart is of persistence.ProviderState.
func (p *Provider) Restart() {}

// GetSnapshotInterval is of persistence.ProviderState.
func (p *Provider) GetSnapshotInterval() int { return p.interval }

// GetSnapshot gives the last snapshot, and the index of the first event that is
// not in it.
func (p *Provider) GetSnapshot(actorName string) (snapshot any, eventIndex int, ok bool) {
	j := p.load(actorName)
	if j.Snapshot == nil {
		return nil, 0, false
	}
	return decode(actorName, *j.Snapshot), int(j.Snapshot.Index), true
}

// PersistSnapshot keeps a snapshot instead of the last one.
func (p *Provider) PersistSnapshot(actorName string, snapshotIndex int, snapshot proto.Message) {
	must(p.store.Snapshot(context.Background(), actorName, encode(actorName, snapshotIndex, snapshot)))
}

// DeleteSnapshots removes the snapshot, if its index is at most the given one.
func (p *Provider) DeleteSnapshots(actorName string, inclusiveToIndex int) {
	if j := p.load(actorName); j.Snapshot != nil && j.Snapshot.Index <= int64(inclusiveToIndex) {
		must(p.store.DropSnapshot(context.Background(), actorName))
	}
}

// GetEvents calls back with the events from the first index up to and without the
// second, or to the end if that is 0, in order.
func (p *Provider) GetEvents(actorName string, eventIndexStart, eventIndexEnd int, callback func(e any)) {
	for _, e := range p.load(actorName).Changes {
		if e.Index >= int64(eventIndexStart) && (eventIndexEnd == 0 || e.Index < int64(eventIndexEnd)) {
			callback(decode(actorName, e))
		}
	}
}

// PersistEvent keeps an event under its index.
func (p *Provider) PersistEvent(actorName string, eventIndex int, event proto.Message) {
	must(p.store.Append(context.Background(), actorName, encode(actorName, eventIndex, event)))
}

// DeleteEvents removes the events up to and with an index.
func (p *Provider) DeleteEvents(actorName string, inclusiveToIndex int) {
	var gone []int64
	for _, e := range p.load(actorName).Changes {
		if e.Index <= int64(inclusiveToIndex) {
			gone = append(gone, e.Index)
		}
	}
	if len(gone) > 0 {
		must(p.store.Drop(context.Background(), actorName, gone...))
	}
}

func (p *Provider) load(actorName string) Journal {
	j, err := p.store.Load(context.Background(), actorName)
	must(err)
	return j
}

// must panics with an error: there is no other way to tell of it.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// encode makes an entry that says what type its message has.
func encode(actorName string, index int, message proto.Message) Entry {
	wrapped, err := anypb.New(message)
	if err != nil {
		panic(fmt.Errorf("state: %s, index %d: %T cannot be kept: %w", actorName, index, message, err))
	}
	data, err := proto.Marshal(wrapped)
	must(err)
	return Entry{Index: int64(index), Data: data}
}

// decode makes the message of an entry.
func decode(actorName string, e Entry) any {
	var wrapped anypb.Any
	if err := proto.Unmarshal(e.Data, &wrapped); err != nil {
		panic(fmt.Errorf("state: %s, index %d: %w", actorName, e.Index, err))
	}
	message, err := wrapped.UnmarshalNew()
	if err != nil {
		panic(fmt.Errorf("state: %s, index %d: %w", actorName, e.Index, err))
	}
	return message
}
