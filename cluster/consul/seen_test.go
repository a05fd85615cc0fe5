package consul

import (
	"errors"
	"testing"
)

// TestWhatIsSeenDuringAReadIsNoLoss has a newer version be seen, by the watch or from
// the controller, while everything is read.
func TestWhatIsSeenDuringAReadIsNoLoss(t *testing.T) {
	w := newWorld(t)
	n := w.node(1)
	if _, err := n.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := n.sawSoFar()
	n.saw(before + 9)
	if _, err := n.adopt(nil, before); err != nil {
		t.Errorf("what was read is as new as what had been seen before: %v", err)
	}
	if n.sawSoFar() != before+9 {
		t.Error("what was seen meanwhile is forgotten")
	}
	if _, err := n.adopt(nil, n.sawSoFar()); !errors.Is(err, ErrDataLost) {
		t.Errorf("less than had been seen before is taken: %v", err)
	}
}
