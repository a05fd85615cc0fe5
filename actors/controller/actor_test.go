package controller

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"understudy/cluster/local"
	"understudy/cluster/metadata"
	"understudy/messages"
)

func TestCommandsGatherWhileACommitIsUnderWay(t *testing.T) {
	s := active(t, nil)
	entered, release := make(chan struct{}, 100), make(chan struct{})
	s.store.intercept(func(*memStore, metadata.Txn) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	before := s.store.commits
	var wg sync.WaitGroup
	wg.Go(func() { s.create("first", 1, 1) })
	<-entered
	for i := range 100 {
		wg.Go(func() { s.create(fmt.Sprint("t", i), 1, 1) })
	}
	for len(s.c.credits) < 101 { // all are on their way: each took a credit before it was sent
		runtime.Gosched()
	}
	probe := make(chan struct{})
	s.send(&onDecide{}, func(error) { close(probe) }) // behind them in the mailbox, or with them
	close(release)
	wg.Wait()
	<-probe
	if got := s.store.commits - before; got > 10 {
		t.Errorf("%d commits for 101 topics", got)
	}
	if s.Image().TopicCount() != 101 {
		t.Errorf("%d topics", s.Image().TopicCount())
	}
}

// onDecide is a command that does what a test says.
type onDecide struct{ f func(*decision) error }

func (o *onDecide) decide(d *decision) error {
	if o.f == nil {
		return nil
	}
	return o.f(d)
}

func TestLaterCommandsSeeWhatEarlierOnesDid(t *testing.T) {
	s := active(t, nil)
	entered, release := make(chan struct{}, 2), make(chan struct{})
	s.store.intercept(func(*memStore, metadata.Txn) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	results := make(chan error, 4)
	s.send(&onDecide{func(d *decision) error { d.edit.SetNextProducerID(7); return nil }}, func(err error) { results <- err })
	<-entered
	for range 2 { // both wait, and share the next transaction
		cmd := &createTopics{topics: []NewTopic{{Name: "a.b", Partitions: 1, ReplicationFactor: 1}}}
		s.send(cmd, func(error) { results <- cmd.results[0].Err })
	}
	cmd := &createTopics{topics: []NewTopic{{Name: "a_b", Partitions: 1, ReplicationFactor: 1}}}
	s.send(cmd, func(error) { results <- cmd.results[0].Err })
	close(release)
	if err := <-results; err != nil {
		t.Fatal(err)
	}
	if err := <-results; err != nil {
		t.Error(err)
	}
	wantKind(t, "second", <-results, messages.TopicExists, "a.b")
	wantKind(t, "lookalike", <-results, messages.InvalidTopic, "a.b")
}

func TestManyAtOnce(t *testing.T) {
	s := active(t, nil)
	const workers, each = 40, 5
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("t-%d-%d", w, i)
				if r := s.try(NewTopic{Name: name, Partitions: 2, ReplicationFactor: 1}); r.Err != nil || s.Image().Topic(name) == nil {
					t.Errorf("%s: %v, or it is not in the image", name, r.Err)
				}
				s.CreatePartitions(ctx(t), []NewPartitions{{Topic: name, Count: 3}}, false)
				if i%2 == 1 {
					if r := s.DeleteTopics(ctx(t), []TopicRef{{Name: name}}); r[0].Err != nil || s.Image().Topic(name) != nil {
						t.Errorf("%s: %v, or it is still in the image", name, r[0].Err)
					}
				}
			}
		})
	}
	wg.Wait()
	if im := s.Image(); im.TopicCount() != workers*3 || im.PartitionCount() != workers*3*3 {
		t.Errorf("%d topics with %d partitions", im.TopicCount(), im.PartitionCount())
	}
	built, err := metadata.Build(s.store.state)
	if err != nil || built.PartitionCount() != s.Image().PartitionCount() || built.Revision != s.Image().Revision || built.Leftovers() != 0 {
		t.Errorf("the store differs from the image: %v", err)
	}
}

func TestAConflictIsDecidedAgain(t *testing.T) {
	s := active(t, nil)
	conflicts := 0
	s.store.intercept(func(st *memStore, txn metadata.Txn) error {
		if conflicts++; conflicts == 1 { // somebody takes the name first
			st.meddle("topics/taken", `{"id":"AQIDBAUGBwgJCgsMDQ4PEA","partitions":1}`)
			st.meddle("partitions/taken/0", `{"replicas":[1],"isr":[1],"leader":1,"leaderEpoch":0}`)
		}
		return nil
	})
	r := s.CreateTopics(ctx(t), []NewTopic{
		{Name: "taken", Partitions: 1, ReplicationFactor: 1},
		{Name: "free", Partitions: 1, ReplicationFactor: 1},
	}, false)
	wantKind(t, "taken", r[0].Err, messages.TopicExists, "taken")
	if r[1].Err != nil || s.Image().Topic("free") == nil || s.Image().Topic("taken") == nil || conflicts != 2 {
		t.Errorf("%v, %d attempts", r[1].Err, conflicts)
	}
}

func TestConflictsWithoutEndAreGivenUp(t *testing.T) {
	s := active(t, nil)
	tries := 0
	s.store.intercept(func(*memStore, metadata.Txn) error { tries++; return metadata.ErrConflict })
	wantKind(t, "create", s.try(NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1}).Err, messages.NotController, "changed meanwhile")
	if tries != maxTries {
		t.Errorf("%d tries", tries)
	}
	s.store.intercept(nil)
	s.create("a", 1, 1)
}

func TestAStoreErrorFailsTheActorWhichStartsAgain(t *testing.T) {
	s := active(t, nil)
	s.create("kept", 1, 1)
	s.store.intercept(func(st *memStore, _ metadata.Txn) error {
		st.intercept(nil)
		return errDisk
	})
	wantKind(t, "create", s.try(NewTopic{Name: "lost", Partitions: 1, ReplicationFactor: 1}).Err, messages.StorageError, "disk on fire")
	s.create("after", 1, 1)
	if im := s.Image(); im.Topic("lost") != nil || im.Topic("kept") == nil || im.Topic("after") == nil {
		t.Error("not what the store has")
	}
	if f := s.failed(); len(f) != 1 || !strings.Contains(f[0].Error(), "disk on fire") {
		t.Errorf("failures: %v", f)
	}
}

// flaky is a source of randomness that fails once when told to.
type flaky struct {
	io.Reader
	fail chan struct{}
}

func (f flaky) Read(b []byte) (int, error) {
	select {
	case <-f.fail:
		return 0, errDisk
	default:
		return f.Reader.Read(b)
	}
}

func TestAPanicLosesNothingThatWasCommitted(t *testing.T) {
	source := flaky{fail: make(chan struct{}, 1)}
	s := active(t, func(o *Options) {
		source.Reader = New(*o).o.Entropy
		o.Entropy = source
	})
	s.create("kept", 3, 1)
	epoch := s.Image().Broker(1).Epoch
	source.fail <- struct{}{}
	wantKind(t, "create", s.try(NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1}).Err, messages.RequestTimedOut, "not known")
	s.create("a", 1, 1)
	if im := s.Image(); im.PartitionCount() != 4 || im.Broker(1).Epoch != epoch || len(s.failed()) != 1 {
		t.Errorf("%d partitions, broker epoch %d, failures %v", im.PartitionCount(), im.Broker(1).Epoch, s.failed())
	}
}

// TestACommitUnderWayEndsBeforeTheNextLoad restarts the actor while a commit is
// held up: the new incarnation must not read before it has ended.
func TestACommitUnderWayEndsBeforeTheNextLoad(t *testing.T) {
	s := active(t, nil)
	entered, release := make(chan struct{}), make(chan struct{})
	s.store.intercept(func(st *memStore, _ metadata.Txn) error {
		st.intercept(nil)
		close(entered)
		<-release
		return nil
	})
	cmd := &createTopics{topics: []NewTopic{{Name: "held", Partitions: 1, ReplicationFactor: 1}}}
	answer := make(chan error, 1)
	s.send(cmd, func(err error) { answer <- err })
	<-entered
	s.root.Send(s.pid, &request{ctx: ctx(t), cmd: &onDecide{}, done: func(error) {}})
	s.root.Send(s.pid, committed{incarnation: 1, err: errDisk}) // as if the store had failed
	wantKind(t, "held", <-answer, messages.StorageError, "disk")
	close(release)
	s.create("next", 1, 1)
	if s.Image().Topic("held") == nil {
		t.Error("what the held-up commit wrote is not in the image")
	}
}

func TestAControllerThatWasReplacedRefuses(t *testing.T) {
	s := active(t, nil)
	s.told()
	s.store.meddle("controller", `{"broker":2}`)
	wantKind(t, "create", s.try(NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1}).Err, messages.NotController, "")
	_, err := s.AllocateProducerIDs(ctx(t), 10)
	wantKind(t, "producer ids", err, messages.NotController, "")
	if got := s.told(); got != "node 1 is no longer the controller; node 2 is" {
		t.Errorf("told: %s", got)
	}
	s.activate(1, false)
	s.create("a", 1, 1)
}

func TestNothingIsDecidedBeforeActivation(t *testing.T) {
	s := begin(t, &memStore{}, nil)
	for what, err := range map[string]error{
		"create":     s.try(NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1}).Err,
		"delete":     s.DeleteTopics(ctx(t), []TopicRef{{Name: "a"}})[0].Err,
		"partitions": s.CreatePartitions(ctx(t), []NewPartitions{{Topic: "a", Count: 2}}, false)[0].Err,
		"configs":    s.AlterConfigs(ctx(t), []ConfigChange{{Resource: Resource{Type: TopicResource, Name: "a"}}}, false)[0].Err,
	} {
		wantKind(t, what, err, messages.NotController, "")
	}
	if _, err := s.RegisterBroker(ctx(t), metadata.Broker{ID: 2}, false); messages.KindOf(err) != messages.NotController {
		t.Errorf("register: %v", err)
	}
	if s.store.revision() != 0 {
		t.Error("something was written")
	}
}

func TestACallerThatGivesUpIsAnsweredAtOnce(t *testing.T) {
	s := active(t, nil)
	entered, release := make(chan struct{}, 2), make(chan struct{})
	s.store.intercept(func(*memStore, metadata.Txn) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	first, cancel := context.WithCancel(ctx(t))
	go func() {
		<-entered
		cancel()
	}()
	_, err := s.AllocateProducerIDs(first, 1)
	wantKind(t, "first", err, messages.RequestTimedOut, "canceled")

	second, cancel := context.WithCancel(ctx(t)) // given up before it is decided: not done
	done := make(chan error, 1)
	s.root.Send(s.pid, &request{ctx: second, cmd: &allocateProducerIDs{n: 5}, done: func(err error) { done <- err }})
	cancel()
	close(release)
	wantKind(t, "second", <-done, messages.RequestTimedOut, "canceled")
	if id, err := s.AllocateProducerIDs(ctx(t), 1); err != nil || id != 1 {
		t.Errorf("next id %d, %v", id, err)
	}
}

func TestWaitingCallsAreAnsweredWhenTheActorStops(t *testing.T) {
	s := active(t, nil)
	entered, release := make(chan struct{}), make(chan struct{})
	s.store.intercept(func(st *memStore, _ metadata.Txn) error {
		st.intercept(nil)
		close(entered)
		<-release
		return nil
	})
	answers := make(chan error, maxWaiting+10)
	for i := range cap(answers) { // some of them cannot even be sent
		go func() { answers <- s.try(NewTopic{Name: fmt.Sprint("t", i), Partitions: 1, ReplicationFactor: 1}).Err }()
	}
	<-entered
	s.system.Root.Stop(s.parent)
	for range cap(answers) {
		if err := <-answers; messages.KindOf(err) != messages.NotController && messages.KindOf(err) != messages.RequestTimedOut {
			t.Errorf("have %v", err)
		}
	}
	close(release)
	if err := s.try(NewTopic{Name: "late"}).Err; messages.KindOf(err) != messages.NotController {
		t.Errorf("after the end: %v", err)
	}
}

func TestProducerIDsAreNeverHandedOutTwice(t *testing.T) {
	s := active(t, nil)
	var mu sync.Mutex
	taken := map[int64]bool{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			first, err := s.AllocateProducerIDs(ctx(t), 10)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for id := first; id < first+10; id++ {
				if taken[id] {
					t.Errorf("%d twice", id)
				}
				taken[id] = true
			}
		})
	}
	wg.Wait()
	again := begin(t, s.store, nil)
	again.activate(1, true)
	if first, err := again.AllocateProducerIDs(ctx(t), 1); err != nil || first != 200 {
		t.Errorf("after a restart: %d, %v", first, err)
	}
	for _, n := range []int64{0, -1, maxProducerIDs + 1} {
		_, err := again.AllocateProducerIDs(ctx(t), n)
		wantKind(t, fmt.Sprint(n), err, messages.InvalidRequest, "want from 1")
	}
}

func TestMetadataThatCannotBeReadIsSaid(t *testing.T) {
	store := &memStore{}
	store.meddle("topics/a", `{"id":"?"}`)
	s := begin(t, store, nil)
	answer := make(chan error, 1)
	go func() {
		_, err := s.TakeOver(ctx(t), Takeover{Self: metadata.Broker{ID: 1}, Register: true})
		answer <- err
	}()
	for len(s.failed()) == 0 {
		runtime.Gosched()
	}
	if f := s.failed(); !strings.Contains(f[0].Error(), "topics/a") {
		t.Errorf("failures: %v", f[0])
	}
	store.mu.Lock()
	delete(store.state.Entries, "topics/a") // repaired by hand
	store.mu.Unlock()
	if err := <-answer; err != nil && messages.KindOf(err) != messages.NotController {
		t.Error(err)
	}
	s.activate(1, false)
}

// TestOnTheEmbeddedStore runs the same on the store that a broker alone uses.
func TestOnTheEmbeddedStore(t *testing.T) {
	store := local.NewMemory()
	defer store.Close()
	on := func(o *Options) { o.Store = store }
	s := active(t, on)
	s.create("a", 3, 1, "retention.ms", "5")
	s.create("b", 1, 1)
	s.CreatePartitions(ctx(t), []NewPartitions{{Topic: "b", Count: 2}}, false)
	s.DeleteTopics(ctx(t), []TopicRef{{Name: "a"}})
	s.create("a", 2, 1)
	again := begin(t, nil, on)
	again.activate(1, true)
	if im := again.Image(); im.PartitionCount() != 4 || again.state("a", 1) != "1/1 [1]" || len(im.Topic("a").Config) != 0 {
		t.Errorf("%d partitions, a-1 is %s", im.PartitionCount(), again.state("a", 1))
	}
}
