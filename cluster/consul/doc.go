// Package consul keeps a cluster's metadata in Consul's key/value store, and says
// who may write to it.
//
// # The keys
//
// Every key of a metadata.State is a key of Consul below a prefix, and its value
// the value, in JSON, so that `consul kv get -recurse understudy/<cluster>/` shows
// an operator what is the case. Three keys are this package's own affair:
//
//	controller   {"broker":1}                      also the lock: held by the controller's session
//	version      {"revision":57,"writer":"9f…"}    written by every transaction
//	restore      {"broker":1,…}                    only while a restore is under way
//
// # Revisions
//
// A key's revision, by which brokers and the controller tell whether they speak
// of the same thing, is in the flags of Consul's key: the same for all keys of a
// transaction, whichever index Consul gave them, and the same again after Consul
// has lost its data and a broker has put back its copy. Consul's own index of each
// key (ModifyIndex) is what transactions check; the [Store] knows which index
// goes with which revision from its last Load and its own transactions. A key
// whose flags are 0, because an operator has written it with `consul kv put`, has a
// revision of its own kind, which changes with every such write.
//
// The revision of the whole is the version key's. Whatever its checks are, each
// transaction also replaces the very version that it was based on, so there is a
// single line of transactions, and one that had no answer can be sent again
// without harm: if it is refused then, the version key's writer tells whether the
// first attempt was carried out.
//
// # One writer
//
// The controller holds the lock on the key "controller" with a session that hangs
// on its broker's check ([Store.Acquire]). The first operation of every transaction
// checks that it still does, so a controller that was deposed, without having
// heard of it, writes nothing. Being cut off from Consul loses the lock only when
// Consul says so; who knows better that the holder is gone can [Store.Depose] it.
//
// # Transactions larger than Consul's
//
// Consul takes 64 operations a transaction (128 since 1.14). A larger one is
// written in pieces, in an order in which every prefix is consistent (see the
// comment on phase). Until the last piece the version key counts the pieces, so
// that whoever reads in between is told to read again.
//
// # When Consul fails
//
// Calls wait and try again, with pauses of up to a second, as long as their
// context lets them, and tell so by typed events: once when it begins, every half
// minute, and when it is over. A refused token is an error at once. A Consul that
// knows less than it did, because it was set up anew or set back, is [ErrDataLost]
// for everybody who knew more; [Store.Restore] writes a copy back.
package consul
