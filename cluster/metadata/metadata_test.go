package metadata

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"understudy/messages"
)

// mapStore is the least that keeps a Store's promises on transactions.
type mapStore struct{ state State }

func (s *mapStore) commit(t testing.TB, txn Txn) int64 {
	t.Helper()
	if s.state.Entries == nil {
		s.state.Entries = map[string]Entry{}
	}
	for _, c := range txn.Checks {
		if s.state.Entries[c.Key].Revision != c.Revision {
			t.Fatalf("check of %s: have revision %d, want %d", c.Key, s.state.Entries[c.Key].Revision, c.Revision)
		}
	}
	s.state.Revision += 3 // revisions rise, but not by one
	for _, p := range txn.Puts {
		s.state.Entries[p.Key] = Entry{Value: p.Value, Revision: s.state.Revision}
	}
	for _, key := range txn.Deletes {
		delete(s.state.Entries, key)
	}
	return s.state.Revision
}

func put(kv ...string) Txn {
	var txn Txn
	for i := 0; i < len(kv); i += 2 {
		txn.Puts = append(txn.Puts, Put{Key: kv[i], Value: []byte(kv[i+1])})
	}
	return txn
}

func topicID(n int) (id messages.TopicID) {
	id[0], id[1], id[15] = byte(n>>8), byte(n), 1
	return id
}

func topic(name string, n, partitions int) *Topic {
	t := &Topic{Name: name, ID: topicID(n)}
	for range partitions {
		t.Partitions = append(t.Partitions, Partition{Replicas: []int32{1}, ISR: []int32{1}, Leader: 1})
	}
	return t
}

// same compares what can be seen of two images and their leftovers.
func same(t *testing.T, what string, a, b *Image) {
	t.Helper()
	view := func(im *Image) any {
		loose := map[string]string{}
		for k, e := range im.loose {
			loose[k] = fmt.Sprint(string(e.Value), e.Revision)
		}
		revs := maps.Clone(im.revisions)
		if revs == nil {
			revs = map[string]int64{}
		}
		var topics []Topic
		for x := range im.Topics() {
			if im.Topic(x.Name) != x || im.TopicByID(x.ID) != x {
				t.Errorf("%s: %s is listed but not found", what, x.Name)
			}
			topics = append(topics, *x)
		}
		brokers := map[int32]map[string]string{}
		maps.Copy(brokers, im.BrokerConfigs)
		return []any{im.Revision, im.ClusterID, im.Controller, slices.Concat(im.Brokers), im.ClusterConfig,
			brokers, im.NextProducerID, im.RetiredEpoch, im.topics, im.partitions, revs, loose, topics}
	}
	if va, vb := view(a), view(b); !reflect.DeepEqual(va, vb) {
		t.Fatalf("%s:\n%+v\n%+v", what, va, vb)
	}
}

// TestEditsAppliesAndBuildsAgree makes random edits and compares three ways to
// the same image: sealing the edit, applying its transaction, and building from
// the store. A subscriber that misses no change must know the same topics.
func TestEditsAppliesAndBuildsAgree(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		store := &mapStore{}
		im, next := Empty(), 1
		cell := NewCell()
		known := map[string]messages.TopicID{}
		cell.Subscribe(func(c Change) { follow(t, known, c) })
		for range 60 {
			e := NewEdit(im)
			for range 1 + r.IntN(4) {
				next = randomChange(r, e, next)
				for range e.Image().Topics() { // lists made on the way must not stay
					break
				}
			}
			txn := e.Txn()
			rev := store.commit(t, txn)
			sealed, ch, err := e.Seal(rev)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			applied, ch2, err := im.Apply(txn, rev)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			built, err := Build(store.state)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			same(t, fmt.Sprintf("seed %d: sealed and applied", seed), sealed, applied)
			same(t, fmt.Sprintf("seed %d: sealed and built", seed), sealed, built)
			if a, b, c := names(ch), names(ch2), names(Diff(im, built)); a != b || a != c {
				t.Fatalf("seed %d: changes %q, %q, %q", seed, a, b, c)
			}
			if r.IntN(3) > 0 { // now and then a publication is missed
				cell.Publish(ch)
			}
			im = sealed
		}
	}
}

// randomChange makes one change of any kind; next numbers topic ids.
func randomChange(r *rand.Rand, e *Edit, next int) int {
	name := fmt.Sprintf("t%d", r.IntN(6))
	t := e.Image().Topic(name)
	conf := map[string]string{}
	for range r.IntN(2) {
		conf["retention.ms"] = fmt.Sprint(r.IntN(100))
	}
	switch k := r.IntN(9); {
	case k < 3 && t == nil:
		created := topic(name, next, 1+r.IntN(4))
		created.Config = conf
		e.CreateTopic(created)
		return next + 1
	case k == 3 && t != nil:
		e.DeleteTopic(name)
	case k == 4 && t != nil:
		e.AddPartitions(name, topic(name, 0, 1+r.IntN(2)).Partitions)
	case k == 5 && t != nil:
		n := r.IntN(len(t.Partitions))
		p := t.Partitions[n]
		p.LeaderEpoch++
		if p.Moving() {
			p.Replicas, p.Adding, p.Target = []int32{1}, nil, nil
		} else {
			p.Replicas, p.Adding, p.Target = []int32{1, 2}, []int32{2}, []int32{2}
		}
		e.SetPartition(messages.TopicPartition{Topic: name, Partition: int32(n)}, p)
	case k == 6 && t != nil:
		e.SetTopicConfig(name, conf)
	case k == 7:
		e.SetBroker(Broker{ID: int32(r.IntN(4)), Epoch: int64(next), Host: "h", Port: 9092, Admin: "h:9644", Directory: "d", Draining: r.IntN(2) == 0})
		e.SetBrokerConfig(int32(r.IntN(4)), conf)
		e.RemoveBroker(int32(r.IntN(4)))
	default:
		e.SetClusterConfig(conf)
		e.SetNextProducerID(int64(next))
		e.SetController(int32(r.IntN(3)))
		e.SetClusterID("c")
		e.Require("topics/never")
	}
	return next
}

// follow keeps a subscriber's own list of topics by the changes it is told.
func follow(t *testing.T, known map[string]messages.TopicID, c Change) {
	t.Helper()
	for _, tc := range c.Topics {
		if tc.Old != nil && known[tc.Name()] != tc.Old.ID {
			t.Errorf("%s changes from %v, known is %v", tc.Name(), tc.Old.ID, known[tc.Name()])
		}
		delete(known, tc.Name())
		if tc.New != nil {
			known[tc.Name()] = tc.New.ID
		}
	}
	if len(known) != c.New.TopicCount() {
		t.Errorf("%d topics known, %d are there", len(known), c.New.TopicCount())
	}
}

func names(c Change) string {
	var list []string
	for _, tc := range c.Topics {
		list = append(list, fmt.Sprintf("%s:%v>%v", tc.Name(), tc.Old != nil, tc.New != nil))
	}
	return strings.Join(list, " ")
}

func TestABaseImageNeverChanges(t *testing.T) {
	e := NewEdit(Empty())
	for i := range 50 {
		e.CreateTopic(topic(fmt.Sprint("t", i), i+1, 3))
	}
	e.SetBroker(Broker{ID: 1, Host: "a"})
	base, _, err := e.Seal(1)
	if err != nil {
		t.Fatal(err)
	}
	before := base.Topic("t7").Partitions[1]
	e = NewEdit(base)
	e.SetPartition(messages.TopicPartition{Topic: "t7", Partition: 1}, Partition{Replicas: []int32{2}, ISR: []int32{2}, Leader: 2, LeaderEpoch: 9})
	e.DeleteTopic("t8")
	e.SetBroker(Broker{ID: 1, Host: "b"})
	next, ch, err := e.Seal(2)
	if err != nil {
		t.Fatal(err)
	}
	if p := base.Topic("t7").Partitions[1]; !reflect.DeepEqual(p, before) || base.Topic("t8") == nil || base.Brokers[0].Host != "a" {
		t.Error("the base changed")
	}
	if names(ch) != "t7:true>true t8:true>false" || !ch.Brokers || ch.Configs {
		t.Errorf("change: %s %v %v", names(ch), ch.Brokers, ch.Configs)
	}
	if next.Topic("t9") != base.Topic("t9") {
		t.Error("what did not change is not shared")
	}
}

func TestValuesAreReadStrictly(t *testing.T) {
	const id = `"AQIDBAUGBwgJCgsMDQ4PEA"`
	for _, c := range []struct{ key, value, want string }{
		{"topics/a", `{"id":` + id + `,"partitions":1,"extra":1}`, "extra"},
		{"topics/a", `{"id":` + id + `,"partitions":0}`, "0 partitions"},
		{"topics/a", `{"id":` + id + `,"partitions":2000000000}`, "more than there are keys"},
		{"topics/a", `{"partitions":1}`, "topic id is missing"},
		{"topics/a", `{"id":` + id + `,"partitions":1}`, "partitions/a/0"},
		{"topics/a", ``, "EOF"},
		{"topics/a", `{"id":` + id + `,"partitions":1}{}`, "more than one"},
		{"topics/a/b", `{}`, "character"},
		{"partitions/a/x", `{}`, "invalid syntax"},
		{"partitions/a/01", `{}`, "plainly"},
		{"partitions/a/-1", `{}`, "plainly"},
		{"partitions/a", `{}`, "invalid syntax"},
		{"partitions/a/0", `{"replicas":[],"isr":[],"leader":1,"leaderEpoch":0}`, "empty"},
		{"partitions/a/0", `{"replicas":[1,1],"isr":[1],"leader":1,"leaderEpoch":0}`, "doubled"},
		{"partitions/a/0", `{"replicas":[1],"isr":[2],"leader":1,"leaderEpoch":0}`, "isr"},
		{"partitions/a/0", `{"replicas":[1,2],"isr":[1],"leader":2,"leaderEpoch":0}`, "leader 2"},
		{"partitions/a/0", `{"replicas":[1],"isr":[1],"leader":1,"leaderEpoch":-1}`, "negative"},
		{"partitions/a/0", `{"replicas":[1,2],"isr":[1],"leader":1,"leaderEpoch":0,"adding":[2]}`, "without a target"},
		{"partitions/a/0", `{"replicas":[1],"isr":[1],"leader":1,"leaderEpoch":0,"adding":[1],"target":[1]}`, "original"},
		{"partitions/a/0", `{"replicas":[1],"isr":[1],"leader":1,"leaderEpoch":0,"target":[2]}`, "target [2]"},
		{"partitions/a/0", `{"replicas":[1,2,3],"isr":[1],"leader":1,"leaderEpoch":0,"adding":[2],"target":[3]}`, "not in target"},
		{"configs/topics/a", `null`, "object"},
		{"configs/topics/a", `{"a":1}`, "string"},
		{"configs/brokers/one", `{}`, "invalid syntax"},
		{"brokers/1", `{"epoch":1,"host":"h","port":70000}`, "70000"},
		{"ids/producers", `{"next":-5}`, "negative"},
		{"ids/retired", `{"epoch":-5}`, "negative"},
		{"ids/cluster", `{"id":""}`, "empty"},
		{"controller", `{"broker":-2}`, "-2"},
	} {
		_, err := Build(State{Revision: 1, Entries: map[string]Entry{c.key: {Value: []byte(c.value), Revision: 1}}})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.key) {
			t.Errorf("%s = %s: %v, want the key and %q", c.key, c.value, err, c.want)
		}
		if messages.KindOf(err) != messages.CorruptMessage {
			t.Errorf("%s: kind %v", c.key, messages.KindOf(err))
		}
		if _, _, err := Empty().Apply(put(c.key, c.value), 1); err == nil {
			t.Errorf("%s = %s was applied", c.key, c.value)
		}
	}
}

func TestTwoTopicsOfOneIDAreRefused(t *testing.T) {
	e := NewEdit(Empty())
	e.CreateTopic(topic("a", 1, 1))
	im, _, _ := e.Seal(1)
	e = NewEdit(Empty())
	e.CreateTopic(topic("b", 1, 1))
	if _, _, err := im.Apply(e.Txn(), 2); err == nil || !strings.Contains(err.Error(), "topics/b") {
		t.Errorf("have %v", err)
	}
}

// TestATopicMayComeInPieces follows a store whose transactions are too small:
// partitions first, the topic's key last; and the reverse for deletion.
func TestATopicMayComeInPieces(t *testing.T) {
	whole := NewEdit(Empty())
	created := topic("a", 1, 3)
	created.Config = map[string]string{"retention.ms": "5"}
	whole.CreateTopic(created)
	var first, last Txn
	for _, p := range whole.Txn().Puts {
		if p.Key == TopicKey("a") {
			last.Puts = append(last.Puts, p)
		} else {
			first.Puts = append(first.Puts, p)
		}
	}
	store := &mapStore{}
	im := Empty()
	step := func(txn Txn, topics, leftovers int) {
		t.Helper()
		rev := store.commit(t, txn)
		next, _, err := im.Apply(txn, rev)
		if err != nil {
			t.Fatal(err)
		}
		built, err := Build(store.state)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "applied and built", next, built)
		if next.TopicCount() != topics || next.Leftovers() != leftovers {
			t.Fatalf("%d topics and %d leftovers, want %d and %d", next.TopicCount(), next.Leftovers(), topics, leftovers)
		}
		im = next
	}
	step(first, 0, 4)
	step(last, 1, 0)
	if got := im.Topic("a").Config["retention.ms"]; got != "5" || im.PartitionCount() != 3 {
		t.Errorf("config %q, %d partitions", got, im.PartitionCount())
	}
	step(Txn{Deletes: []string{TopicKey("a")}}, 0, 4)

	again := NewEdit(im) // the name comes back, with fewer partitions
	again.CreateTopic(topic("a", 2, 2))
	step(again.Txn(), 1, 1)
	clean := NewEdit(im)
	clean.DeleteLeftovers()
	step(clean.Txn(), 1, 0)
}

func TestForeignKeysArePassedOver(t *testing.T) {
	im, ch, err := Empty().Apply(put("acls/x", "no json", "users/ann", ""), 7)
	if err != nil || im.Revision != 7 || len(ch.Topics) != 0 {
		t.Errorf("%v, revision %d", err, im.Revision)
	}
}

func TestLookupsOfWhatIsNotThere(t *testing.T) {
	im := Empty()
	if im.Topic("a") != nil || im.TopicByID(topicID(1)) != nil || im.Broker(1) != nil {
		t.Error("something was found in the empty image")
	}
	e := NewEdit(im)
	e.CreateTopic(topic("a", 1, 1))
	im, _, _ = e.Seal(1)
	for _, n := range []int32{-1, 1, 1 << 30} {
		if im.Partition(messages.TopicPartition{Topic: "a", Partition: n}) != nil {
			t.Errorf("partition %d was found", n)
		}
	}
}

// TestCellTellsWhoWaits has somebody wait for an image who subscribes to nothing.
func TestCellTellsWhoWaits(t *testing.T) {
	cell := NewCell()
	im, next := cell.Next()
	if im.Revision != 0 {
		t.Fatalf("the first image has revision %d", im.Revision)
	}
	e := NewEdit(im)
	e.SetClusterID("C")
	first, ch, err := e.Seal(7)
	if err != nil {
		t.Fatal(err)
	}
	cell.Publish(ch)
	<-next
	im, next = cell.Next()
	if im != first {
		t.Errorf("woken for revision %d, want 7", im.Revision)
	}
	select {
	case <-next:
		t.Error("woken without a publication")
	default:
	}
}

func TestCellIgnoresOlderImagesAndStopsAfterCancel(t *testing.T) {
	cell := NewCell()
	told := 0
	cancel := cell.Subscribe(func(Change) { told++ })
	newer, ch, _ := Empty().Apply(put("ids/cluster", `{"id":"c"}`), 5)
	cell.Publish(ch)
	_, older, _ := Empty().Apply(put("ids/cluster", `{"id":"old"}`), 4)
	cell.Publish(older)
	if cell.Image() != newer || told != 2 {
		t.Errorf("image of revision %d, told %d times", cell.Image().Revision, told)
	}
	cancel()
	_, ch, _ = newer.Apply(put("ids/cluster", `{"id":"d"}`), 6)
	cell.Publish(ch)
	if told != 2 || cell.Image().ClusterID != "d" {
		t.Errorf("told %d times, cluster %s", told, cell.Image().ClusterID)
	}
}

func FuzzApply(f *testing.F) {
	f.Add("topics/a", `{"id":"AQIDBAUGBwgJCgsMDQ4PEA","partitions":1}`)
	f.Add("partitions/a/0", `{"replicas":[1],"isr":[1],"leader":1,"leaderEpoch":0}`)
	f.Add("configs/brokers/default", `{"a":"b"}`)
	f.Fuzz(func(t *testing.T, key, value string) {
		e := NewEdit(Empty())
		e.CreateTopic(topic("a", 1, 2))
		im, _, _ := e.Seal(1)
		next, _, err := im.Apply(put(key, value), 2)
		if err != nil {
			return
		}
		if _, _, err := next.Apply(Txn{Deletes: []string{key}}, 3); err != nil && !strings.HasPrefix(key, "partitions/a/") {
			t.Errorf("cannot delete %q: %v", key, err)
		}
	})
}

// bigState is a store of topics × partitions.
func bigState(tb testing.TB, topics, partitions int) State {
	e := NewEdit(Empty())
	for i := range topics {
		e.CreateTopic(topic(fmt.Sprint("topic-", i), i+1, partitions))
	}
	s := &mapStore{}
	s.commit(tb, e.Txn())
	return s.state
}

func BenchmarkBuild10000Partitions(b *testing.B) {
	s := bigState(b, 1000, 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(s); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOneChangeAmong10000 changes one partition of one topic.
func BenchmarkOneChangeAmong10000(b *testing.B) {
	im, err := Build(bigState(b, 10_000, 1))
	if err != nil {
		b.Fatal(err)
	}
	tp := messages.TopicPartition{Topic: "topic-77"}
	b.ReportAllocs()
	for b.Loop() {
		e := NewEdit(im)
		p := *im.Partition(tp)
		p.LeaderEpoch++
		e.SetPartition(tp, p)
		_ = e.Txn()
		if im, _, err = e.Seal(im.Revision + 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAllLeadersChange is an edit of every one of 10,000 partitions.
func BenchmarkAllLeadersChange(b *testing.B) {
	im, err := Build(bigState(b, 1000, 10))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		e := NewEdit(im)
		for t := range im.Topics() {
			for n, p := range t.Partitions {
				p.LeaderEpoch++
				e.SetPartition(messages.TopicPartition{Topic: t.Name, Partition: int32(n)}, p)
			}
		}
		_ = e.Txn()
		if _, _, err := e.Seal(im.Revision + 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	im, err := Build(bigState(b, 10_000, 1))
	if err != nil {
		b.Fatal(err)
	}
	cell := NewCell()
	cell.Publish(Change{Old: Empty(), New: im})
	b.ReportAllocs()
	for b.Loop() {
		if cell.Image().Topic("topic-4711") == nil {
			b.Fatal("not found")
		}
	}
}
