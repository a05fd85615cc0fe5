package fake

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// pair is a key as Consul has it.
type pair struct {
	LockIndex   uint64
	Key         string
	Flags       uint64
	Value       []byte
	Session     string `json:",omitempty"`
	CreateIndex uint64
	ModifyIndex uint64
}

func (p *pair) equal(q *pair) bool {
	return p.LockIndex == q.LockIndex && p.Flags == q.Flags && string(p.Value) == string(q.Value) && p.Session == q.Session
}

func (s *Server) serveKV(a *answer, r *http.Request, key string) {
	switch r.Method {
	case http.MethodGet:
		s.getKV(a, r, key)
	case http.MethodPut:
		s.putKV(a, r, key)
	case http.MethodDelete:
		s.mu.Lock()
		defer s.mu.Unlock()
		verb := "delete"
		if r.URL.Query().Has("recurse") {
			verb = "delete-tree"
		}
		s.apply([]kvOp{{Verb: verb, Key: key}})
		reply(a, 0, true)
	}
}

func (s *Server) getKV(a *answer, r *http.Request, key string) {
	q := r.URL.Query()
	s.block(a, r, func() (uint64, any) {
		if !q.Has("recurse") && !q.Has("keys") {
			p := s.kv[key]
			if p == nil {
				return s.kvIndex, nil
			}
			return p.ModifyIndex, []*pair{p}
		}
		list := s.under(key)
		if len(list) == 0 {
			return s.kvIndex, nil
		}
		if q.Has("keys") {
			keys := []string{}
			for _, p := range list {
				keys = append(keys, p.Key)
			}
			return s.kvIndex, keys
		}
		return s.kvIndex, list
	})
}

// under lists the keys below a prefix, in order. The lock is held.
func (s *Server) under(prefix string) (list []*pair) {
	for _, key := range slices.Sorted(maps.Keys(s.kv)) {
		if strings.HasPrefix(key, prefix) {
			list = append(list, s.kv[key])
		}
	}
	return list
}

func (s *Server) putKV(a *answer, r *http.Request, key string) {
	value, err := io.ReadAll(r.Body)
	if err != nil {
		fail(a, http.StatusBadRequest, "%v", err)
		return
	}
	q := r.URL.Query()
	op := kvOp{Verb: "set", Key: key, Value: value, Flags: number(q, "flags")}
	switch {
	case q.Has("cas"):
		op.Verb, op.Index = "cas", number(q, "cas")
	case q.Has("acquire"):
		op.Verb, op.Session = "lock", q.Get("acquire")
	case q.Has("release"):
		op.Verb, op.Session = "unlock", q.Get("release")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if op.Verb == "lock" && s.sessions[op.Session] == nil {
		fail(a, http.StatusInternalServerError, "invalid session %q", op.Session)
		return
	}
	_, errs := s.apply([]kvOp{op})
	reply(a, 0, len(errs) == 0)
}

// kvOp is an operation of a transaction.
type kvOp struct {
	Verb    string
	Key     string
	Value   []byte
	Flags   uint64
	Index   uint64
	Session string
}

// txnError says which operation of a transaction failed.
type txnError struct {
	OpIndex int
	What    string
}

type txnResult struct{ KV *pair }

const maxTxnBytes = 512 << 10

func (s *Server) serveTxn(a *answer, r *http.Request, _ string) {
	body, err := io.ReadAll(r.Body)
	var ops []struct{ KV kvOp }
	if err == nil {
		err = json.Unmarshal(body, &ops)
	}
	if err != nil {
		fail(a, http.StatusBadRequest, "Failed to parse body: %v", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(body) > maxTxnBytes:
		fail(a, http.StatusRequestEntityTooLarge, "Request body(%d bytes) too large, max size: %d bytes.", len(body), maxTxnBytes)
		return
	case len(ops) > s.maxOps:
		fail(a, http.StatusRequestEntityTooLarge, "Transaction contains too many operations (%d > %d)", len(ops), s.maxOps)
		return
	}
	list := make([]kvOp, len(ops))
	for i, op := range ops {
		list[i] = op.KV
	}
	results, errs := s.apply(list)
	if len(errs) > 0 {
		a.WriteHeader(http.StatusConflict)
		results = nil
	}
	reply(a, 0, struct {
		Results []txnResult
		Errors  []txnError
	}{results, errs})
}

// apply carries out operations, all or none. The lock is held.
func (s *Server) apply(ops []kvOp) ([]txnResult, []txnError) {
	index := s.index + 1
	t := &kvTxn{s: s, index: index, kv: maps.Clone(s.kv)}
	var results []txnResult
	var errs []txnError
	for i, op := range ops {
		p, err := t.apply(op)
		if err != nil {
			errs = append(errs, txnError{i, err.Error()})
		} else if p != nil {
			bare := *p
			bare.Value = nil
			results = append(results, txnResult{&bare})
		}
	}
	s.advance() // a transaction that fails takes an index too
	if len(errs) > 0 {
		return nil, errs
	}
	s.kv = t.kv
	if t.changed {
		s.kvIndex = index
	}
	return results, nil
}

// kvTxn is a transaction that is not finished.
type kvTxn struct {
	s       *Server
	index   uint64
	kv      map[string]*pair
	changed bool
}

func (t *kvTxn) apply(op kvOp) (*pair, error) {
	p := t.kv[op.Key]
	switch op.Verb {
	case "set":
		return t.set(op, "", false), nil
	case "cas":
		if op.Index == 0 && p != nil || op.Index != 0 && (p == nil || p.ModifyIndex != op.Index) {
			return nil, fmt.Errorf("failed to set key %q, index is stale", op.Key)
		}
		return t.set(op, "", false), nil
	case "lock":
		if p != nil && p.Session != "" && p.Session != op.Session {
			return nil, fmt.Errorf("failed to lock key %q, lock is already held", op.Key)
		}
		return t.set(op, op.Session, true), nil
	case "unlock":
		if p == nil || p.Session != op.Session {
			return nil, fmt.Errorf("failed to unlock key %q, lock isn't held, or is held by another session", op.Key)
		}
		return t.set(op, "", true), nil
	case "delete":
		t.remove(op.Key)
	case "delete-cas":
		if p != nil && p.ModifyIndex != op.Index {
			return nil, fmt.Errorf("failed to delete key %q, index is stale", op.Key)
		}
		t.remove(op.Key)
	case "delete-tree":
		for key := range t.kv {
			if strings.HasPrefix(key, op.Key) {
				t.remove(key)
			}
		}
	default:
		return t.check(op, p)
	}
	return nil, nil
}

func (t *kvTxn) check(op kvOp, p *pair) (*pair, error) {
	switch {
	case op.Verb == "check-not-exists" && p != nil:
		return nil, fmt.Errorf("key %q exists", op.Key)
	case op.Verb == "check-not-exists":
		return nil, nil
	case op.Verb == "check-session" && p == nil:
		return nil, fmt.Errorf("failed to check session, key %q doesn't exist", op.Key)
	case op.Verb == "check-session" && p.Session != op.Session:
		return nil, fmt.Errorf("failed session check for key %q, current session %q != %q", op.Key, p.Session, op.Session)
	case op.Verb == "check-index" && p == nil:
		return nil, fmt.Errorf("failed to check index, key %q doesn't exist", op.Key)
	case op.Verb == "check-index" && p.ModifyIndex != op.Index:
		return nil, fmt.Errorf("failed index check for key %q, current modify index %d != %d", op.Key, p.ModifyIndex, op.Index)
	case op.Verb == "check-session", op.Verb == "check-index":
		return p, nil
	}
	return nil, fmt.Errorf("unknown KV verb %q", op.Verb)
}

// set writes a key. A write that changes nothing leaves its index as it is; only
// locking and unlocking touch the session.
func (t *kvTxn) set(op kvOp, session string, lock bool) *pair {
	old := t.kv[op.Key]
	p := &pair{Key: op.Key, Flags: op.Flags, Value: op.Value, CreateIndex: t.index, ModifyIndex: t.index}
	if old != nil {
		p.CreateIndex = old.CreateIndex
	}
	switch {
	case lock:
		p.Session = session
		if old != nil {
			p.LockIndex = old.LockIndex
		}
		if session != "" && (old == nil || old.Session == "") {
			p.LockIndex++
		}
	case old != nil:
		p.Session = old.Session
	}
	if old != nil && old.equal(p) {
		return old
	}
	t.kv[op.Key], t.changed = p, true
	return p
}

func (t *kvTxn) remove(key string) {
	if t.kv[key] != nil {
		delete(t.kv, key)
		t.changed = true
	}
}
