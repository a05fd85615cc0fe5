// Package replica is the replication core of one replica of one partition: who
// leads, what is appended, what is sent, what is committed and who is answered.
// It decides and does nothing: no disk, no network, no clock, no goroutines. Its
// inputs are method calls, its outputs values (Effects) that the caller carries
// out. A single broker runs the same core as a cluster, with an in-sync set of
// one.
//
// # Being its caller
//
// One actor owns a Replica and does, forever:
//
//	for each input that has come {
//		r.Propose(…)    // from producers;  r.Await, r.DeleteBefore, r.Confirm
//		r.Receive(…)    // from other replicas
//		r.Assign(…)     // from the metadata;  r.Configure, r.Refused
//		r.Flushed(…)    // from the log;  r.Loaded, r.Trimmed
//		r.PeerDown(…)   // from failure detection;  r.PeerUp, r.Isolate
//		r.Tick(now)     // from a clock, unless r.Idle()
//	}
//	for r.Take(&effects) {
//		carry out effects, field by field, in the order of the fields
//	}
//
// Many inputs may be given before Take: their appends, flushes and messages are
// then done together. The comments on the fields of Effects say what must have
// happened before what, and why. What else the caller owes:
//
//  1. Before New, open the log. Hand over what is on disk, the Status.Committed
//     that was recorded last, and in LedEpoch the newest epoch that may have been
//     led before, of which the log may have lost the end.
//  2. Batches are checked (CRC, counts) before Propose and Receive. Their bytes
//     must stay as they are until they are appended and until every message of
//     Effects.Send that holds them was sent or given up. The slices that hold the
//     batches are used again by the next Take.
//  3. Flush, unlike the rest, only begins something; call Flushed when it has
//     ended. Completions that belong to an earlier Replica of the same partition
//     must not reach a later one. Every Read is answered with one Loaded.
//  4. If the log fails in any way: give the answers in hand with the cause in their
//     place, Stop, and do the same with those that come of it, since what stands
//     before them in the effects is not carried out; then open the log again and begin
//     with New. What a failed flush covered is lost, even if it can still be read.
//  5. Messages go to the replica of the same partition on the other node with
//     the sender's id, in order as long as the connection stands. They may be
//     lost; when a connection was lost, tell both sides PeerUp when there is a
//     new one. Messages for a replica that is not there are dropped: it says hello
//     when it is.
//  6. Assignments reach a replica in the order of their revisions. One that an
//     assignment leaves out is ended, and its successor hears of none before that.
//  7. The controller grants an ISRChange only if its epoch and revision are still
//     the partition's and the named starts of the members are current; makes a
//     new revision of each that it grants; keeps every epoch to one leader; elects
//     from the in-sync set, or records UncleanEpoch; answers a Resignation with a
//     new epoch; and takes a broker that returns with an empty disk out of all
//     in-sync sets before it counts as up.
//
// # How it works
//
// The leader pushes: batches leave for every follower as they are appended,
// without waiting for acknowledgements, up to a window of bytes. A follower
// appends, and acknowledges what is on its disk, many batches at a time. Idle
// partitions exchange nothing.
//
//	producer          leader                    follower
//	   │  Propose        │                          │
//	   │────────────────>│ Append, Send, Flush      │
//	   │                 │─────────────────────────>│ Append, Flush
//	   │                 │ Flushed                  │ Flushed
//	   │                 │<─────────────────────────│ Ack{End, Durable}
//	   │  Answer         │ high watermark rises     │
//	   │<────────────────│                          │
//	   │                 │  (with the next records, or at the next tick)
//	   │                 │─────────────────────────>│ high watermark rises
//
// A new leader asks every follower whether their logs agree up to its log end.
// Two records of the same offset and epoch are the same, and so is all before
// them, because an epoch has one leader, which never writes an offset twice. So a
// follower need only compare the epoch of the record before the question's base.
// If it differs, or the log ends before, the follower answers with the newest
// epoch it has that is not newer, and where that ends; the leader asks again
// there. Each question goes back by at least an epoch; at the log start there is
// nothing left to compare. Batches that come where others are cut those off.
//
// Each replica compacts its log by itself, below its high watermark, and leaves
// gaps for what it removes: batches that have the offsets and the epoch of what was
// there, and nothing else. So logs go on following their offsets without holes, and
// are compared by epochs as before. The bounds of a gap, unlike those of batches,
// are not the same in all logs: a follower takes of one what it lacks.
//
// An offset is committed, and the high watermark above it, when every member of
// the largest possible in-sync set holds it on disk: those in the set as it is in
// the metadata, and those in any set that was proposed since. It does not rise
// while the set is smaller than min.insync.replicas (and not below any number of
// members by itself: only the controller changes the set). A follower whose
// acknowledgements always come a little late, because producers do not wait for
// it, is counted for a tick or two before it is a member, so that it can join.
//
// A replica can move away and back within an epoch, and its node hears of that last:
// then it deletes what it acknowledged meanwhile. So whoever is to join is asked after
// each new revision, and answers only when its node has heard of that too. What is
// granted builds on the newest revision, so that nothing lies between.
//
// A member whose log fails has that said for it (TypeFailed), and leaves the in-sync
// set at once rather than after replica.lag.time.max.ms. It is asked from then on,
// and comes back when there is a log again that answers.
//
// What makes a deposed leader harmless is the epoch: whoever has heard of a newer
// one refuses its messages, and at least one of those it needs has, as the new
// leader was elected among them. When it hears that, or gets the metadata, it
// answers everybody who waits with NotLeader. Those may have been committed: a
// producer that repeats itself finds out.
//
// With write caching, in all of this "has appended" stands for "has on disk".
//
// # What it promises
//
//   - Nobody is told that an acks=all record is committed before it is on disk in
//     every in-sync replica, and in as many as min.insync.replicas.
//   - Replicas are identical below their high watermarks, but for records that
//     compaction has removed, and no replica removes anything else below its own:
//     it breaks (Effects.Broken) rather than do so, unless
//     unclean elections or write caching have made that loss legal.
//   - A leader's high watermark never falls. That of a new leader starts from what
//     it heard as a follower, and may be behind what consumers were shown before,
//     until Status.Settled.
//   - A replica never leads one epoch twice, and never when it knows to have lost
//     what was committed; it resigns.
//   - Lost, doubled, late and overtaking messages do no harm, nor do late metadata.
//
// These are checked by random histories (history_test.go) and shown, message by
// message, by the scripts in testdata.
//
// # Reading order
//
// effects.go and message.go are the vocabulary. replica.go has the state and the
// inputs, assign.go the changes of role (state diagram: Replica), leader.go,
// progress.go (state diagram: progress) and isr.go what a leader does, follower.go
// what a follower does, epochs.go the comparison of logs.
package replica
