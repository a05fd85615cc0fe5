// Package interop holds the real binary against the clients that people use:
// franz-go, Sarama, kafka-go, librdkafka through kcat, and Kafka's own Java
// tools. It is a module of its own, so that these clients stay out of the
// broker's dependencies. `make interop` installs what is needed and runs it.
//
// The same tests run against Apache Kafka itself with `make interop-reference`,
// which shows that it is the tests' expectations that are Kafka's.
package interop
