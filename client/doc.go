// Package client feeds Proto.Actor actors from the topics of a Kafka cluster, and
// lets actors send records to topics. It works with Understudy and with every
// other cluster that speaks Kafka's protocol, and imports nothing of a broker.
//
// # Sending
//
// A producer is an actor. Records are sent to it like any message; who sends them
// as a request is told what became of them:
//
//	producer, err := client.SpawnProducer(system, client.ProducerOptions{Brokers: brokers})
//	system.Root.Send(producer.PID(), &kgo.Record{Topic: "orders", Key: key, Value: value})
//
//	answer, err := system.Root.RequestFuture(producer.PID(), record, time.Minute).Result()
//	switch answer := answer.(type) {
//	case *client.Delivered: // answer.Partition, answer.Offset
//	case *client.Failed:    // answer.Cause, answer.Err
//	}
//
// What waits to be written is bounded. When there is no room, a record fails with
// ErrFull at once; an actor that would rather wait sends WaitForRoom first, and
// goes on with the Room that it is given.
//
// # Consuming
//
// A subscription takes part in a consumer group and spawns actors: one for each
// partition, for each key, or for whatever a function makes of a record. Each gets
// its records one after the other, as Delivery messages, and says what became of
// each: Ack, Fail (again, after a growing pause), Retry (again, after a pause that
// it chooses) or Reject (never again). Different actors work at the same time.
//
//	subscription, err := client.Subscribe(system, client.SubscriptionOptions{
//		Brokers: brokers,
//		Topics:  []string{"orders"},
//		Group:   "payments",
//		By:      client.ByKey,
//		Actor: client.Handler(func(ctx actor.Context, r *kgo.Record) error {
//			return pay(r.Value)
//		}),
//	})
//
// Processing is at least once. The group's committed offset is the end of what was
// acknowledged without a gap; what was acknowledged beyond it is kept in the
// commit's metadata, so that it is not repeated after a restart.
//
// An actor that panics, or whose handler fails, is restarted by its supervisor and
// gets the same record again; the later ones of that actor wait, all others flow
// on. After the last attempt the record goes to a dead-letter topic, with headers
// that say why and where it came from; Replay sends them back, as does the command
// `understudy dead-letters replay TOPIC`.
//
// Transform makes an actor that makes records of records, and acknowledges one
// when what came of it is written.
//
// # State
//
// Package client/state keeps what actors know in a compacted topic, and restores it
// when they are started anew. It is also a place for the events of actors that use
// Proto.Actor's own persistence.
//
// # Testing
//
// Package client/clienttest is a broker within a test, ready in milliseconds, or a
// cluster whose brokers can be killed.
//
// # Seeing it
//
// Assigned, Revoked, Retried and DeadLettered are published on the actor system's
// event stream. Metrics go to the Prometheus registry that the options name.
package client
