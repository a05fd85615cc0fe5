package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Route says which actor gets a record: those for which it gives the same text go
// to the same actor, as long as they are in the same partition. A record at which it
// panics goes to the dead letters at once.
type Route func(r *kgo.Record) string

// ByPartition has one actor for each partition.
func ByPartition(*kgo.Record) string { return "" }

// ByKey has one actor for each key.
func ByKey(r *kgo.Record) string { return string(r.Key) }

// Start says where a group begins to read a partition for which it has committed
// nothing.
type Start int

// The two ends of a partition.
const (
	Earliest Start = iota // with the first record that is there
	Latest                // with the first that is written from now on
)

// Retry says how often, and after which pauses, a record that failed is delivered
// again.
type Retry struct {
	// Attempts is how often a record is delivered before it goes to the dead
	// letters; 0 means 10, and -1 without end.
	Attempts int
	// Initial is the pause after the first failure; it doubles with each further
	// one up to Max. Half of each pause is random. 0 means 100 ms and 30 s.
	Initial, Max time.Duration
}

// SubscriptionOptions describe a subscription. Brokers, Topics, Group and Actor
// must be set.
type SubscriptionOptions struct {
	Brokers []string // to ask first, HOST:PORT
	Topics  []string
	Group   string
	// InstanceID makes the subscription a static member of the group: it keeps its
	// partitions when it is back within SessionTimeout (KIP-345). It must be
	// unique in the group.
	InstanceID     string
	SessionTimeout time.Duration // 0 means 45 s
	Start          Start

	By Route // nil means ByPartition
	// Actor is what each actor is spawned from. It receives *Delivery messages.
	// See Handler for the simplest kind. The actors run on goroutines of the
	// subscription's: a dispatcher of these props is not used.
	Actor *actor.Props

	// MaxRecords and MaxBytes bound what has been delivered, or waits for its
	// actor, and has not been acknowledged. 0 means 10,000 and 64 MiB. What the
	// Kafka client fetches ahead comes on top, at most MaxBytes from each broker.
	MaxRecords int
	MaxBytes   int64
	// MaxAside bounds how many records of actors that block, are slow, or wait for a
	// record's next attempt, are put aside when such actors take up the room that
	// others need. Of these records only the offset is kept, in some 100 bytes; they
	// are read once more when their actor has worked off what it has, for which an
	// eighth of MaxRecords and MaxBytes, and 1 MiB for each partition, come on top.
	// When so many are aside, partitions with such an actor are paused. So is one
	// with an actor for all of it. 0 means fifty times MaxRecords, -1 that none are.
	//
	// An actor that blocks keeps some 128 records: about MaxRecords/128 of them may
	// block at the same time before they hold up others.
	MaxAside int
	// IdleAfter is how long an actor lives without a record. It is stopped then,
	// and comes back with the next one. 0 means five minutes.
	IdleAfter time.Duration

	Retry Retry
	// DeadLetters is the topic for records that were rejected or have failed too
	// often. "" means that of the record with ".dead" behind it. A letter that is too
	// large for it, or for the Kafka client (kgo.ProducerBatchMaxBytes, some 1 MB), goes
	// without the record's value, if need be without its headers and key: see HeaderCut.
	DeadLetters string

	// CommitEvery is the time between commits. 0 means a second.
	CommitEvery time.Duration
	// DrainWithin bounds how long work that is being done may go on when a
	// partition is taken away, or the subscription is stopped. 0 means 10 s.
	DrainWithin time.Duration

	Log     zerolog.Logger        // the zero value writes nothing
	Metrics prometheus.Registerer // has the metrics until another subscription of the group has its own there; nil: none
	// Client adds to what the Kafka client is made with, such as TLS and SASL.
	Client []kgo.Opt
}

func orElse[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// complete checks the options and fills in what was left out.
func (o SubscriptionOptions) complete() (SubscriptionOptions, error) {
	var wrong error
	for name, given := range map[string]bool{
		"Brokers": len(o.Brokers) > 0, "Topics": len(o.Topics) > 0, "Group": o.Group != "", "Actor": o.Actor != nil,
	} {
		if !given {
			wrong = errors.Join(wrong, fmt.Errorf("client: subscribe: %s must be set", name))
		}
	}
	for name, n := range map[string]int64{
		"MaxRecords": int64(o.MaxRecords), "MaxBytes": o.MaxBytes, "CommitEvery": int64(o.CommitEvery), "Retry.Initial": int64(o.Retry.Initial),
	} {
		if n < 0 {
			wrong = errors.Join(wrong, fmt.Errorf("client: subscribe: %s must not be negative", name))
		}
	}
	if o.By == nil {
		o.By = ByPartition
	}
	o.SessionTimeout = orElse(o.SessionTimeout, 45*time.Second)
	o.MaxRecords = orElse(o.MaxRecords, 10_000)
	o.MaxBytes = orElse(o.MaxBytes, 64<<20)
	o.MaxAside = orElse(o.MaxAside, 50*o.MaxRecords)
	o.IdleAfter = orElse(o.IdleAfter, 5*time.Minute)
	o.Retry.Attempts = orElse(o.Retry.Attempts, 10)
	o.Retry.Initial = orElse(o.Retry.Initial, 100*time.Millisecond)
	o.Retry.Max = max(orElse(o.Retry.Max, 30*time.Second), o.Retry.Initial)
	o.CommitEvery = orElse(o.CommitEvery, time.Second)
	o.DrainWithin = orElse(o.DrainWithin, 10*time.Second)
	return o, wrong
}

// routeOf is the route of a record, or why there is none.
func (o SubscriptionOptions) routeOf(r *kgo.Record) (name string, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("no route: %v", reason)
		}
	}()
	return o.By(r), nil
}

// clientOptions are what the Kafka client of a subscription is made with.
func (o SubscriptionOptions) clientOptions() []kgo.Opt {
	start := kgo.NewOffset().AtStart()
	if o.Start == Latest {
		start = kgo.NewOffset().AtEnd()
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(o.Brokers...),
		kgo.ConsumerGroup(o.Group),
		kgo.ConsumeTopics(o.Topics...),
		kgo.ConsumeStartOffset(start),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // where what was to come next is gone
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(o.SessionTimeout),
		kgo.RebalanceTimeout(o.DrainWithin + 50*time.Second),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.FetchMaxBytes(int32(min(o.MaxBytes, 50<<20))),
		kgo.AllowAutoTopicCreation(),             // of the dead letters
		kgo.FetchMaxWait(500 * time.Millisecond), // a partition that was paused is not fetched before the fetch under way ends
	}
	if o.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(o.InstanceID))
	}
	return append(opts, o.Client...)
}
