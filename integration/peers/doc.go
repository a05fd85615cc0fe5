//go:build linux

// Command peers measures Understudy beside others that do its job: Apache Kafka
// and NATS JetStream, with three nodes each on this machine, and beside a bare
// skeleton of a replicated log, which is about the best that can be had.
//
// What makes the figures comparable: one system runs at a time, in turn, for
// several rounds, of which the median counts, with minimum and maximum beside it;
// what speaks Kafka's protocol is loaded by the same client with the same options;
// records are random bytes; every system gets the same partitions, replicas and
// acknowledgements; who syncs before it acknowledges is never compared with who
// does not, unless the line says so. The client shares the machine, so the CPU
// seconds of all brokers for a gigabyte count as much as the throughput. A sink,
// which answers and does nothing else, shows what the client can do at most.
//
//	go run . -list                        what there is to measure
//	go run . -quick                       a useful part, in about ten minutes
//	go run . -only 'produce-1k' -rounds 5
package main
