package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// Commit implements metadata.Store. The controller's lock must be held; every
// transaction checks that it still is.
//
// While Consul is away Commit goes on trying until ctx ends, which makes the
// error one that says that the outcome is unknown: the caller must Load. It is
// not unknown otherwise: what an attempt without an answer did is found out.
//
// A transaction that is written in pieces may meet a conflict after some of
// them. The error is ErrConflict then too: what was written is consistent, and
// the caller, who has to Load and decide again anyway, finds it there.
func (s *Store) Commit(ctx context.Context, txn metadata.Txn) (int64, error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	session, ok := s.Locked()
	if !ok {
		return 0, conflict(metadata.ControllerKey, ErrNotLocked)
	}
	p, err := s.plan(ctx, txn)
	if err != nil {
		return 0, err
	}
	if err := s.carryOut(ctx, p, session); err != nil {
		s.current = false
		return 0, s.orClosed(err)
	}
	s.saw(s.version.Revision)
	if len(p.pieces) > 1 {
		s.o.Events(Split{Revision: s.version.Revision, Pieces: len(p.pieces), Writes: p.writes})
	}
	return s.version.Revision, nil
}

// plan works out what to write. What does not fit what is known is planned once
// more after reading anew.
func (s *Store) plan(ctx context.Context, txn metadata.Txn) (plan, error) {
	if s.current {
		p, err := makePlan(txn, s.known, s.limits)
		if !errors.Is(err, metadata.ErrConflict) {
			return p, err
		}
	}
	if _, err := s.load(ctx); err != nil {
		return plan{}, err
	}
	return makePlan(txn, s.known, s.limits)
}

// carryOut writes the pieces one after the other. All writes have the revision
// that the last piece gives to the whole; the version key counts the pieces, so
// that whoever reads between two of them reads again after the next.
func (s *Store) carryOut(ctx context.Context, p plan, session string) error {
	base := s.highest
	final := base + int64(len(p.pieces))
	writer := newWriter()
	for i, writes := range p.pieces {
		next := version{Revision: base + int64(i) + 1, Writer: writer}
		if p.writes == 0 {
			next.Revision = s.version.Revision
		}
		ops := s.ops(p, writes, next, final, session)
		index, err := s.send(ctx, ops, next)
		if err != nil {
			return err
		}
		if p.writes == 0 {
			return nil
		}
		next.index = index
		s.wrote(writes, final, next)
	}
	return nil
}

// ops are the operations of a piece. The first checks the lock, the second
// writes the version, or checks it if nothing is written.
func (s *Store) ops(p plan, writes []write, next version, final int64, session string) api.TxnOps {
	ops := make(api.TxnOps, 0, len(writes)+len(p.guards)+ownOps)
	add := func(op *api.KVTxnOp) { ops = append(ops, &api.TxnOp{KV: op}) }
	add(&api.KVTxnOp{Verb: api.KVCheckSession, Key: s.o.Prefix + metadata.ControllerKey, Session: session})
	if p.writes == 0 {
		add(guard{key: versionKey, index: s.version.index}.op(s.o.Prefix))
	} else {
		add(versionWrite(next, s.version.index).op(s.o.Prefix, next.Revision))
	}
	for _, g := range p.guards {
		add(g.op(s.o.Prefix))
	}
	for _, w := range writes {
		add(w.op(s.o.Prefix, final))
	}
	return ops
}

// versionWrite is the write of the version key that follows the one at index.
func versionWrite(v version, index uint64) write {
	value, err := json.Marshal(v)
	if err != nil {
		panic("consul: " + err.Error()) // two plain fields
	}
	return write{key: versionKey, value: value, checked: true, index: index}
}

// wrote enters a piece that was written into what is known.
func (s *Store) wrote(writes []write, final int64, v version) {
	for _, w := range writes {
		if w.delete {
			delete(s.known, w.key)
			continue
		}
		st := stamp{revision: final, index: v.index}
		if strings.HasPrefix(w.key, topicPrefix) {
			st.value = w.value
		}
		s.known[w.key] = st
	}
	s.version, s.highest = v, final
}

// send carries out one transaction of Consul, and gives the index at which it
// was. Sending it twice is harmless: it checks the version that it replaces.
// Whether an attempt that had no answer was carried out shows when the next one
// is refused: then the version is ours, or it is not.
func (s *Store) send(ctx context.Context, ops api.TxnOps, next version) (uint64, error) {
	var response *api.TxnResponse
	doubt := false
	err := s.contact.Retry(ctx, "commit metadata", s.o.Prefix, func(ctx context.Context) error {
		o, cancel := s.o.Client.Read(ctx)
		defer cancel()
		_, r, _, err := s.o.Client.api.Txn().Txn(ops, o)
		response = r
		doubt = doubt || err != nil
		return err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, messages.E("commit metadata", messages.RequestTimedOut, s.o.Prefix, fmt.Errorf("whether it was done is unknown: %w", err))
	case err != nil:
		return 0, err
	case len(response.Errors) > 0 && doubt:
		return s.resolve(ctx, ops, response.Errors, next)
	case len(response.Errors) > 0:
		return 0, s.refusal(ops, response.Errors)
	}
	for _, r := range response.Results {
		if r.KV != nil && r.KV.Key == s.o.Prefix+versionKey {
			return r.KV.ModifyIndex, nil
		}
	}
	return 0, nil // nothing but checks of keys that must not exist
}

// resolve finds out whether an earlier attempt was carried out.
func (s *Store) resolve(ctx context.Context, ops api.TxnOps, errs api.TxnErrors, next version) (uint64, error) {
	v, err := s.readVersion(ctx)
	if err != nil {
		return 0, messages.E("commit metadata", messages.RequestTimedOut, s.o.Prefix, fmt.Errorf("whether it was done is unknown: %w", err))
	}
	if v.Revision == next.Revision && v.Writer == next.Writer {
		return v.index, nil
	}
	if v.index == s.version.index {
		return 0, s.refusal(ops, errs) // nothing has followed what we began with
	}
	return 0, messages.E("commit metadata", messages.RequestTimedOut, s.o.Prefix, fmt.Errorf("whether it was done is unknown: another controller has written: %w", s.refusal(ops, errs)))
}

// readVersion reads the version key, as of now.
func (s *Store) readVersion(ctx context.Context) (v version, err error) {
	err = s.contact.Retry(ctx, "read metadata version", s.o.Prefix, func(ctx context.Context) error {
		o, cancel := s.o.Client.Read(ctx)
		defer cancel()
		pair, _, err := s.o.Client.api.KV().Get(s.o.Prefix+versionKey, o)
		v = readVersion(pair)
		return err
	})
	return v, err
}

// refusal is the error of a transaction that Consul did not carry out. The first of
// its operations checks the lock.
func (s *Store) refusal(ops api.TxnOps, errs api.TxnErrors) error {
	why := errors.New(errs[0].What)
	if FaultOf(why) == Refused {
		return failure("commit metadata", s.o.Prefix, why)
	}
	for _, e := range errs {
		if e.OpIndex == 0 {
			why = errors.New(e.What)
			s.lostLock(ops[0].KV.Session, why)
			return conflict(metadata.ControllerKey, fmt.Errorf("%w: %w", ErrNotLocked, why))
		}
	}
	return conflict(s.o.Prefix, why)
}
