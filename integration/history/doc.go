// Package history is what clients of a log did and were told, written down while
// it happens, and the judge of it. It knows nothing of brokers: simulated
// clusters, real processes and other systems are all held to the same.
//
// # The format
//
// A history is a stream of events in the order in which they were noticed: a call
// before it is made, an answer after it has come. So what an event says had
// happened when it stands there, and what was begun before it may still go on.
// A file begins with the four bytes "USH1". Then event follows event:
//
//	┌──────┬───────────────────────────────────────────────┐
//	│ type │ fields: uvarints, in this order               │
//	├──────┼───────────────────────────────────────────────┤
//	│ 1    │ process    id, flags, length, name            │ who acts; also consumer groups
//	│ 2    │ partition  id, number, length, topic          │
//	│ 3    │ send       process, partition, txn, call, value │ before a record is sent
//	│ 4    │ ok         value, offset                      │ it was acknowledged there
//	│ 5    │ fail       value                              │ it was refused for good
//	│ 6    │ poll       process, partition, txn, flags, n, │ what a consumer got, and
//	│      │            n × (offset, value)                │ n offsets as zigzag differences
//	│ 7    │ place      process, partition                 │ a consumer begins anew: assigned, or sought
//	│ 8    │ start      partition, offset                  │ records below may be deleted
//	│ 9    │ end        partition, offset                  │ somebody saw the high watermark there
//	│ 10   │ ending     txn, 1: to commit, 0: to abort     │ before a transaction is ended
//	│ 11   │ ended      txn, 1: done, 0: refused           │
//	│ 12   │ commit     process, partition, offset, call   │ before a group's offset is committed
//	│ 13   │ committed  call                               │ it was acknowledged
//	│ 14   │ fetching   process, partition, call           │ before a group's offset is read back
//	│ 15   │ fetched    call, offset                       │ what it was
//	│ 16   │ note       length, text                       │ a fault, for who reads
//	└──────┴───────────────────────────────────────────────┘
//
// A value names one record: nobody sends the same twice. It is any number but 0;
// Value makes one of a text. Transactions (txn) have numbers of their own from 1
// on, 0 is none. A send that neither succeeds nor fails may have happened or not.
// A record costs about 20 bytes, sent, acknowledged and read once.
//
// # What is found
//
// See Kind. A Checker takes events one at a time and keeps about 60 bytes for each
// record; a Recorder hands them, from many goroutines, to a Writer or to a Checker.
package history
