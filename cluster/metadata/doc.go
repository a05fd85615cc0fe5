// Package metadata holds what the whole cluster must agree on: which brokers
// there are, which topics, where the replicas of each partition are, who leads
// it and who is in sync, and the settings that can be changed while running.
//
// # The parts
//
// A [Store] keeps it durably as a flat map of keys to small JSON values. An
// [Image] is all of it at one revision, immutable, decoded and indexed for
// readers. The one writer (the active controller) makes an [Edit] of the latest
// image, commits its transaction to the store, and publishes the image that
// results in the broker's [Cell], from which every other layer reads without a
// lock and learns what changed.
//
//	Store ──Load──▶ Build ──▶ Image ──▶ Cell ──▶ readers, subscribers
//	  ▲                         │  ▲
//	  └──Commit── Txn ◀── Edit ◀┘  └── Seal(revision)
//
// # The keys
//
//	key                       value
//	ids/cluster               {"id":"MkU3OEVBNTcwNTJENDM2Qg"}
//	ids/producers             {"next":2000}
//	ids/retired               {"epoch":4}            of the brokers that were removed
//	controller                {"broker":1}
//	brokers/<id>              {"epoch":3,"host":"10.0.0.1","port":9092,"rack":"a","admin":"10.0.0.1:9644","directory":"K7…"}
//	                          if need be, also "down":"process gone, redial refused","draining":true
//	topics/<name>             {"id":"Zm9v...","partitions":6}
//	partitions/<name>/<n>     {"replicas":[1,2],"isr":[1,2],"leader":1,"leaderEpoch":7}
//	                          while it is moved, also "adding":[3],"target":[3,2]
//	configs/topics/<name>     {"retention.ms":"3600000"}
//	configs/brokers/<id>      {"log.retention.ms":"3600000"}
//	configs/brokers/default   the same, for all brokers
//
// The topic's own key is what makes a topic exist: it counts the partitions, and
// is written last and deleted first where a store's transactions are too small
// for a whole topic. Partition and config keys that no topic claims are
// leftovers of such an interrupted step. An image ignores them, knows their
// revisions, and an Edit can remove them.
//
// Keys of other kinds (acls/, users/, ...) belong to other packages and are
// passed over. Values are read strictly: an unknown field is an error, because a
// value that a newer version wrote and this one read by halves would be written
// back by halves. Every error names its key.
package metadata
