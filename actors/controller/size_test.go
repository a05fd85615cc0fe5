package controller

import (
	"slices"
	"strings"
	"testing"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// TestManyPartitionsAreLedAgainInPortions has a broker fall that leads a third of
// 3,000 partitions: those without a leader come first, and each transaction is small.
func TestManyPartitionsAreLedAgainInPortions(t *testing.T) {
	s := active(t, nil)
	s.register(2, false)
	s.register(3, false)
	s.create("a", 3000, 3)
	s.told()
	writes := make(chan int, 100)
	s.store.intercept(func(_ *memStore, txn metadata.Txn) error {
		writes <- len(txn.Puts)
		return nil
	})
	s.down(2)
	if _, leaders := s.count(2); leaders > 1000-maxRepairs { // the next portion may have come already
		t.Errorf("after the first transaction %d partitions wait for a leader", leaders)
	}
	waits := func() (count int) {
		for _, p := range s.Image().Topic("a").Partitions {
			if p.Leader == messages.NoBroker || slices.Contains(p.ISR, 2) {
				count++
			}
		}
		return count
	}
	for waits() > 0 {
		s.tend(none, 0) // it is decided after what waits already
	}
	s.store.intercept(nil)
	transactions := len(writes)
	for range transactions {
		if n := <-writes; n > 2*maxRepairs+1 { // of a repair that was due and of tend's
			t.Errorf("a transaction of %d writes", n)
		}
	}
	if transactions > 7 {
		t.Errorf("%d transactions", transactions)
	}
	if got := s.told(); !strings.HasPrefix(got, "node 2 is down; cause: redial refused\n500 partitions changed: 500 have another leader, 0 of them none; cause: node 2 redial refused") {
		t.Errorf("told: %s", got)
	}
}

// TestAllLeadersAreElectedInPortions has the leaders of 3,000 partitions return to the
// broker that had fallen, when somebody asks for all that are in need of it.
func TestAllLeadersAreElectedInPortions(t *testing.T) {
	s := active(t, nil)
	s.register(2, false)
	s.register(3, false)
	s.create("a", 2000, 3)
	s.create("b", 1000, 3)
	s.down(2)
	for range 3000/maxRepairs + 1 {
		s.tend(none, 0) // it is decided after what waits already
	}
	s.register(2, false)
	s.catchUp()
	if _, leads := s.count(2); leads != 0 {
		t.Fatalf("broker 2 leads %d", leads)
	}
	writes := make(chan int, 100)
	s.store.intercept(func(_ *memStore, txn metadata.Txn) error {
		writes <- len(txn.Puts)
		return nil
	})
	results := s.elect(PreferredElection, nil)
	s.store.intercept(nil)
	seen := map[messages.TopicPartition]bool{}
	for _, r := range results {
		if r.Err != nil {
			t.Errorf("%s-%d: %v", r.Topic, r.Partition, r.Err)
		}
		seen[messages.TopicPartition{Topic: r.Topic, Partition: r.Partition}] = true
	}
	if _, leads := s.count(2); len(seen) != 1000 || len(results) != 1000 || leads != 1000 {
		t.Errorf("%d results about %d partitions; broker 2 leads %d", len(results), len(seen), leads)
	}
	for range len(writes) {
		if n := <-writes; n > maxRepairs+1 {
			t.Errorf("a transaction of %d writes", n)
		}
	}
}

// TestWhatWasNotRepairedIsRepairedByTheNextController has the controller fail half-way.
func TestWhatWasNotRepairedIsRepairedByTheNextController(t *testing.T) {
	s := active(t, nil)
	s.register(2, false)
	s.register(3, false)
	s.create("a", 900, 3)
	s.store.intercept(func(s *memStore, _ metadata.Txn) error {
		s.intercept(func(*memStore, metadata.Txn) error { return errDisk }) // all that follow
		return nil
	})
	s.down(2)
	s.store.intercept(func(*memStore, metadata.Txn) error { return errDisk })
	next := begin(t, s.store, nil)
	s.store.intercept(nil)
	if _, err := next.TakeOver(ctx(t), Takeover{Self: *s.Image().Broker(3)}); err != nil {
		t.Fatal(err)
	}
	for _, p := range next.Image().Topic("a").Partitions {
		if slices.Contains(p.ISR, 2) {
			t.Fatalf("still counted on: %+v", p)
		}
	}
}

// large is a controller with 10,000 partitions of three replicas on three brokers.
func large(b *testing.B) *decision {
	s := active(b, nil)
	s.register(2, false)
	s.register(3, false)
	s.create("a", 5000, 3)
	s.create("b", 5000, 3)
	return s.c.begin(s.Image())
}

// BenchmarkAFall decides what follows from the fall of a broker that leads 3,333 of
// 10,000 partitions, and makes the first transaction.
func BenchmarkAFall(b *testing.B) {
	base := large(b)
	b.ReportAllocs()
	for b.Loop() {
		d := base.c.begin(base.image())
		d.ended(Fallen{*d.image().Broker(2), "process gone"})
		if txn := d.edit.Txn(); len(txn.Puts) != maxRepairs+1 {
			b.Fatal(len(txn.Puts))
		}
	}
}

// BenchmarkTend looks after 10,000 partitions with which all is well.
func BenchmarkTend(b *testing.B) {
	base := large(b)
	b.ReportAllocs()
	for b.Loop() {
		d := base.c.begin(base.image())
		if err := (&tend{steady: all, leaders: 60}).decide(d); err != nil || !d.edit.Empty() {
			b.Fatal(err)
		}
	}
}
