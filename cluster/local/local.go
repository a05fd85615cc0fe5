// Package local keeps the metadata of a broker that runs alone: a metadata.Store
// embedded under the data directory, or in memory. What Commit acknowledged is on
// disk; whatever happens, a transaction is found whole or not at all.
package local

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/persistence/vfs"
)

// ErrClosed is what a closed Store answers.
var ErrClosed = errors.New("the metadata store is closed")

// DefaultCompactBytes is Options.CompactBytes where it is 0.
const DefaultCompactBytes = 4 << 20

// Options of a Store on disk.
type Options struct {
	// CompactBytes is by how much the file may outgrow twice its snapshot before
	// it is replaced by a new snapshot. 0 is DefaultCompactBytes.
	CompactBytes int64
}

// Store is a metadata.Store in one process. It is safe for concurrent use;
// transactions are carried out one after the other. Only one Store may be open
// on a directory, which the caller sees to with a lock.
//
// When a write or a sync fails nobody knows what is on disk, so the Store is
// failed for good: what it holds can be read, and every Commit gets the error.
type Store struct {
	commit sync.Mutex // held by one Commit or Close at a time, also during its I/O
	file   *file      // nil in memory
	err    error      // why no Commit is taken any more

	mu      sync.RWMutex // guards what follows; never held during I/O
	state   metadata.State
	changed chan struct{} // closed at the next change, or when closed
	closed  bool
}

var _ metadata.Store = (*Store)(nil)

// NewMemory makes an empty Store that nothing is left of.
func NewMemory() *Store { return newStore(metadata.State{Entries: map[string]metadata.Entry{}}, nil) }

func newStore(state metadata.State, f *file) *Store {
	return &Store{file: f, state: state, changed: make(chan struct{})}
}

// Open opens the Store in a directory, and makes both if they are missing. What
// an unfinished Commit left behind is cut off; damage anywhere else is an error
// that names the file and the position, and the file stays as it is.
func Open(fsys vfs.FS, dir string, o Options) (*Store, error) {
	if o.CompactBytes <= 0 {
		o.CompactBytes = DefaultCompactBytes
	}
	f, state, err := openFile(fsys, dir, o.CompactBytes)
	if err != nil {
		return nil, err
	}
	return newStore(state, f), nil
}

// Load implements metadata.Store. The map is the caller's; the values are shared
// and must not be changed.
func (s *Store) Load(ctx context.Context) (metadata.State, error) {
	if err := ctx.Err(); err != nil {
		return metadata.State{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return metadata.State{}, ErrClosed
	}
	return metadata.State{Revision: s.state.Revision, Entries: maps.Clone(s.state.Entries)}, nil
}

// Commit implements metadata.Store. A transaction that changes nothing (no puts,
// and deletes of missing keys only) leaves the revision as it is.
func (s *Store) Commit(ctx context.Context, txn metadata.Txn) (int64, error) {
	if err := checkKeys(txn); err != nil {
		return 0, err
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if s.err != nil {
		return 0, s.err
	}
	// Only Commit changes the state, and it has the commit lock: reading needs no other.
	if !holds(s.state, txn.Checks) {
		return s.state.Revision, metadata.ErrConflict
	}
	c := s.changeOf(txn)
	if len(c.puts)+len(c.deletes) == 0 {
		return s.state.Revision, nil
	}
	if s.file == nil {
		s.apply(c)
		return c.revision, nil
	}
	if err := s.commitToDisk(c); err != nil {
		return 0, err
	}
	return c.revision, nil
}

// commitToDisk makes a change durable before it is visible.
func (s *Store) commitToDisk(c change) error {
	frame, err := s.file.encode(c)
	if err != nil {
		return messages.E("commit metadata", messages.InvalidRequest, "", err)
	}
	if err := s.file.append(frame); err != nil {
		s.err = failed(err)
		return s.err
	}
	s.apply(c)
	// The transaction is durable and thereby acknowledged, however this ends.
	if err := s.file.compact(s.state); err != nil {
		s.err = failed(err)
	}
	return nil
}

// failed is the error of a Store whose disk has failed.
func failed(cause error) error {
	return messages.E("commit metadata", messages.StorageError, "no changes are taken until a restart", cause)
}

// checkKeys refuses a transaction whose outcome would depend on an order.
func checkKeys(txn metadata.Txn) error {
	changed := make(map[string]bool, len(txn.Puts)+len(txn.Deletes))
	for _, p := range txn.Puts {
		if changed[p.Key] {
			return messages.E("commit metadata", messages.InvalidRequest, p.Key, errors.New("key is changed twice"))
		}
		changed[p.Key] = true
	}
	for _, key := range txn.Deletes {
		if changed[key] {
			return messages.E("commit metadata", messages.InvalidRequest, key, errors.New("key is changed twice"))
		}
		changed[key] = true
	}
	return nil
}

// holds tells whether every check holds.
func holds(state metadata.State, checks []metadata.Check) bool {
	for _, c := range checks {
		if state.Entries[c.Key].Revision != c.Revision {
			return false
		}
	}
	return true
}

// changeOf is what a transaction changes. The values are copied: they stay.
func (s *Store) changeOf(txn metadata.Txn) change {
	c := change{revision: s.state.Revision + 1}
	for _, p := range txn.Puts {
		c.puts = append(c.puts, put{p.Key, metadata.Entry{Value: slices.Clone(p.Value), Revision: c.revision}})
	}
	for _, key := range txn.Deletes {
		if _, ok := s.state.Entries[key]; ok {
			c.deletes = append(c.deletes, key)
		}
	}
	return c
}

// apply makes a change visible and wakes the watchers.
func (s *Store) apply(c change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.apply(&s.state)
	close(s.changed)
	s.changed = make(chan struct{})
}

// Watch implements metadata.Store.
func (s *Store) Watch(ctx context.Context, after int64) (int64, error) {
	for {
		s.mu.RLock()
		revision, closed, changed := s.state.Revision, s.closed, s.changed
		s.mu.RUnlock()
		switch {
		case closed:
			return 0, ErrClosed
		case revision > after:
			return revision, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Close ends the Store; it waits for a Commit that is under way. Watchers get
// ErrClosed, as does every later call.
func (s *Store) Close() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.closed, s.err = true, ErrClosed
	close(s.changed)
	if s.file == nil {
		return nil
	}
	return s.file.close()
}
