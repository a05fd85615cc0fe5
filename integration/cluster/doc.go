// Package cluster holds clusters of real processes to what is promised of them
// while nodes fall, freeze and are cut off: brokers and Consul's servers, each in
// a network namespace of its own, and clients as people use them, franz-go and
// librdkafka, which produce and consume all the while.
//
// `make cluster` installs what is needed and runs everything once;
// REPEATS=20 repeats each fault as often, and SCENARIO=REGEXP picks tests by
// name. It needs root on Linux, and fails without.
//
// What is asserted is what must hold however slow the machine: each record that
// was acknowledged is there, once, in order; all consumers saw the same; replicas
// are byte for byte alike. Times are measured, and reported in the end.
//
// It is a module of its own, so that librdkafka stays out of the broker's
// dependencies.
package cluster
