// Package kafka answers the requests of Kafka clients.
//
// A connection (package server) hands a Broker each request with its API key.
// The key leads through one table to one short file per API, which says at its
// top which versions are served and what each of them changed. Most requests are
// decoded and answered with franz-go's kmsg, after their shape has been checked
// (wire.Shape). Produce and Fetch, which carry the data, are read and written by
// hand: they allocate nothing per batch, record batches stay where the network or
// the disk has put them, and neither keeps a goroutine while it waits.
//
// The package decides nothing about topics and logs. It finds partitions through
// Partitions, metadata through an immutable image, and has changes made by Admin.
package kafka
