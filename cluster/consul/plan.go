package consul

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// A metadata.Txn may be larger than a transaction of Consul can be. Then it is
// written in pieces, in an order in which every prefix is a state that some
// sequence of whole steps could have led to:
//
//	1  puts of keys that exist once  controller, ids/…, configs/brokers/…
//	2  deletes of topics             from here on the topic does not exist
//	3  other deletes                 what was in those topics; leftovers
//	4  other puts                    partitions, settings
//	5  puts of topics                from here on the topic exists, or has grown
//	6  brokers                       a registration says that all before it is done
//
// A topic that is deleted and made anew in one transaction is one put of its key;
// between its old and its new partitions it must not exist, so the old key is
// deleted in phase 2. What a stop between two pieces leaves behind besides whole
// steps are keys that no topic claims, which the next controller deletes.
//
// Within a piece all happens at once, so a transaction that fits is not split.
type phase uint8

const (
	singles phase = iota
	topicDeletes
	otherDeletes
	otherPuts
	topicPuts
	brokerWrites
	phases
)

// A topic's key begins with topicPrefix, a broker's with brokerPrefix.
const (
	topicPrefix  = "topics/"
	brokerPrefix = "brokers/"
)

func phaseOf(key string, put bool) phase {
	switch {
	case strings.HasPrefix(key, brokerPrefix):
		return brokerWrites
	case strings.HasPrefix(key, topicPrefix) && put:
		return topicPuts
	case strings.HasPrefix(key, topicPrefix):
		return topicDeletes
	case !put:
		return otherDeletes
	case strings.HasPrefix(key, "ids/"), strings.HasPrefix(key, "configs/brokers/"), key == metadata.ControllerKey:
		return singles
	}
	return otherPuts
}

// stamp is what is known about a key in Consul: which of our revisions its value
// is of, and the index by which Consul knows this version of it.
type stamp struct {
	revision int64
	index    uint64
	value    []byte // only of topics: tells a new topic of the same name
}

// write is one key's change. A checked one happens only if the key still is at
// index, which is 0 if it must not exist.
type write struct {
	key     string
	value   []byte
	delete  bool
	checked bool
	index   uint64
}

// guard is a key that must be as it is while a transaction is carried out.
type guard struct {
	key   string
	index uint64
}

// plan is a transaction in pieces.
type plan struct {
	guards []guard
	pieces [][]write
	writes int
}

// limits is how large a transaction of Consul can be.
type limits struct {
	ops   int
	bytes int
}

// The operations that every piece has besides its writes and guards: the check
// of the lock, and the write of the version key.
const ownOps = 2

// makePlan works out what to write. known has a stamp for every key in Consul.
// The error is ErrConflict if a check does not hold.
func makePlan(txn metadata.Txn, known map[string]stamp, l limits) (plan, error) {
	checks := make(map[string]bool, len(txn.Checks))
	for _, c := range txn.Checks {
		if s := known[c.Key]; s.revision != c.Revision {
			return plan{}, conflict(c.Key, fmt.Errorf("is at revision %d, not %d", s.revision, c.Revision))
		}
		checks[c.Key] = true
	}
	byPhase, err := sortWrites(txn, known, checks)
	if err != nil {
		return plan{}, err
	}
	p := plan{}
	for _, c := range txn.Checks {
		if checks[c.Key] {
			p.guards = append(p.guards, guard{key: c.Key, index: known[c.Key].index})
		}
	}
	room := l.ops - ownOps - len(p.guards)
	if room < 1 {
		return plan{}, messages.E("commit metadata", messages.InvalidRequest, "", fmt.Errorf("%d checks of keys that are not written are more than a transaction holds", len(p.guards)))
	}
	for _, list := range byPhase {
		p.writes += len(list)
	}
	if p.writes > room || bytesOf(byPhase) > l.bytes {
		parry(&byPhase, known)
	}
	p.pack(byPhase, room, l.bytes)
	return p, nil
}

// sortWrites sorts the changes into phases, and takes their keys out of checks.
func sortWrites(txn metadata.Txn, known map[string]stamp, checks map[string]bool) (byPhase [phases][]write, err error) {
	seen := make(map[string]bool, len(txn.Puts)+len(txn.Deletes))
	add := func(w write) {
		if seen[w.key] {
			err = messages.E("commit metadata", messages.InvalidRequest, w.key, errTwice)
		}
		seen[w.key] = true
		w.checked, w.index = checks[w.key], known[w.key].index
		delete(checks, w.key)
		n := phaseOf(w.key, !w.delete)
		byPhase[n] = append(byPhase[n], w)
	}
	for _, p := range txn.Puts {
		add(write{key: p.Key, value: p.Value})
	}
	for _, key := range txn.Deletes {
		if _, ok := known[key]; ok {
			add(write{key: key, delete: true})
		}
	}
	return byPhase, err
}

var errTwice = errors.New("key is changed twice")

// parry deletes first, in a plan of several pieces, the keys of topics that are
// made anew.
func parry(byPhase *[phases][]write, known map[string]stamp) {
	for i, w := range byPhase[topicPuts] {
		old, ok := known[w.key]
		if !ok || sameTopic(old.value, w.value) {
			continue
		}
		byPhase[topicDeletes] = append(byPhase[topicDeletes], write{key: w.key, delete: true, checked: true, index: old.index})
		byPhase[topicPuts][i].checked, byPhase[topicPuts][i].index = true, 0
	}
}

// sameTopic tells whether two values of a topic's key have the same topic id.
func sameTopic(a, b []byte) bool {
	var x, y struct{ ID string }
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && x.ID == y.ID
}

// pack fills pieces. A transaction without any write is one piece of checks.
func (p *plan) pack(byPhase [phases][]write, room, bytes int) {
	piece, size := []write{}, 0
	for _, list := range byPhase {
		for _, w := range list {
			n := w.size()
			if len(piece) == room || len(piece) > 0 && size+n > bytes {
				p.pieces = append(p.pieces, piece)
				piece, size = nil, 0
			}
			piece, size = append(piece, w), size+n
		}
	}
	p.pieces = append(p.pieces, piece)
}

// opOverhead is what an operation's JSON takes besides key and value, in bytes.
const opOverhead = 160

// size is what the write takes in a request, in bytes; the value is in base64.
func (w write) size() int { return opOverhead + len(w.key) + (len(w.value)+2)/3*4 }

func bytesOf(byPhase [phases][]write) (n int) {
	for _, list := range byPhase {
		for _, w := range list {
			n += w.size()
		}
	}
	return n
}

// op is the write as Consul's operation. revision goes into the key's flags.
func (w write) op(prefix string, revision int64) *api.KVTxnOp {
	op := &api.KVTxnOp{Key: prefix + w.key, Index: w.index}
	switch {
	case w.delete && w.checked && w.index == 0:
		op.Verb = api.KVCheckNotExists
	case w.delete && w.checked:
		op.Verb = api.KVDeleteCAS
	case w.delete:
		op.Verb = api.KVDelete
	default:
		op.Verb, op.Value, op.Flags = api.KVSet, w.value, uint64(revision)
		if w.checked {
			op.Verb = api.KVCAS
		}
	}
	return op
}

// op is the guard as Consul's operation.
func (g guard) op(prefix string) *api.KVTxnOp {
	if g.index == 0 {
		return &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: prefix + g.key}
	}
	return &api.KVTxnOp{Verb: api.KVCheckIndex, Key: prefix + g.key, Index: g.index}
}

// conflict is metadata.ErrConflict with the key that is to blame.
func conflict(key string, why error) error {
	return messages.E("commit metadata", messages.NotController, key, fmt.Errorf("%w: %w", metadata.ErrConflict, why))
}
