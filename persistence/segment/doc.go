// Package segment is one piece of a partition's log: a file of record batches
// back to back, with an index by offset and one by time beside it. The three
// files are byte for byte what Kafka writes, so that its tools read them.
//
//	00000000000000368769.log        batches, from offset 368769 on
//	00000000000000368769.index      relative offset -> position
//	00000000000000368769.timeindex  timestamp -> relative offset
//
// The log is the truth. An index only says where to begin looking: every lookup
// checks that the entry it followed names the batch that is there, and an index
// that is missing or wrong is built again from the log.
//
// A segment at rest costs some hundred bytes of memory and no open file. Files
// keeps the open ones of a whole broker below a bound.
package segment
