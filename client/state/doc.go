// Package state keeps what actors know in a compacted topic, so that it is there
// again when an actor is started anew, here or in another process.
//
//	store, err := state.Open(ctx, state.Options{Brokers: brokers, Topic: "accounts.state"})
//	defer store.Close()
//
//	subscription, err := client.Subscribe(system, client.SubscriptionOptions{
//		Brokers: brokers, Topics: []string{"transfers"}, Group: "accounts", By: client.ByKey,
//		Actor: state.Handler(store, func(t *state.Turn, account *Account, r *kgo.Record) error {
//			account.Balance += amount(r)
//			if account.Balance < 0 {
//				t.Emit(&kgo.Record{Topic: "overdrafts", Key: r.Key})
//			}
//			return nil
//		}),
//	})
//
// Handler writes the state after each record. Where states are large and changes
// small, Sourced writes the changes, and the state now and then.
//
// A record is acknowledged when what it has led to is written. With the state goes
// which record led to it, so that one which is delivered once more, because its
// acknowledgement was lost, does not change the state twice. What is emitted is
// written before, and may so be written twice.
//
// A member that has lost a partition may not know it yet, and write once more. That
// does no harm: each assignment of a partition writes the states of its keys under keys
// of its own, beginning with a snapshot, and what counts is what has come furthest in
// the topic that is consumed. What such a member emits is written, though: whoever
// reads it must be ready for records that come twice.
//
// Each process holds in memory what is in the partitions of the topic from which
// its actors have asked for anything. If the topic has as many partitions as the
// one that is consumed, these are the ones whose records it is given.
//
// # Event-sourced actors
//
// Provider is Proto.Actor's own interface to where events and snapshots are kept.
// Actors that use its persistence package run on topics when they are spawned with
//
//	actor.WithReceiverMiddleware(persistence.Using(state.NewProvider(store, 100)))
package state
