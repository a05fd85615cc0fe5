// Package interop holds the real binary against the clients that people use:
// franz-go, Sarama, kafka-go, librdkafka through kcat and confluent-kafka,
// kafka-python, KafkaJS, rskafka, and Kafka's own Java clients and tools. It is a module of
// its own, so that these clients stay out of the broker's dependencies. `make
// interop` installs what is needed and runs it; `make interop-table` writes the
// README's table from the outcome.
//
// A client in another language is a driver: a small program in clients/ that does
// what it is told, line by line, so that all clients go through the same tests.
//
// The same tests run against Apache Kafka itself with `make reference`, which
// shows that it is the tests' expectations that are Kafka's.
package interop
