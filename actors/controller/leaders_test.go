package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// inSync is a leader's wish for all replicas that are up to be in sync.
func (s *stage) inSync(p *metadata.Partition) election.Change {
	c := election.Change{Epoch: p.LeaderEpoch, Revision: p.Revision}
	for _, id := range p.Replicas {
		if b := s.Image().Broker(id); b.Up() {
			c.ISR = append(c.ISR, election.Member{ID: id, Epoch: b.Epoch})
			if id == p.Leader {
				c.From = c.ISR[len(c.ISR)-1]
			}
		}
	}
	return c
}

func (s *stage) elect(kind ElectionKind, known []Holding, partitions ...messages.TopicPartition) []ElectionResult {
	s.t.Helper()
	results, err := s.ElectLeaders(ctx(s.t), kind, partitions, known)
	if err != nil {
		s.t.Fatal(err)
	}
	return results
}

var aZero = messages.TopicPartition{Topic: "a"}

func TestPreferredLeadersAreElected(t *testing.T) {
	s := three(t)
	r := s.elect(PreferredElection, nil, aZero, aZero, messages.TopicPartition{Topic: "b"})
	wantKind(t, "leads already", r[0].Err, messages.ElectionNotNeeded, "node 1 leads")
	wantKind(t, "twice", r[1].Err, messages.InvalidRequest, "more than once")
	wantKind(t, "unknown", r[2].Err, messages.UnknownTopicOrPartition, "b-0")
	s.down(1)
	wantKind(t, "down", s.elect(PreferredElection, nil, aZero)[0].Err, messages.PreferredLeaderNotAvailable, "node 1 is down")
	s.register(1, false)
	wantKind(t, "behind", s.elect(PreferredElection, nil, aZero)[0].Err, messages.PreferredLeaderNotAvailable, "not in sync")
	s.catchUp()
	s.told()
	if r := s.elect(PreferredElection, nil); len(r) != 1 || r[0].Err != nil || r[0].Topic != "a" {
		t.Errorf("%+v", r)
	}
	s.want("1/2 [1 2 3]")
	s.wantTold("partition a-0: leader 2 → 1, epoch 2; cause: asked for")
	if r := s.elect(PreferredElection, nil); len(r) != 0 {
		t.Errorf("nobody needs it: %+v", r)
	}
	_, err := s.ElectLeaders(ctx(t), 7, nil, nil)
	wantKind(t, "another kind", err, messages.InvalidRequest, "no kind")
}

// TestAnUncleanElectionTakesWhoHasTheMost has the last in-sync replica fall.
func TestAnUncleanElectionTakesWhoHasTheMost(t *testing.T) {
	s := three(t)
	wantKind(t, "led", s.elect(UncleanElection, nil, aZero)[0].Err, messages.ElectionNotNeeded, "node 1 leads")
	if _, err := isr(t, s, 1, []int32{1}, nil); err != nil {
		t.Fatal(err)
	}
	s.down(2)
	s.down(3)
	s.down(1)
	wantKind(t, "all down", s.elect(UncleanElection, nil, aZero)[0].Err, messages.EligibleLeadersNotAvailable, "none of the replicas")
	s.register(2, false)
	s.register(3, false)
	s.want("-1/1 [1]")
	s.told()
	known := []Holding{
		{Topic: "a", Broker: 2, Epoch: 0, End: 90, Committed: 150},
		{Topic: "a", Broker: 3, Epoch: 0, End: 100, Committed: 100},
		{Topic: "other", Broker: 2, Epoch: 9, End: 900},
	}
	const losses = "node 3 holds records below offset 100, and 150 at least were committed: 50 records or more are lost"
	if r := s.elect(UncleanElection, known, aZero)[0]; r.Err != nil || r.Losses != losses {
		t.Errorf("%+v", r)
	}
	s.want("3/2 [3]")
	s.wantTold("partition a-0: leader none → 3, epoch 2, in sync [1] → [3], UNCLEAN: committed records may be lost; cause: asked for: " + losses)
	if p := s.Image().Topic("a").Partitions[0]; p.UncleanEpoch != 2 {
		t.Errorf("%+v", p)
	}
}

func TestANewerEpochIsWorthMoreThanALongerLog(t *testing.T) {
	best, ok := most([]Holding{{Broker: 1, Epoch: 3, End: 100}, {Broker: 2, Epoch: 4, End: 50}, {Broker: 3, Epoch: 4, End: 40}})
	if !ok || best.Broker != 2 {
		t.Errorf("%+v", best)
	}
	if _, ok := most(nil); ok {
		t.Error("nobody has the most")
	}
	if got := losses(1, nil); got != "what is lost is not known" {
		t.Error(got)
	}
	if got := losses(1, []Holding{{Broker: 1, End: 7, Committed: 7}}); !strings.HasSuffix(got, "whether more were committed is not known") {
		t.Error(got)
	}
}

// TestOneThatRefusedIsForced has the only in-sync replica be up and refuse to lead.
func TestOneThatRefusedIsForced(t *testing.T) {
	s := three(t)
	if _, err := isr(t, s, 1, []int32{1}, nil); err != nil {
		t.Fatal(err)
	}
	s.down(2)
	s.down(3)
	done := make(chan error, 1)
	s.Resign(aZero, Resignation{From: election.Member{ID: 1, Epoch: s.Image().Broker(1).Epoch}, Lost: true}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.want("-1/1 [1]")
	if r := s.elect(UncleanElection, nil, aZero)[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	s.want("1/2 [1]")
	if p := s.Image().Topic("a").Partitions[0]; p.UncleanEpoch != 2 {
		t.Errorf("%+v: it would refuse again", p)
	}
}

func TestLeadersReturnByThemselves(t *testing.T) {
	s := active(t, nil)
	s.register(2, false)
	s.register(3, false)
	s.create("a", 90, 3)
	s.down(2)
	s.register(2, true)
	s.catchUp()
	_, before := s.count(2)
	if before != 0 {
		t.Fatalf("%d leaders", before)
	}
	s.told()
	if more := s.tend(none, 20); more || s.told() != "" {
		t.Error("a leader has returned to a node that is not steady")
	}
	two := func(id messages.BrokerID) bool { return id == 2 }
	for _, want := range []int{20, 30, 30} {
		more := s.tend(two, 20)
		if _, leaders := s.count(2); leaders != want || more != (want == 20) {
			t.Errorf("%d leaders, want %d; more: %v", leaders, want, more)
		}
	}
	if got := s.told(); !strings.Contains(got, "20 partitions changed: 20 have another leader, 0 of them none; cause: node 2 is the preferred leader and has been back for a while") {
		t.Errorf("told: %s", got)
	}
}

func TestLeadersStayWhereTheyShould(t *testing.T) {
	s := four(t)
	back := func() {
		s.down(1)
		s.register(1, true)
		s.want(fmt.Sprintf("2/%d [2 3]", s.Image().Topic("a").Partitions[0].LeaderEpoch))
	}
	stays := func(why string) {
		t.Helper()
		if s.tend(all, 10); s.Image().Topic("a").Partitions[0].Leader != 2 {
			t.Errorf("a leader has returned: %s", why)
		}
	}
	back()
	stays("not in sync")
	s.catchUp()
	if err := s.move(1, 2, 4); err != nil {
		t.Fatal(err)
	}
	stays("replicas are being moved")
	if err := s.move(); err != nil {
		t.Fatal(err)
	}
	s.drain(1, true)
	stays("it is drained")
	s.drain(1, false)
	if err := s.move(); err != nil && messages.KindOf(err) != messages.NoReassignment {
		t.Fatal(err)
	}
	off := ConfigChange{Resource: Resource{Type: BrokerResource}, Ops: []topicconfig.Op{{Name: "auto.leader.rebalance.enable", Value: "false"}}}
	if r := s.AlterConfigs(ctx(t), []ConfigChange{off}, false); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	stays("it is switched off")
	off.Ops[0].Value = "true"
	s.AlterConfigs(ctx(t), []ConfigChange{off}, false)
	if s.tend(all, 10); s.Image().Topic("a").Partitions[0].Leader != 1 {
		t.Error("the leader does not return")
	}
}

// registerWith enters a start of a broker with a data directory.
func (s *stage) registerWith(id int32, directory string) error {
	_, err := s.RegisterBroker(ctx(s.t), metadata.Broker{ID: id, Host: "h", Port: 1, Directory: directory}, true)
	return err
}

// TestAnEmptyDiskIsRefilled has a broker come back with another directory.
func TestAnEmptyDiskIsRefilled(t *testing.T) {
	s := three(t)
	for id := int32(1); id <= 3; id++ {
		if err := s.registerWith(id, fmt.Sprint("disk", id)); err != nil {
			t.Fatal(err)
		}
		s.catchUp()
	}
	s.down(3)
	s.down(2)
	s.want(fmt.Sprintf("1/%d [1]", s.Image().Topic("a").Partitions[0].LeaderEpoch))
	s.down(1)
	before := s.store.revision()
	wantKind(t, "the only copy", s.registerWith(1, "new"), messages.InvalidConfig, "a-0")
	if s.store.revision() != before || s.Image().Broker(1).Directory != "disk1" {
		t.Error("it is registered")
	}
	next := begin(t, s.store, nil)
	_, err := next.TakeOver(ctx(t), Takeover{Self: metadata.Broker{ID: 1, Epoch: s.Image().NextEpoch(1), Directory: "new"}, Register: true, Doubtful: true})
	wantKind(t, "the only copy takes over", err, messages.InvalidConfig, "a-0")
	if s.store.revision() != before || next.told() != "" {
		t.Error("who cannot be registered has become the controller")
	}
	if err := s.registerWith(2, "new"); err != nil { // was not in sync
		t.Error(err)
	}
	if p := s.Image().Topic("a").Partitions[0]; p.Leader != messages.NoBroker || !slices.Equal(p.ISR, []int32{1}) {
		t.Errorf("%+v", p)
	}
	if err := s.registerWith(1, "disk1"); err != nil {
		t.Error(err)
	}
	s.catchUp()
	s.want(fmt.Sprintf("1/%d [1 2]", s.Image().Topic("a").Partitions[0].LeaderEpoch))
}

// TestAnEmptyDiskIsOutOfSyncEvenIfTheOthersAreDown: they have what it lost.
func TestAnEmptyDiskIsOutOfSyncEvenIfTheOthersAreDown(t *testing.T) {
	s := three(t)
	for id := int32(1); id <= 3; id++ {
		if err := s.registerWith(id, fmt.Sprint("disk", id)); err != nil {
			t.Fatal(err)
		}
		s.catchUp()
	}
	next := begin(t, s.store, nil) // all have fallen at once, and nobody has noticed
	self := metadata.Broker{ID: 1, Epoch: s.Image().NextEpoch(1), Host: "h", Port: 1, Directory: "new"}
	if err := CheckDirectory(s.Image(), self, nil); err != nil {
		t.Error(err)
	}
	if _, err := next.TakeOver(ctx(t), Takeover{Self: self, Register: true, Doubtful: true, Down: func(b metadata.Broker) string { return "gone" }}); err != nil {
		t.Fatal(err)
	}
	p := next.Image().Topic("a").Partitions[0]
	if p.Leader != messages.NoBroker || !slices.Equal(p.ISR, []int32{2, 3}) {
		t.Errorf("%+v", p)
	}
	if got := next.told(); !strings.Contains(got, "broker epoch 3, with a new data directory") || !strings.Contains(got, "node 1 has a new data directory") {
		t.Errorf("told: %s", got)
	}
	if err := next.registerWith(3, "disk3"); err != nil {
		t.Fatal(err)
	}
	next.want(fmt.Sprintf("3/%d [3]", next.Image().Topic("a").Partitions[0].LeaderEpoch))
}

// TestWhereGoingOnMattersMoreAnEmptyDiskMayLead is what the topic says.
func TestWhereGoingOnMattersMoreAnEmptyDiskMayLead(t *testing.T) {
	s := three(t, "unclean.leader.election.enable", "true")
	if err := s.registerWith(1, "disk1"); err != nil {
		t.Fatal(err)
	}
	s.down(3)
	s.down(2)
	s.down(1)
	if err := s.registerWith(1, "new"); err != nil {
		t.Fatal(err)
	}
	if p := s.Image().Topic("a").Partitions[0]; p.Leader != 1 || p.UncleanEpoch != p.LeaderEpoch {
		t.Errorf("%+v", p)
	}
}

// TestWhoIsDownIsRemembered has a new controller know what the old one knew.
func TestWhoIsDownIsRemembered(t *testing.T) {
	s := three(t)
	s.down(3)
	if b := s.Image().Broker(3); b.Up() || b.Down != "redial refused" {
		t.Errorf("%+v", b)
	}
	next := begin(t, s.store, nil)
	if _, err := next.TakeOver(ctx(t), Takeover{Self: *s.Image().Broker(2)}); err != nil {
		t.Fatal(err)
	}
	if next.Image().Broker(3).Up() || !next.Image().Broker(1).Up() {
		t.Errorf("%+v", next.Image().Brokers)
	}
	next.told()
	if err := next.BrokerUp(ctx(t), 3, 1); err != nil {
		t.Fatal(err)
	}
	next.wantTold("node 3 is up after all, in broker epoch 1; it was taken for down because: redial refused")
	if err := next.BrokerDown(ctx(t), 2, 1, "wrongly"); err != nil { // itself
		t.Fatal(err)
	}
	if _, err := next.TakeOver(ctx(t), Takeover{Self: *next.Image().Broker(2)}); err != nil {
		t.Fatal(err)
	}
	if !next.Image().Broker(2).Up() {
		t.Error("a controller that is down")
	}
}
