// Package wire holds what every Kafka request passes through below its meaning:
// the broker's memory budget and pooled buffers, the primitives of the protocol,
// and shapes, which prove that a request's counts and lengths fit in the bytes
// that came before anything is decoded from them.
package wire
