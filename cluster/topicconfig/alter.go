package topicconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"understudy/messages"
)

// OpKind is what an Op does, with the numbers of IncrementalAlterConfigs.
type OpKind int8

// The kinds of change.
const (
	Set      OpKind = 0
	Delete   OpKind = 1 // back to the default
	Append   OpKind = 2 // add items to a list
	Subtract OpKind = 3 // take items off a list
)

// Op is one change of one setting. Null is a value that the request left out.
type Op struct {
	Name  string
	Kind  OpKind
	Value string
	Null  bool
}

// Replace gives the operations that turn current into exactly wanted.
func Replace(current, wanted map[string]string) []Op {
	var ops []Op
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		ops = append(ops, Op{Name: name, Kind: Set, Value: wanted[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(current)) {
		if _, keep := wanted[name]; !keep {
			ops = append(ops, Op{Name: name, Kind: Delete})
		}
	}
	return ops
}

// maxOverrides bounds the settings of a topic or a broker together, in bytes as they
// are kept: all of them are one value of the metadata, and Consul takes no larger ones.
const maxOverrides = 256 << 10

// Alter gives the overrides that result from the operations; current is not
// changed. Every operation is checked, none may concern a fixed setting, no name may
// come twice, and what results must not be too large.
func (t *Table) Alter(current map[string]string, ops []Op, d Defaults) (map[string]string, error) {
	next := maps.Clone(current)
	if next == nil {
		next = map[string]string{}
	}
	seen := make(map[string]bool, len(ops))
	for _, op := range ops {
		if seen[op.Name] {
			return nil, refuse(messages.InvalidRequest, op.Name, "is changed twice in one request")
		}
		seen[op.Name] = true
		if err := t.apply(next, op, d); err != nil {
			return nil, err
		}
	}
	if kept, err := json.Marshal(next); err != nil || len(kept) > maxOverrides {
		return nil, refuse(messages.InvalidConfig, "", fmt.Sprintf("all settings together would have %d bytes, and there is room for %d", len(kept), maxOverrides))
	}
	return next, nil
}

func (t *Table) apply(next map[string]string, op Op, d Defaults) error {
	s, err := t.Lookup(op.Name)
	if err != nil {
		if _, stored := next[op.Name]; stored && op.Kind == Delete {
			delete(next, op.Name) // of another version; this is how to be rid of it
			return nil
		}
		return err
	}
	if s.Fixed {
		return refuse(messages.InvalidConfig, op.Name, "cannot be changed while the broker runs")
	}
	text := op.Value
	switch {
	case op.Kind == Delete:
		delete(next, op.Name)
		return nil
	case op.Kind < Set || op.Kind > Subtract:
		return refuse(messages.InvalidRequest, op.Name, fmt.Sprintf("operation %d is not known", op.Kind))
	case op.Null:
		return refuse(messages.InvalidConfig, op.Name, "has no value; to have the default back, delete it")
	case op.Kind != Set:
		if s.Type != List {
			return refuse(messages.InvalidConfig, op.Name, "is not a list, so that it can only be set and deleted")
		}
		text = combine(t.effective(s, next, d), op)
	}
	if _, err := s.parse(text); err != nil {
		return err
	}
	next[op.Name] = strings.TrimSpace(text)
	return nil
}

// combine adds items to a list or takes them off.
func combine(list string, op Op) string {
	items, changed := split(list), split(op.Value)
	if op.Kind == Subtract {
		items = slices.DeleteFunc(items, func(item string) bool { return slices.Contains(changed, item) })
		return strings.Join(items, ",")
	}
	for _, item := range changed {
		if !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	return strings.Join(items, ",")
}

// effective is the value of a setting that a list operation works on.
func (t *Table) effective(s *Setting, overrides map[string]string, d Defaults) string {
	if v, ok := overrides[s.Name]; ok {
		return v
	}
	name := s.Broker
	if name == "" {
		name = s.Name
	}
	if v, _, ok := d.of(name); ok {
		return v
	}
	return s.Default
}

func refuse(kind messages.Kind, name, why string) error {
	return messages.E("config", kind, clip(name), errors.New(why))
}
