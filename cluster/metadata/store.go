package metadata

import (
	"context"
	"errors"
)

// Store keeps the cluster's metadata: a flat map of keys to small values, with a
// revision that rises with every change. cluster/local keeps it under the data
// directory of a broker that runs alone; a consensus store serves a cluster.
//
// There is one writer at a time (the active controller), and what it writes is
// checked against what it has read, so a writer that was replaced changes nothing.
type Store interface {
	// Load reads everything.
	Load(ctx context.Context) (State, error)
	// Commit applies a transaction as a whole, durably, or not at all. It returns
	// the new revision, or ErrConflict when a check did not hold.
	Commit(ctx context.Context, txn Txn) (revision int64, err error)
	// Watch returns the current revision as soon as it is greater than after.
	Watch(ctx context.Context, after int64) (revision int64, err error)
}

// State is everything in a Store at one revision.
type State struct {
	Revision int64
	Entries  map[string]Entry
}

// Entry is one key's value and the revision of the transaction that wrote it.
type Entry struct {
	Value    []byte // JSON
	Revision int64
}

// Txn is a set of checks and of changes. Keys may appear once in each.
type Txn struct {
	Checks  []Check
	Puts    []Put
	Deletes []string // deleting a missing key is no error
}

// Check holds when the key's current revision is Revision; 0 means that the key
// must not exist.
type Check struct {
	Key      string
	Revision int64
}

// Put sets a key's value.
type Put struct {
	Key   string
	Value []byte
}

// ErrConflict reports that a transaction's check did not hold: someone else
// has changed what it was based on. Nothing was written; but of a transaction that
// a store had to split, what came before the check may be: it is consistent by
// itself, and deciding afresh completes it.
var ErrConflict = errors.New("metadata has changed meanwhile")
