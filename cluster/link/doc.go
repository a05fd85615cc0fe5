// Package link is the transport between the nodes of a cluster: the messages of
// the replicas (cluster/replica) with the record batches in them, heartbeats, and
// small requests with answers. It tells what it sees of other nodes and decides
// nothing.
//
// # Connections
//
// Two nodes have one connection, TCP or TLS, for both directions. Of the two, the
// one with the lower id dials; so there is never a choice between two connections,
// which is where such code goes wrong. The other one, when it has no connection,
// knocks: it dials too, proves who it is, names the connection it has lost, and
// hangs up. That makes the first dial at once, however long it has been failing
// before; and it shows the second whether the process is there at all.
//
//	     node 1                              node 2
//	┌──────────────┐   hello … verdict   ┌──────────────┐
//	│ keeper of 2 ─┼──── dials ─────────▶│ accept       │
//	│              │                     │    │ offer   │
//	│ accept ◀─────┼──── knocks ─────────┼─ keeper of 1 │
//	│              │                     │              │
//	│ writer ══════╪════ frames ════════▶│ reader ──▶ OnMessage, OnHeartbeat, OnRequest
//	│ reader ◀═════╪════ frames ═════════╪═ writer      │
//	└──────────────┘                     └──────────────┘
//
// The handshake (hello.go) settles the protocol's version (version.go), compares cluster
// and ids, and, when a secret is configured, has both sides prove that they know it.
// Either side refuses the other with a Refusal that says why, on both sides. It is
// bounded in time, in size and in how many run at once, and allocates nothing that
// a stranger chooses. A secret keeps strangers out; it does not encrypt or sign
// what follows. Use TLS where others can reach the wire.
//
// A connection belongs to one start (broker epoch) of each node. When a newer
// start of a node has been seen, older ones are refused and their connections
// ended, and between Up and Lost nothing but that connection's messages are
// delivered.
//
// # Messages
//
// Send puts a message in its peer's queue and wakes the peer's writer, which takes
// everything that has gathered, up to 1 MiB, and writes it by one writev: small
// messages of many partitions leave together, and so do acknowledgements. Headers
// and payloads up to 4 KiB are copied side by side; larger payloads go out from
// where they are, to every follower from the same memory, which is held (Payload)
// until each of these writes has ended.
//
// The reader reads a payload into pooled memory, checks the batches' lengths and
// checksums, and hands them on as an Incoming, which somebody must Release.
//
// Messages may be lost, in two ways. With the connection: Lost and Up tell, and
// replica.PeerUp makes leaders ask where to go on. And one by one: Send says so
// with an error (its comment says what to do then), or the receiver passes a
// message over because its partition holds too much; that leader finds out as its
// follower rejects what comes next, or else by its timer, in 200 ms.
//
// # Bounds
//
// Each side grants the other a window: what was sent and not released never
// exceeds it, and who sends more is cut off. So a receiver never has to stop
// reading, and heartbeats, credits, requests and answers always get through; these
// have bounds of their own and go out before messages. A message counts 256 bytes
// beside its payload. Pooled memory is cut in powers of two, so that up to twice
// the window may be in use.
//
// One partition, if its replica is slow to release, may hold a quarter of the
// window; what comes for it beyond that is passed over, and others go on. Four
// such partitions can shut the window to messages of others until they get on,
// but not to anything else. Hence replica.Settings.Window and the largest message
// must fit in a quarter of Options.Window, as they do by default (4 and 1 MiB of
// 8). A batch larger than the whole window goes through when nothing else is on
// its way.
//
// The queue of each peer is bounded in bytes (Options.Queue), with room kept for
// messages without records, since acknowledgements for others' records must not
// wait for one's own. A batch of any size is let in while half of it is free. The
// queue refers to memory that others own; Backlog tells when to hold reads for
// followers that catch up back.
//
// # Seeing that a node has failed
//
// Anything heard is a sign of life; heartbeats see to it that there is something.
// A connection that the other side's kernel has ended is dialed again at once, and
// if that is refused the process is Gone: about a millisecond after a kill -9. A
// refused dial alone proves nothing. A node from which nothing was heard for 1.5 s
// is Silent, whether or not there is a connection; after 3 s the connection is
// given up and dialed anew, since TCP itself may take a minute to notice that the
// way is free again. It stays Silent until it is Back or Up. Only time in which
// this process runs is counted: one that was frozen, or starved of processor time,
// does not take the others for dead when it wakes.
//
// A firewall that answers for a host (with a reset and then a refusal) looks like
// a dead process. That costs an election and no records: epochs fence.
//
// # Requests
//
// Small requests go over the same connection, rather than through an actor
// library's remoting. What those would add (spawning, watching, an address for
// every actor) is not needed between nodes, and what they lack is: here a request
// has a deadline and a bound, an unknown kind is answered and crashes nobody, no
// request is lost in silence while its connection stands, none waits behind bulk
// data, and there is one handshake, one failure detector and one place to look. It
// is about 200 lines (request.go).
//
// # What was measured
//
// On two cores, all three nodes in one process, payloads not in any cache: one
// leader to two followers, checksums and acknowledgements included, takes 0.85
// CPU-seconds per GB at 64 KiB (1.5 GB/s), 1.0 at 16 KiB and 2.3 at 1 KiB; a round
// trip of 64 KiB to both followers 35 µs, of 1 KiB 14 µs. An acknowledgement
// costs 0.4 µs on both sides together, 800 in a write. None of it allocates. Idle, a
// node of three uses 0.1% of a core.
//
// Headers are of a fixed size in binary: 70 ns to write, check and read, 108
// bytes. The same fields in msgpack, with reused encoders, took 13 times as long,
// three allocations, and 109 bytes without frame and checksum.
//
// # Reading order
//
// options.go and event.go are what a caller sees, with link.go (Link, SetPeers,
// Send), incoming.go and request.go. frame.go and hello.go draw the formats.
// keeper.go sees to one peer's connection; conn.go, outbox.go, writer.go and
// framereader.go are the connection.
package link
