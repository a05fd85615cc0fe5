package placement

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"understudy/messages"
)

func brokers(racks ...string) []Broker {
	var list []Broker
	for i, rack := range racks {
		list = append(list, Broker{ID: int32(i + 1), Rack: rack})
	}
	return list
}

// spread gives the least and the most that a broker has of what count counts.
func spread(brokers []Broker, placed [][]int32, count func(replicas []int32, id int32) bool) (low, high int) {
	low = len(placed) + 1
	for _, b := range brokers {
		n := 0
		for _, replicas := range placed {
			if count(replicas, b.ID) {
				n++
			}
		}
		low, high = min(low, n), max(high, n)
	}
	return low, high
}

func holds(replicas []int32, id int32) bool { return slices.Contains(replicas, id) }
func leads(replicas []int32, id int32) bool { return replicas[0] == id }

func TestPlacementIsBalanced(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 10, 17} {
		bs := brokers(make([]string, n)...)
		for factor := 1; factor <= min(n, 5); factor++ {
			for seed := range uint64(20) {
				partitions := n * (1 + int(seed%7))
				placed, err := Place(bs, partitions, factor, seed)
				if err != nil {
					t.Fatal(err)
				}
				if err := Check(placed, factor, func(id int32) bool { return id >= 1 && int(id) <= n }); err != nil {
					t.Fatal(err)
				}
				if low, high := spread(bs, placed, holds); high-low > 1 {
					t.Errorf("%d brokers, factor %d, seed %d: %d to %d replicas", n, factor, seed, low, high)
				}
				if low, high := spread(bs, placed, leads); high-low > 2 {
					t.Errorf("%d brokers, factor %d, seed %d: %d to %d leaders", n, factor, seed, low, high)
				}
			}
		}
	}
}

func TestSixPartitionsOnThreeBrokers(t *testing.T) {
	for seed := range uint64(200) {
		bs := brokers("", "", "")
		placed, err := Place(bs, 6, 3, seed)
		if err != nil {
			t.Fatal(err)
		}
		if low, high := spread(bs, placed, leads); low != 2 || high != 2 {
			t.Fatalf("seed %d: %d to %d leaders: %v", seed, low, high, placed)
		}
	}
}

func TestReplicasAreInDifferentRacks(t *testing.T) {
	bs := brokers("a", "a", "a", "b", "b", "b", "c", "c", "c")
	rack := func(id int32) string { return bs[id-1].Rack }
	for seed := range uint64(50) {
		placed, err := Place(bs, 30, 3, seed)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range placed {
			if rack(r[0]) == rack(r[1]) || rack(r[0]) == rack(r[2]) || rack(r[1]) == rack(r[2]) {
				t.Fatalf("seed %d: %v shares a rack", seed, r)
			}
		}
		if low, high := spread(bs, placed, holds); high-low > 1 {
			t.Errorf("seed %d: %d to %d replicas", seed, low, high)
		}
	}
}

func TestMoreReplicasThanRacks(t *testing.T) {
	placed, err := Place(brokers("a", "a", "b"), 12, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	if low, high := spread(brokers("a", "a", "b"), placed, leads); high-low > 1 {
		t.Errorf("%d to %d leaders", low, high)
	}
	placed, _ = Place(brokers("a", "a", "b", "b"), 10, 3, 1)
	for _, r := range placed {
		both := 0
		for _, id := range r {
			if id <= 2 {
				both++
			}
		}
		if both == 0 || both == 3 {
			t.Errorf("%v is in one rack", r)
		}
	}
}

func TestAnEmptyBrokerFillsUpFirst(t *testing.T) {
	bs := brokers("", "", "")
	bs[0].Replicas, bs[1].Replicas = 10, 10
	bs[0].Leaders, bs[1].Leaders = 10, 10
	placed, err := Place(bs, 10, 1, 7)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range placed {
		if r[0] != 3 {
			t.Errorf("%v", placed)
			break
		}
	}
	if bs[2].Replicas != 0 {
		t.Error("the caller's loads were changed")
	}
}

func TestPlacementFollowsFromTheSeed(t *testing.T) {
	bs := brokers("a", "b", "c", "a", "b")
	one, _ := Place(bs, 50, 3, 42)
	slices.Reverse(bs)
	two, _ := Place(bs, 50, 3, 42)
	if !reflect.DeepEqual(one, two) {
		t.Error("the same seed gave two placements")
	}
	other, _ := Place(bs, 50, 3, 43)
	if reflect.DeepEqual(one, other) {
		t.Error("another seed gave the same placement")
	}
}

// TestAFallenBrokersLoadIsShared looks at who is second where one broker leads.
func TestAFallenBrokersLoadIsShared(t *testing.T) {
	bs := brokers(make([]string, 5)...)
	placed, _ := Place(bs, 500, 3, 3)
	seconds := map[int32]int{}
	for _, r := range placed {
		if r[0] == 1 {
			seconds[r[1]]++
		}
	}
	for _, b := range bs[1:] {
		if seconds[b.ID] < 10 {
			t.Errorf("broker %d would take over %d of 100: %v", b.ID, seconds[b.ID], seconds)
		}
	}
}

func TestWhatCannotBePlaced(t *testing.T) {
	for _, c := range []struct {
		brokers, partitions, factor int
		want                        messages.Kind
	}{
		{1, 0, 1, messages.InvalidPartitions},
		{1, -5, 1, messages.InvalidPartitions},
		{1, 1, 0, messages.InvalidReplicationFactor},
		{1, 1, 2, messages.InvalidReplicationFactor},
		{0, 1, 1, messages.InvalidReplicationFactor},
	} {
		if _, err := Place(brokers(make([]string, c.brokers)...), c.partitions, c.factor, 1); messages.KindOf(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestAssignmentsByHand(t *testing.T) {
	known := func(id int32) bool { return id >= 1 && id <= 3 }
	for _, c := range []struct {
		given  [][]int32
		factor int
		want   string
	}{
		{[][]int32{{1, 2}, {2, 3}}, 0, ""},
		{[][]int32{{1}}, 1, ""},
		{[][]int32{{1, 2}, {3}}, 0, "partition 1: 1 replicas, want 2"},
		{[][]int32{{1}}, 2, "partition 0: 1 replicas, want 2"},
		{[][]int32{{}}, 0, "partition 0: 0 replicas, want 1"},
		{[][]int32{{1, 1}}, 0, "broker 1 twice"},
		{[][]int32{{1, 4}}, 0, "broker 4 is not registered"},
	} {
		err := Check(c.given, c.factor, known)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v", c.given, err)
		}
		if err != nil && messages.KindOf(err) != messages.InvalidReplicaAssignment {
			t.Errorf("%v: kind %v", c.given, messages.KindOf(err))
		}
	}
}

func BenchmarkPlace1000(b *testing.B) {
	for _, n := range []int{3, 30} {
		b.Run(fmt.Sprint(n, "brokers"), func(b *testing.B) {
			bs := brokers(make([]string, n)...)
			for b.Loop() {
				if _, err := Place(bs, 1000, 3, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
