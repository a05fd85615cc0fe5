// Package log is the log of one partition: segments of record batches, what is
// known of them, and how all of it survives the loss of power.
//
// # Who may call what
//
// A Log has one owner, the partition's actor. It alone calls what changes the log.
// Start, End, Durable, Epochs, Size, Checkpoint and Err may be called by anyone.
// Readers need nothing of this: Publish gives the owner an immutable View, which
// any number of goroutines read without asking.
//
// # What is durable when
//
// Append writes and does not wait for the disk. Flush asks the broker's scheduler
// for a sync; what it reports is durable: the bytes, the names of the files they
// are in, the indexes and producer snapshots of segments that are complete, and
// the epochs. So Durable never passes anything that recovery would need and not
// find.
//
//	<dir>/00000000000000000000.log        batches, byte for byte as Kafka writes them
//	<dir>/00000000000000000000.index      see package segment
//	<dir>/00000000000000000000.timeindex
//	<dir>/00000000000000004711.snapshot   idempotent producers, before offset 4711
//	<dir>/leader-epoch-checkpoint         where each leader epoch began, in Kafka's text format
//	<dir>/log-state                       log start and truncations, written before they are done
//	<dir>/durable-offset                  up to where a sync has succeeded, written after it
//
// The last one is written after each sync and not synced itself. If only the
// process died it is exact; if the power failed it may be old, and what it says
// is still true. So recovery knows what must be there: bytes below the largest
// offset that the checkpoint or this file claims are never cut off in silence.
//
// # Recovery
//
// A log that was closed in order is opened by its checkpoint alone, without a
// look at the disk. Otherwise what lies above the recovery point is read, every
// CRC is checked, offsets must follow each other and epochs must not fall. The
// first batch that fails ends the log if it lies above everything that was ever
// reported durable: it was being written when the power failed, and nobody was
// told of it. Below that it is damage, and Open fails and names the file and the
// position, unless it is told to accept the loss.
package log
