// Package compact rewrites segments of a log so that of every key only the last
// record stays, at the offset that it has.
//
// A Job names the segments, which no one changes meanwhile; a Worker does it:
//
//  1. reads what was not compacted before, and remembers for each key, in a Map
//     of bounded size, the offset of its last record;
//  2. reads all segments from the first on, leaves out the records of which the
//     Map knows a later one, and writes what stays to new segments, as many of
//     the old ones in one as there is room for. Each is synced and then handed
//     over (Worker.Swap) to take the place of the old ones.
//
// If the Map is full before the end is reached, what lies beyond is left for the
// next time. Batches keep their offsets, producers and codecs; one of which every
// record stays is copied as it is. Where all records of batches are gone, a gap
// (batch.Gap) holds the place of their offsets, so that the log stays without
// holes and everything that reads it goes on checking that.
//
// What stays although a later record has its key: nothing that is read, but the
// last batches of each producer stay as batches without records, so that what a
// producer may send again can be found in the log alone; batches of transactions and
// those that cannot be unpacked within bounds stay as they are.
//
// A record without a value is a tombstone: it removes the earlier ones of its key
// and stays itself until the delete horizon, which is written into its batch when
// it is first passed over (KIP-534), so that consumers which began before can see
// it. It also stays as long as there may be replicas that have not got it: they
// would have the record that it removes for ever.
package compact
