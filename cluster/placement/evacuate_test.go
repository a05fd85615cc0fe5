package placement

import (
	"slices"
	"testing"

	"understudy/messages"
)

// evacuated places partitions on brokers in racks, has the last one leave, and
// gives what there is then, with the loads of those that stay.
func evacuated(t *testing.T, racks []string, partitions, factor int, seed uint64) (before, after [][]int32, stay []Broker) {
	t.Helper()
	bs := brokers(racks...)
	placed, err := Place(bs, partitions, factor, seed)
	if err != nil {
		t.Fatal(err)
	}
	leaving := bs[len(bs)-1].ID
	for _, b := range bs[:len(bs)-1] {
		for _, r := range placed {
			if holds(r, b.ID) {
				b.Replicas++
			}
			if leads(r, b.ID) {
				b.Leaders++
			}
		}
		stay = append(stay, b)
	}
	var theirs [][]int32
	for _, r := range placed {
		if holds(r, leaving) {
			theirs = append(theirs, r)
		} else {
			after = append(after, r)
		}
	}
	moved := Evacuate(stay, func(id messages.BrokerID) string { return racks[id-1] }, theirs, leaving, seed)
	for n, target := range moved {
		if err := Check([][]int32{target}, factor, func(id int32) bool { return id != leaving && id >= 1 && int(id) <= len(racks) }); err != nil {
			t.Fatalf("seed %d: %v → %v: %v", seed, theirs[n], target, err)
		}
		for _, id := range theirs[n] {
			if id != leaving && !slices.Contains(target, id) {
				t.Fatalf("seed %d: %v → %v moves more than it must", seed, theirs[n], target)
			}
		}
	}
	return theirs, append(after, moved...), stay
}

func TestAnEvacuationIsBalanced(t *testing.T) {
	for seed := range uint64(30) {
		for _, n := range []int{4, 5, 8} {
			_, after, stay := evacuated(t, make([]string, n), 60, 3, seed)
			if low, high := spread(stay, after, holds); high-low > 2 {
				t.Errorf("seed %d, %d brokers: %d to %d replicas", seed, n, low, high)
			}
			if low, high := spread(stay, after, leads); high-low > 4 {
				t.Errorf("seed %d, %d brokers: %d to %d leaders", seed, n, low, high)
			}
		}
	}
}

func TestAnEvacuationKeepsRacksApart(t *testing.T) {
	racks := []string{"a", "a", "b", "b", "c", "c"}
	for seed := range uint64(30) {
		_, after, _ := evacuated(t, racks, 30, 3, seed)
		for _, r := range after {
			if racks[r[0]-1] == racks[r[1]-1] || racks[r[0]-1] == racks[r[2]-1] || racks[r[1]-1] == racks[r[2]-1] {
				t.Errorf("seed %d: %v shares a rack", seed, r)
			}
		}
	}
}

func TestAFollowersPlaceIsTaken(t *testing.T) {
	moved := Evacuate(brokers("", "", "", ""), func(messages.BrokerID) string { return "" }, [][]int32{{2, 9, 1}, {1, 9, 2}}, 9, 1)
	if moved[0][0] != 2 || moved[1][0] != 1 || moved[0][1] == moved[1][1] {
		t.Errorf("%v: another leads, or one broker got both", moved)
	}
}

func TestWhatCannotBeEvacuated(t *testing.T) {
	rack := func(messages.BrokerID) string { return "" }
	moved := Evacuate(brokers("", ""), rack, [][]int32{{1, 2, 3}, {3, 1}, {1, 2}}, 3, 1)
	if moved[0] != nil || !slices.Equal(moved[1], []int32{2, 1}) && !slices.Equal(moved[1], []int32{1, 2}) || moved[2] != nil {
		t.Errorf("%v", moved)
	}
	if moved = Evacuate(nil, rack, [][]int32{{3}}, 3, 1); moved[0] != nil {
		t.Errorf("%v", moved)
	}
}
