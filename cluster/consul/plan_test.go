package consul

import (
	"fmt"
	"strings"
	"testing"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// text is a plan as lines: a piece each, '+' a put, '-' a delete, '?' a checked one.
func (p plan) text() string {
	var lines []string
	for _, g := range p.guards {
		lines = append(lines, fmt.Sprintf("guard %s@%d", g.key, g.index))
	}
	for _, piece := range p.pieces {
		var words []string
		for _, w := range piece {
			word := "+" + w.key
			if w.delete {
				word = "-" + w.key
			}
			if w.checked {
				word += fmt.Sprint("?", w.index)
			}
			words = append(words, word)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n")
}

func TestPlan(t *testing.T) {
	known := map[string]stamp{
		"controller":     {revision: 3, index: 30},
		"topics/old":     {revision: 4, index: 40, value: []byte(`{"id":"A","partitions":2}`)},
		"partitions/o/0": {revision: 4, index: 40},
		"partitions/o/1": {revision: 5, index: 50},
	}
	txn := metadata.Txn{
		Checks: []metadata.Check{{Key: "controller", Revision: 3}, {Key: "topics/old", Revision: 4}, {Key: "topics/new"}, {Key: "partitions/o/1", Revision: 5}},
		Puts: []metadata.Put{
			{Key: "brokers/1"}, {Key: "ids/producers"}, {Key: "partitions/n/0"}, {Key: "topics/new"},
			{Key: "topics/old", Value: []byte(`{"id":"B","partitions":1}`)}, {Key: "partitions/o/0"},
		},
		Deletes: []string{"partitions/o/1", "configs/topics/missing"},
	}
	tests := map[string]struct {
		ops  int
		want string
	}{
		"fits": {12, "guard controller@30\n" +
			"+ids/producers -partitions/o/1?50 +partitions/n/0 +partitions/o/0 +topics/new?0 +topics/old?40 +brokers/1"},
		"pieces of three": {6, "guard controller@30\n" +
			"+ids/producers -topics/old?40 -partitions/o/1?50\n" +
			"+partitions/n/0 +partitions/o/0 +topics/new?0\n" +
			"+topics/old?0 +brokers/1"},
	}
	for name, test := range tests {
		p, err := makePlan(txn, known, limits{ops: test.ops, bytes: 1 << 20})
		must(t, err)
		if got := p.text(); got != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, test.want)
		}
	}
}

func TestPlanGrowingTopicIsNotDeleted(t *testing.T) {
	known := map[string]stamp{"topics/t": {revision: 1, index: 10, value: []byte(`{"id":"A","partitions":1}`)}}
	txn := puts("topics/t", `{"id":"A","partitions":3}`, "partitions/t/1", "", "partitions/t/2", "")
	p, err := makePlan(txn, known, limits{ops: 4, bytes: 1 << 20})
	must(t, err)
	if got := p.text(); got != "+partitions/t/1 +partitions/t/2\n+topics/t" {
		t.Errorf("got\n%s", got)
	}
}

func TestPlanKeepsToBytes(t *testing.T) {
	var txn metadata.Txn
	for i := range 10 {
		txn.Puts = append(txn.Puts, metadata.Put{Key: fmt.Sprint("k", i), Value: make([]byte, 3000)})
	}
	p, err := makePlan(txn, nil, limits{ops: 64, bytes: 10_000})
	must(t, err)
	if len(p.pieces) != 5 {
		t.Errorf("got %d pieces of\n%s", len(p.pieces), p.text())
	}
}

func TestPlanRefusals(t *testing.T) {
	known := map[string]stamp{"a": {revision: 1, index: 10}}
	room := limits{ops: 4, bytes: 1 << 20}
	for name, txn := range map[string]metadata.Txn{
		"older":       {Checks: []metadata.Check{{Key: "a", Revision: 2}}},
		"missing":     {Checks: []metadata.Check{{Key: "b", Revision: 2}}},
		"must not be": {Checks: []metadata.Check{{Key: "a"}}},
	} {
		if _, err := makePlan(txn, known, room); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			want(t, err, metadata.ErrConflict)
		}
	}
	twice := puts("a", "1")
	twice.Deletes = []string{"a"}
	_, err := makePlan(twice, known, room)
	want(t, err, errTwice)
	many := metadata.Txn{Checks: []metadata.Check{{Key: "x"}, {Key: "y"}, {Key: "z"}}}
	if _, err := makePlan(many, known, room); messages.KindOf(err) != messages.InvalidRequest {
		t.Errorf("too many guards: got error %v", err)
	}
}

func TestPlanOfChecksOnly(t *testing.T) {
	p, err := makePlan(metadata.Txn{Deletes: []string{"missing"}, Checks: []metadata.Check{{Key: "missing"}}}, nil, limits{ops: 64, bytes: 1 << 20})
	must(t, err)
	if got := p.text(); got != "guard missing@0\n" || p.writes != 0 {
		t.Errorf("got\n%q", got)
	}
}
