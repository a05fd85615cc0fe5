package kafka

import (
	"sync"
	"testing"
)

// TestASessionEndsWhileItIsAnswered has a client begin anew, as it does when it
// took a connection for dead, while the answer that it no longer waits for is made.
// The race detector looks on.
func TestASessionEndsWhileItIsAnswered(t *testing.T) {
	all := newSessions(10, 100)
	for range 100 {
		f := &fetching{parts: []fetchPart{{partKey: partKey{name: "a"}, slice: noRecords{}}, {partKey: partKey{name: "b"}}}}
		f.session = all.open(f, 0)
		var both sync.WaitGroup
		both.Go(func() { f.session.commit(f) })
		both.Go(func() { all.close(f.session.id) })
		both.Wait()
	}
	if all.parts != 0 || len(all.byID) != 0 {
		t.Errorf("%d partitions of %d sessions are left", all.parts, len(all.byID))
	}
}

// noRecords is a Slice that is only there.
type noRecords struct{ Slice }
