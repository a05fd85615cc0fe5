// Package client feeds Proto.Actor actors from the topics of a Kafka cluster, and
// lets actors send records to topics. It works with Understudy and with every
// other cluster that speaks Kafka's protocol, and imports nothing of a broker.
// Records are franz-go's, *kgo.Record, and so is the client below; TLS, SASL and
// whatever else it can do are given as its options.
//
// What follows needs a broker, `understudy server`, and an actor system:
//
//	brokers, system := []string{"127.0.0.1:9092"}, actor.NewActorSystem()
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
// Failures of records that were sent without a request are published on the system's
// event stream, as *Failed.
//
// What waits to be written is bounded. When there is no room, a record fails with
// ErrFull at once; an actor that would rather wait asks for room first, and sends as
// much as it is given:
//
//	case *actor.Started:
//		ctx.Request(producer.PID(), client.WaitForRoom{Records: 50})
//	case client.Room: // send m.Records records, and ask again
//
// Flush, or the message of that name, waits until everything is written. So does
// stopping: end a program with
//
//	err = producer.Stop(ctx)
//
// # Consuming
//
// A subscription takes part in a consumer group and spawns actors: one for each
// partition, for each key, or for whatever a function makes of a record. Different
// actors work at the same time; each gets its records one after the other. The
// simplest kind is a function:
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
// An actor that is more than a function receives Delivery messages, and says of each,
// during its turn or later, what became of it: Ack, Fail (again, after a pause that
// grows), Retry (again, after a pause that it chooses) or Reject (never again). It may
// have up to 64 that it has said nothing of.
//
// Actors are spawned when the first record comes for them, and stopped when none has
// come for IdleAfter; that they are stopped they learn as any actor does.
//
// Transform makes an actor that makes records of records, and acknowledges one
// when what came of it is written.
//
// # What is promised
//
// Processing is at least once. The group's committed offset is the end of what was
// acknowledged without a gap; what was acknowledged beyond it is kept in the
// commit's metadata, so that it is not repeated after a restart.
//
// An actor that panics, or whose handler fails, is restarted by its supervisor and
// gets the same record again; the later ones of that actor wait, all others flow
// on. After the last attempt the record goes to a dead-letter topic, with headers
// that say why and where it came from; Replay sends them back, as does the command
// `understudy dead-letters replay TOPIC`. One that is too large for that topic goes there
// without its value, and stays: HeaderCut says so, and the others where the record is.
//
// What is in flight is bounded, in records and in bytes. An actor that blocks does not
// take the room of others: see SubscriptionOptions.MaxAside.
//
// When a partition goes to another member, nothing new is delivered, what is being
// done may end (DrainWithin), what was acknowledged is committed, and the partition's
// actors stop; then the other has it. Stop does the same for all partitions. With an
// InstanceID a member that is soon back keeps what it had. Who writes somewhere else
// can tell by Delivery.Assignment what comes late from a member that was replaced.
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
// Assigned, Revoked, SetAside, Retried and DeadLettered are published on the actor
// system's event stream, and logged if there is a Log. These metrics, each with the
// group, go to the Prometheus registry that the options name:
//
//	understudy_client_deliveries_total      records sent to actors, repetitions included
//	understudy_client_actor_failures_total  actors that panicked
//	understudy_client_retries_total         records that failed and were delivered again
//	understudy_client_dead_letters_total    records that went to the dead letters
//	understudy_client_consumer_lag          records to the end, by topic and partition
//	understudy_client_in_flight_records     polled and not acknowledged
//	understudy_client_aside_records         not kept, and to be read again
package client
