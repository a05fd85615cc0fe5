package metadata

import (
	"slices"
	"testing"
)

// TestARemovedBrokersEpochsAreNotUsedAgain removes a broker and brings one back
// under its id.
func TestARemovedBrokersEpochsAreNotUsedAgain(t *testing.T) {
	e := NewEdit(Empty())
	e.SetBroker(Broker{ID: 1, Epoch: 3, Host: "a", Port: 1})
	e.SetBroker(Broker{ID: 2, Epoch: 9, Host: "b", Port: 1, Down: "process gone"})
	e.SetBrokerConfig(2, map[string]string{"log.retention.ms": "1"})
	im, _, err := e.Seal(1)
	if err != nil {
		t.Fatal(err)
	}
	if im.NextEpoch(1) != 4 || im.NextEpoch(2) != 10 || im.NextEpoch(3) != 1 {
		t.Errorf("next epochs are %d, %d, %d", im.NextEpoch(1), im.NextEpoch(2), im.NextEpoch(3))
	}
	if !im.Broker(1).Up() || im.Broker(2).Up() || im.Broker(3).Up() {
		t.Error("only broker 1 is up")
	}
	e = NewEdit(im)
	e.RemoveBroker(2)
	e.RemoveBroker(7)
	im, change, err := e.Seal(2)
	if err != nil {
		t.Fatal(err)
	}
	if !change.Brokers || im.Broker(2) != nil || im.BrokerConfigs[2] != nil || im.NextEpoch(2) != 10 || im.NextEpoch(3) != 10 {
		t.Errorf("after the removal: %+v", im)
	}
}

func TestWhatAMoveRemoves(t *testing.T) {
	p := Partition{Replicas: []int32{1, 2, 3, 4}, ISR: []int32{1}, Leader: 1, Adding: []int32{4}, Target: []int32{4, 2}}
	if !p.Moving() || !slices.Equal(p.Removing(), []int32{1, 3}) {
		t.Errorf("%v goes", p.Removing())
	}
	p.Adding, p.Target = nil, nil
	if p.Moving() || p.Removing() != nil {
		t.Errorf("%v goes though nothing moves", p.Removing())
	}
}
