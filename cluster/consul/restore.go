package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// Restore writes a broker's own copy of the metadata back into a Consul that has
// lost it. As in an interrupted one nothing is to be seen of a restore before its
// last piece: the id of the cluster and the version key, without which Load finds
// no metadata, are written by it. A marker under the key "restore" is checked by
// every piece, so that of two restores at once only the later goes on; it first
// removes what the earlier has written.
//
// The revisions of all keys are kept, so that brokers recognise what they have.
// The revision of the whole is raised by restoreGap, beyond what any broker may
// have read before the loss.
const restoreGap = 1 << 20

// RestoreOptions of Restore.
type RestoreOptions struct {
	// Replace allows that there is metadata already, all of which is removed:
	// after Consul was set back to an old snapshot. Else that is an error.
	Replace bool
	// Progress is told how many keys of how many are written. May be nil.
	Progress func(done, total int)
}

// ErrNotEmpty is why metadata is not restored: there is some already.
var ErrNotEmpty = errors.New("there is metadata already")

// Restore writes everything in state. The lock need not be held, and keys that
// are not of the metadata (the ids that nodes claim, the lock itself) stay as
// they are.
func (s *Store) Restore(ctx context.Context, state metadata.State, o RestoreOptions) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if _, ok := state.Entries[metadata.ClusterIDKey]; !ok {
		return messages.E("restore metadata", messages.InvalidRequest, "", errors.New("the copy has no cluster id"))
	}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	s.current = false
	r := restore{s: s, o: o, state: state}
	if err := r.run(ctx); err != nil {
		return s.orClosed(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost, s.seen, s.clusterID = nil, r.revision(), r.clusterID()
	return nil
}

// restore is one under way.
type restore struct {
	s       *Store
	o       RestoreOptions
	state   metadata.State
	marker  guard
	version version // the version key as it was found
	found   api.KVPairs
	marked  []byte // the marker's value as it was found
}

func (r *restore) clusterID() string {
	var id struct{ ID string }
	json.Unmarshal(r.state.Entries[metadata.ClusterIDKey].Value, &id)
	return id.ID
}

// revision is what the restored metadata as a whole has.
func (r *restore) revision() int64 {
	return max(r.state.Revision, r.version.Revision) + restoreGap
}

// versionGuard checks that nobody else makes metadata visible meanwhile.
func (r *restore) versionGuard() *api.KVTxnOp {
	return guard{key: versionKey, index: r.version.index}.op(r.s.o.Prefix)
}

func (r *restore) run(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	if err := r.mark(ctx); err != nil {
		return err
	}
	total := len(r.state.Entries)
	writes := r.removals()
	for _, key := range slices.Sorted(maps.Keys(r.state.Entries)) {
		if !restored(key) || key == metadata.ClusterIDKey {
			total--
			continue
		}
		writes = append(writes, write{key: key, value: r.state.Entries[key].Value})
	}
	pieces := plan{}
	pieces.pack([phases][]write{writes}, r.s.limits.ops-restoreOps, r.s.limits.bytes)
	done := 0
	for _, piece := range pieces.pieces {
		if err := r.send(ctx, piece); err != nil {
			return err
		}
		for _, w := range piece {
			if !w.delete {
				done++
			}
		}
		r.o.Progress(min(done, total), total)
	}
	return r.finish(ctx)
}

// nodeIDs is what the keys begin with under which nodes claim their ids
// (cluster/membership).
const nodeIDs = "ids/nodes/"

// restored tells whether a key is the metadata's. Those of nodes' claims and of
// the lock live on by themselves.
func restored(key string) bool {
	if key == metadata.ControllerKey || key == versionKey || key == restoreKey || key == "" {
		return false
	}
	return !strings.HasPrefix(key, nodeIDs)
}

// look reads what there is.
func (r *restore) look(ctx context.Context) error {
	s := r.s
	err := s.contact.Retry(ctx, "restore metadata", s.o.Prefix, func(ctx context.Context) (err error) {
		o, cancel := s.o.Client.Read(ctx)
		defer cancel()
		r.found, _, err = s.o.Client.api.KV().List(s.o.Prefix, o)
		return err
	})
	if err != nil {
		return err
	}
	r.marked = nil
	r.marker, r.version = guard{key: restoreKey}, version{}
	for _, p := range r.found {
		switch strings.TrimPrefix(p.Key, s.o.Prefix) {
		case versionKey:
			r.version = readVersion(p)
		case restoreKey:
			r.marker.index, r.marked = p.ModifyIndex, p.Value
		}
	}
	if r.version.index > 0 && !r.o.Replace {
		return messages.E("restore metadata", messages.InvalidRequest, s.o.Prefix, ErrNotEmpty)
	}
	return nil
}

// mark makes this restore the one that goes on, and looks again: at what an
// earlier one has written up to then, and whether the marker is ours indeed.
func (r *restore) mark(ctx context.Context) error {
	value, err := json.Marshal(struct {
		Broker   messages.BrokerID `json:"broker"`
		Revision int64             `json:"revision"`
		Writer   string            `json:"writer"`
	}{r.s.o.Broker, r.state.Revision, newWriter()})
	if err != nil {
		return messages.E("restore metadata", messages.Unknown, "", err)
	}
	failed := r.txn(ctx, []*api.KVTxnOp{
		r.versionGuard(),
		write{key: restoreKey, value: value, checked: true, index: r.marker.index}.op(r.s.o.Prefix, 0),
	})
	if failed != nil && !errors.Is(failed, metadata.ErrConflict) {
		return failed
	}
	if err := r.look(ctx); err != nil {
		return err
	}
	if !bytes.Equal(r.marked, value) {
		return conflict(restoreKey, errors.Join(errOtherRestore, failed))
	}
	return nil
}

var errOtherRestore = errors.New("another restore is under way")

// removals are the writes that delete what is there and is not to stay. The
// topics come first, as ever.
func (r *restore) removals() (writes []write) {
	for _, topics := range []bool{true, false} {
		for _, p := range r.found {
			key := strings.TrimPrefix(p.Key, r.s.o.Prefix)
			if _, stays := r.state.Entries[key]; stays || !restored(key) || strings.HasPrefix(key, topicPrefix) != topics {
				continue
			}
			writes = append(writes, write{key: key, delete: true})
		}
	}
	return writes
}

// restoreOps are the operations of a piece besides its writes: two guards.
const restoreOps = 2

// send writes a piece. Its writes are guarded by the marker alone, so that it may
// be sent again when there was no answer.
func (r *restore) send(ctx context.Context, piece []write) error {
	ops := []*api.KVTxnOp{r.marker.op(r.s.o.Prefix), r.versionGuard()}
	for _, w := range piece {
		ops = append(ops, w.op(r.s.o.Prefix, r.state.Entries[w.key].Revision))
	}
	return r.txn(ctx, ops)
}

// finish makes it visible.
func (r *restore) finish(ctx context.Context) error {
	v := version{Revision: r.revision(), Writer: newWriter()}
	id := r.state.Entries[metadata.ClusterIDKey]
	err := r.txn(ctx, []*api.KVTxnOp{
		{Verb: api.KVDeleteCAS, Key: r.s.o.Prefix + restoreKey, Index: r.marker.index},
		write{key: metadata.ClusterIDKey, value: id.Value}.op(r.s.o.Prefix, id.Revision),
		versionWrite(v, r.version.index).op(r.s.o.Prefix, v.Revision),
	})
	if errors.Is(err, metadata.ErrConflict) { // it may have been done without an answer
		if is, readErr := r.s.readVersion(ctx); readErr == nil && is.Writer == v.Writer {
			return nil
		}
	}
	return err
}

// txn carries out one transaction.
func (r *restore) txn(ctx context.Context, ops []*api.KVTxnOp) error {
	txn := make(api.TxnOps, 0, len(ops))
	for _, op := range ops {
		txn = append(txn, &api.TxnOp{KV: op})
	}
	var response *api.TxnResponse
	err := r.s.contact.Retry(ctx, "restore metadata", r.s.o.Prefix, func(ctx context.Context) (err error) {
		o, cancel := r.s.o.Client.Read(ctx)
		defer cancel()
		_, response, _, err = r.s.o.Client.api.Txn().Txn(txn, o)
		return err
	})
	if err != nil {
		return err
	}
	if len(response.Errors) > 0 {
		return conflict(r.s.o.Prefix, errors.New(response.Errors[0].What))
	}
	return nil
}

// StateOf gives an image's keys as they would be in a store, for Restore. The
// revisions of keys that an image does not keep one by one are the image's own.
// Leftovers are left out.
func StateOf(im *metadata.Image) (metadata.State, error) {
	e := metadata.NewEdit(metadata.Empty())
	for _, b := range im.Brokers {
		e.SetBroker(b)
	}
	for t := range im.Topics() {
		e.CreateTopic(t)
	}
	if im.ClusterID != "" {
		e.SetClusterID(im.ClusterID)
	}
	if im.NextProducerID > 0 {
		e.SetNextProducerID(im.NextProducerID)
	}
	if im.RetiredEpoch > 0 {
		e.SetRetiredEpoch(im.RetiredEpoch)
	}
	e.SetClusterConfig(im.ClusterConfig)
	for id, c := range im.BrokerConfigs {
		e.SetBrokerConfig(id, c)
	}
	state := metadata.State{Revision: im.Revision, Entries: map[string]metadata.Entry{}}
	for _, p := range e.Txn().Puts {
		state.Entries[p.Key] = metadata.Entry{Value: p.Value, Revision: im.Revision}
	}
	keepRevisions(state.Entries, im)
	for key, entry := range state.Entries {
		if entry.Revision <= 0 {
			return metadata.State{}, messages.E("copy metadata", messages.CorruptMessage, key, fmt.Errorf("has revision %d", entry.Revision))
		}
	}
	return state, nil
}

// keepRevisions gives the keys of topics and brokers the revisions that they
// have in the image, by which brokers know them.
func keepRevisions(entries map[string]metadata.Entry, im *metadata.Image) {
	set := func(key string, revision int64) {
		if e, ok := entries[key]; ok {
			e.Revision = revision
			entries[key] = e
		}
	}
	for _, b := range im.Brokers {
		set(metadata.BrokerKey(b.ID), b.Revision)
	}
	for t := range im.Topics() {
		set(metadata.TopicKey(t.Name), t.Revision)
		set(metadata.TopicConfigKey(t.Name), t.ConfigRevision)
		for n, p := range t.Partitions {
			set(metadata.PartitionKey(messages.TopicPartition{Topic: t.Name, Partition: int32(n)}), p.Revision)
		}
	}
}
