package topicconfig

import "testing"

func TestThrottledReplicas(t *testing.T) {
	for list, want := range map[string][4]bool{ // of 0:1, 0:12, 1:1, 12:0
		"":              {},
		"*":             {true, true, true, true},
		"0:1":           {true},
		"1:1, 0:12":     {false, true, true},
		"12:0,7:7,0:1,": {true, false, false, true},
	} {
		s, err := Parse(map[string]string{"leader.replication.throttled.replicas": list, "follower.replication.throttled.replicas": list}, Defaults{})
		if err != nil || s.LeaderThrottled != s.FollowerThrottled {
			t.Errorf("%q: %v", list, err)
		}
		for i, r := range [4][2]int32{{0, 1}, {0, 12}, {1, 1}, {12, 0}} {
			if got := s.LeaderThrottled.Has(r[0], r[1]); got != want[i] {
				t.Errorf("%q has %v: %v", list, r, got)
			}
		}
	}
	for _, list := range []string{"1", "1:", ":1", "-1:1", "1:-1", "1:2:3", "a:b", "*,1:1", "1:99999999999"} {
		if _, err := Parse(map[string]string{"leader.replication.throttled.replicas": list}, Defaults{}); err == nil {
			t.Errorf("%q was taken", list)
		}
	}
}
