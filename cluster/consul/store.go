package consul

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// Keys of the Store's own, which are no part of a metadata.State.
const (
	versionKey = "version"
	restoreKey = "restore"
)

// Reasons for which the Store refuses.
var (
	// ErrNotLocked is why nothing can be written: this broker does not hold the
	// controller's lock, or no longer. Such an error also is a metadata.ErrConflict.
	ErrNotLocked = errors.New("the controller's lock is not held")
	// ErrDataLost is what Load and Watch say when Consul knows less than was read
	// from it before, or nothing of a cluster that there must be.
	ErrDataLost = errors.New("consul's data is lost or old")
	// ErrRestoring is what Load says while metadata is being written back, and when
	// that was not completed: what is there is some of it.
	ErrRestoring = errors.New("metadata is being written back, or was in part")
	// ErrOtherCluster is what Load says when the metadata is another cluster's.
	ErrOtherCluster = errors.New("the metadata is of another cluster")
	// ErrClosed is what a closed Store answers.
	ErrClosed = errors.New("the metadata store is closed")
)

// Limits of a Consul transaction. Since 1.14 it takes 128 operations, before 64.
const (
	DefaultMaxOps   = 64
	defaultMaxBytes = 384 << 10 // of the 512 KiB that a server takes by default
)

// Options of a Store.
type Options struct {
	Client *Client
	Prefix string // of all keys; "" is "understudy/<Cluster>/"

	Cluster string                                 // the cluster's name, for Prefix
	Broker  messages.BrokerID                      // who this is, written into the lock
	Session func(context.Context) (Session, error) // waits for a live session; needed for Acquire only

	// ClusterID is the id of the cluster that must be found, "" if any may be.
	// From the first Load on it is the one found.
	ClusterID string

	// MaxOps is how many operations a transaction of Consul may have; 0 is
	// DefaultMaxOps.
	MaxOps int

	// Events is told what happens; it must not block. May be nil.
	Events func(Event)
}

// Store is a metadata.Store in Consul, and the lock that says who may write to
// it. It is safe for concurrent use. Calls wait while Consul is away, as long as
// their context lets them.
type Store struct {
	o       Options
	contact *Contact
	limits  limits
	ctx     context.Context // ends with the Store
	stop    context.CancelFunc

	turn chan struct{} // holds one token: of the one Load or Commit at a time

	// What is known of Consul, for whoever holds the turn.
	current bool             // what follows is as of the last Load or Commit
	known   map[string]stamp // every key
	version version          // of the version key
	highest int64            // revision of anything

	mu        sync.Mutex // guards what follows; never held during a call
	hold      *Hold      // the lock, while it is held
	seen      int64      // the greatest version read
	lost      *version   // the version that was told to be too old
	clusterID string
}

var _ metadata.Store = (*Store)(nil)

// version is the value of the version key. Every transaction writes it, which is
// what brokers watch and what makes one transaction follow the other.
type version struct {
	Revision int64  `json:"revision"`
	Writer   string `json:"writer"` // drawn for each transaction: tells whose write this is
	index    uint64 // Consul's; 0 while there is no such key
}

// Open makes a Store. Nothing is sent before the first call.
func Open(o Options) (*Store, error) {
	if o.Client == nil {
		return nil, messages.E("open metadata", messages.InvalidConfig, "", errors.New("no connection to consul"))
	}
	if o.Prefix == "" {
		prefix, err := Prefix(o.Cluster)
		if err != nil {
			return nil, err
		}
		o.Prefix = prefix
	}
	if o.MaxOps <= 0 {
		o.MaxOps = DefaultMaxOps
	}
	if o.Events == nil {
		o.Events = func(Event) {}
	}
	s := &Store{
		o: o, contact: NewContact(o.Client, o.Events), limits: limits{ops: o.MaxOps, bytes: defaultMaxBytes},
		turn: make(chan struct{}, 1), clusterID: o.ClusterID,
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Close ends the Store: calls under way end with ErrClosed, and a lock that is
// held counts as lost, though Consul keeps it until the session ends: Release
// it first.
func (s *Store) Close() error {
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	s.stop()
	s.mu.Lock()
	h := s.hold
	s.mu.Unlock()
	if h != nil {
		h.lose(ErrClosed)
	}
	return nil
}

// enter waits for the turn and ties ctx to the Store's life.
func (s *Store) enter(ctx context.Context) (context.Context, func(), error) {
	ctx, cancel := s.bind(ctx)
	select {
	case s.turn <- struct{}{}:
		if err := s.ended(ctx); err != nil {
			<-s.turn
			cancel()
			return nil, nil, err
		}
		return ctx, func() { <-s.turn; cancel() }, nil
	case <-ctx.Done():
		cancel()
		return nil, nil, s.ended(ctx)
	}
}

// bind makes a context that also ends when the Store is closed.
func (s *Store) bind(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// ended is the error of a context that bind made, or nil.
func (s *Store) ended(ctx context.Context) error {
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	return ctx.Err()
}

// Load implements metadata.Store: one recursive read, as of now.
func (s *Store) Load(ctx context.Context) (metadata.State, error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return metadata.State{}, err
	}
	defer leave()
	return s.load(ctx)
}

func (s *Store) load(ctx context.Context) (metadata.State, error) {
	var pairs api.KVPairs
	var before int64
	err := s.contact.Retry(ctx, "load metadata", s.o.Prefix, func(ctx context.Context) (err error) {
		o, cancel := s.o.Client.Read(ctx)
		defer cancel()
		before = s.sawSoFar()
		pairs, _, err = s.o.Client.api.KV().List(s.o.Prefix, o)
		return err
	})
	if err == nil && !slices.ContainsFunc(pairs, func(p *api.KVPair) bool { return p.Key == s.o.Prefix+versionKey }) {
		// To who may not read them Consul lists no keys, without a word. Asked
		// for a single one it says so.
		_, err = s.readVersion(ctx)
	}
	if err != nil {
		return metadata.State{}, s.orClosed(err)
	}
	return s.adopt(pairs, before)
}

// orClosed puts ErrClosed in the place of an error that Close brought about.
func (s *Store) orClosed(err error) error {
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}

// adopt takes what was read for what is known. before is what had been seen when
// the reading began: what was seen meanwhile may be newer than what was read.
func (s *Store) adopt(pairs api.KVPairs, before int64) (metadata.State, error) {
	state := metadata.State{Entries: make(map[string]metadata.Entry, len(pairs))}
	known, v := make(map[string]stamp, len(pairs)), version{}
	highest, restoring := int64(0), false
	for _, p := range pairs {
		key := strings.TrimPrefix(p.Key, s.o.Prefix)
		switch key {
		case "":
			continue
		case restoreKey:
			restoring = true
			continue
		case versionKey:
			v = readVersion(p)
			continue
		}
		st := stampOf(key, p)
		known[key] = st
		state.Entries[key] = metadata.Entry{Value: p.Value, Revision: st.revision}
		if st.revision < byHand {
			highest = max(highest, st.revision)
		}
	}
	if err := s.recognise(v, before, state.Entries[metadata.ClusterIDKey].Value); err != nil {
		return metadata.State{}, err
	}
	if restoring {
		return metadata.State{}, messages.E("load metadata", messages.StorageError, s.o.Prefix, ErrRestoring)
	}
	state.Revision = v.Revision
	s.known, s.version, s.highest, s.current = known, v, max(highest, v.Revision), true
	return state, nil
}

// byHand is added to Consul's index to make the revision of a key whose flags
// are 0: of the lock, and of what an operator wrote with `consul kv put`. Every
// such write has a revision of its own, which none of ours ever reaches.
const byHand int64 = 1 << 62

func stampOf(key string, p *api.KVPair) stamp {
	s := stamp{revision: int64(p.Flags), index: p.ModifyIndex}
	if p.Flags == 0 || s.revision < 0 || s.revision >= byHand {
		s.revision = byHand | int64(p.ModifyIndex)
	}
	if strings.HasPrefix(key, topicPrefix) {
		s.value = p.Value
	}
	return s
}

// readVersion reads the version key's value. What cannot be read counts as
// revision 0, which is found to be too old.
func readVersion(p *api.KVPair) version {
	if p == nil {
		return version{}
	}
	var v version
	if json.Unmarshal(p.Value, &v) != nil {
		v = version{}
	}
	v.index = p.ModifyIndex
	return v
}

// recognise refuses metadata that is not the one known so far, or less of it than
// had been seen before.
func (s *Store) recognise(v version, before int64, clusterID []byte) error {
	var id struct{ ID string }
	json.Unmarshal(clusterID, &id) // what cannot be read is no id
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case v.Revision < before, s.clusterID != "" && id.ID == "":
		return s.tellLost(v)
	case s.clusterID != "" && id.ID != s.clusterID:
		return messages.E("load metadata", messages.InvalidConfig, s.o.Prefix, fmt.Errorf("%w: %s is there, want %s", ErrOtherCluster, id.ID, s.clusterID))
	}
	s.clusterID, s.seen, s.lost = id.ID, max(s.seen, v.Revision), nil
	return nil
}

// tellLost tells once for each state that is too old. The lock is held.
func (s *Store) tellLost(v version) error {
	if s.lost == nil || *s.lost != v {
		s.lost = &v
		s.o.Events(DataLost{Seen: s.seen, Found: v.Revision})
	}
	return messages.E("load metadata", messages.StorageError, s.o.Prefix, s.lostAs(v))
}

// lostAs is ErrDataLost with what was found. The lock is held.
func (s *Store) lostAs(v version) error {
	return fmt.Errorf("%w: revision %d was there, now %d", ErrDataLost, s.seen, v.Revision)
}

// Lost is ErrDataLost from when it was found until metadata that can be the
// cluster's is read again; else nil.
func (s *Store) Lost() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == nil {
		return nil
	}
	return s.lostAs(*s.lost)
}

// Know tells the Store what is known of the metadata otherwise: the cluster's id, ""
// if it is not known, and a revision that there was. A Consul that has less, or
// another cluster's, has lost it.
func (s *Store) Know(clusterID string, revision int64) {
	s.saw(revision)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clusterID == "" {
		s.clusterID = clusterID
	}
}

// saw enters a version that was written or read.
func (s *Store) saw(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = max(s.seen, revision)
}

// sawSoFar is the newest version that was written or read.
func (s *Store) sawSoFar() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// newWriter draws a name for a transaction.
func newWriter() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
