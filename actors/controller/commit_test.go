package controller

import (
	"testing"

	"understudy/cluster/metadata"
)

// TestCommitsLeadFromImageToImage follows a controller by what it tells of its
// commits alone, as the other nodes do.
func TestCommitsLeadFromImageToImage(t *testing.T) {
	var commits []Commit // written in the actor's turn, read when it has answered
	s := begin(t, &memStore{}, func(o *Options) {
		o.Committed = func(c Commit) { commits = append(commits, c) }
	})
	s.activate(1, false)
	s.register(2, false)
	s.create("a", 6, 2, "retention.ms", "1")
	s.create("b", 2, 1)
	s.DeleteTopics(ctx(t), []TopicRef{{Name: "b"}})
	if err := s.BrokerDown(ctx(t), 2, 1, "gone"); err != nil {
		t.Fatal(err)
	}
	followed := metadata.Empty()
	for _, c := range commits {
		if c.Before != followed.Revision || c.After <= c.Before {
			t.Fatalf("a commit leads from %d to %d, the one before to %d", c.Before, c.After, followed.Revision)
		}
		next, _, err := followed.Apply(c.Txn, c.After)
		if err != nil {
			t.Fatal(err)
		}
		followed = next
	}
	if want := s.Image(); followed.Revision != want.Revision {
		t.Errorf("the commits lead to revision %d, want %d", followed.Revision, want.Revision)
	}
	if d := metadata.Diff(followed, s.Image()); len(d.Topics) > 0 || d.Brokers || d.Configs || followed.Controller != 1 {
		t.Errorf("the commits lead elsewhere: %+v", d)
	}
}
