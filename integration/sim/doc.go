// Package sim runs whole clusters in one goroutine, from one seed: the same seed
// gives the same history, to the byte. Thousands of histories are run in a
// minute; one that breaks a promise is run again, read and made shorter.
//
// # What is real
//
// The actors of partitions, controller and consumer groups with their mailboxes and
// supervision, the replication core, the groups' core, producers' state, the log on
// the memory file system, the metadata's images and edits, election and placement are
// the broker's own. The actors run on a dispatcher that puts each of their turns into
// the simulation's queue. What a node does around them (joining, watching the others, asking the
// controller; the root package and cluster/link, cluster/membership and
// cluster/consul) is modelled here in the same order and with the same bounds,
// since it lives on goroutines and sockets.
//
//	 producers, consumers, groups         faults, by plan
//	        │ ▲                              │
//	        ▼ │                              ▼
//	┌─ process ─────────────┐   links   ┌─ process ─┐      store
//	│ partition actors      │◀─────────▶│    ...    │◀────▶ sessions, lock,
//	│ controller, groups    │           └───────────┘      transactions
//	│ member, watch, govern │
//	└──────┬────────────────┘
//	       ▼ disk (vfs.Mem: what was not synced can be lost)
//
// # What is checked
//
// A model (model.go) that knows nothing of the broker's code follows what any
// replica shows as committed, what producers were told and what consumers got,
// after every turn of every actor. What groups may have committed, and whose a
// partition may be, a ledger (ledger.go) knows by what their members were told. At the
// end everything heals, and the cluster must serve again within a bound, with all
// replicas in sync and identical, everything that was acknowledged in its place, and
// each group settled, with all that there is consumed and committed.
//
// # A seed
//
// A seed first draws a small configuration of its own (config.go: how many nodes,
// topics and clients, how slow the network is, which faults there are and how
// often) and a list of faults with their times (plan.go). A failing seed is
// repeated with fewer of them (shrink.go).
//
// # Reading order
//
// sim.go is a history from begin to end, loop.go its time. turns.go and
// routine.go are how actors and a node's goroutines run in it. process.go,
// boot.go, member.go, watch.go and govern.go are a node; links.go, store.go and
// disk.go what is around it; producer.go and consumer.go the clients; coordinate.go,
// group.go, groupmember.go and groupclient.go consumer groups; model.go, book.go and
// ledger.go the checks, compacted.go those of compacted logs; faults.go what goes wrong,
// versions.go upgrades among it; admin.go, operator.go and errand.go what people ask
// for; heal.go and alone.go how it ends.
package sim
