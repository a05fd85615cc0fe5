//go:build linux && amd64

package main

import (
	"math"
	"strings"
	"testing"
)

// script is what perf prints of one record of a leader, 10, and its followers, 20 and 30:
// fd 5 is the client's connection, 7 and 8 are links, 9 is the log, 6 another file.
const script = `
20/21 1.000000: raw_syscalls:sys_enter: NR 0 (7, 7fea1fffe584, 80, 0, 0, 0)
30/31 1.000000: raw_syscalls:sys_enter: NR 0 (7, 7fea1fffe584, 80, 0, 0, 0)
10/11 1.000000: raw_syscalls:sys_enter: NR 281 (6, 7fea1fffe584, 80, 0, 0, 0)
10/11 1.000010:  raw_syscalls:sys_exit: NR 281 = 1
10/11 1.000020: raw_syscalls:sys_enter: NR 0 (5, 7fea1fffe584, 400, 0, 0, 0)
10/11 1.000030:  raw_syscalls:sys_exit: NR 0 = 1024
10/12 1.000100: raw_syscalls:sys_enter: NR 296 (9, 7fea1fffe584, 1, 0, 0, 0)
10/12 1.000110:  raw_syscalls:sys_exit: NR 296 = 1090
10/12 1.000120: raw_syscalls:sys_enter: NR 20 (7, 7fea1fffe584, 3, 0, 0, 0)
10/13 1.000130: raw_syscalls:sys_enter: NR 75 (9, 7fea1fffe584, 3, 0, 0, 0)
10/12 1.000140:  raw_syscalls:sys_exit: NR 20 = 1150
10/12 1.000150: raw_syscalls:sys_enter: NR 20 (8, 7fea1fffe584, 3, 0, 0, 0)
10/12 1.000160:  raw_syscalls:sys_exit: NR 20 = 1150
20/21 1.000170:  raw_syscalls:sys_exit: NR 0 = 1150
30/31 1.000180:  raw_syscalls:sys_exit: NR 0 = 1150
20/22 1.000200: raw_syscalls:sys_enter: NR 296 (9, 7fea1fffe584, 1, 0, 0, 0)
20/22 1.000210:  raw_syscalls:sys_exit: NR 296 = 1090
30/32 1.000210: raw_syscalls:sys_enter: NR 18 (9, 7fea1fffe584, 1, 0, 0, 0)
30/32 1.000220:  raw_syscalls:sys_exit: NR 18 = 1090
20/22 1.000230: raw_syscalls:sys_enter: NR 75 (9, 0, 1, 0, 0, 0)
30/32 1.000240: raw_syscalls:sys_enter: NR 75 (9, 0, 1, 0, 0, 0)
10/13 1.000500:  raw_syscalls:sys_exit: NR 75 = 0
20/22 1.000600:  raw_syscalls:sys_exit: NR 75 = 0
20/22 1.000610: raw_syscalls:sys_enter: NR 1 (7, 0, 1, 0, 0, 0)
20/22 1.000620:  raw_syscalls:sys_exit: NR 1 = 40
30/32 1.000700:  raw_syscalls:sys_exit: NR 75 = 0
30/32 1.000710: raw_syscalls:sys_enter: NR 1 (7, 0, 1, 0, 0, 0)
30/32 1.000720:  raw_syscalls:sys_exit: NR 1 = 40
10/11 1.000800: raw_syscalls:sys_enter: NR 1 (5, 0, 1, 0, 0, 0)
10/11 1.000810:  raw_syscalls:sys_exit: NR 1 = 60
`

func TestARecordIsFollowed(t *testing.T) {
	calls, err := parse(strings.NewReader(script))
	if err != nil || len(calls) != 14 {
		t.Fatalf("%d calls, %v", len(calls), err)
	}
	f := files{names: map[file]string{}, links: map[file]bool{}}
	for _, pid := range []int{10, 20, 30} {
		f.names[file{pid, 5}], f.names[file{pid, 6}], f.names[file{pid, 7}], f.names[file{pid, 8}] = "socket:[1]", "anon_inode:[eventpoll]", "socket:[2]", "socket:[3]"
		f.names[file{pid, 9}] = "/data/logs/t-0/00000000000000000000.log"
		f.links[file{pid, 7}], f.links[file{pid, 8}] = true, true
	}
	records := follow(calls, f, "t-0")
	if len(records) != 1 || records[0].ownSyncLast {
		t.Fatalf("%+v", records)
	}
	for s, want := range map[stage][]float64{
		takes: {70}, leaderWrites: {10}, leaderTurns: {20}, leaderSyncs: {370}, answers: {90}, whole: {780},
		followerTakes: {30, 30}, followerWrites: {10, 10}, followerTurns: {20, 20}, followerSyncs: {370, 460}, acknowledges: {20, 20},
	} {
		have := records[0].took[s]
		if len(have) != len(want) {
			t.Errorf("%s: %v", s, have)
			continue
		}
		sum := 0.0
		for i := range want {
			sum += want[i] - 1e6*have[i] // followers come in any order
		}
		if math.Abs(sum) > 1 {
			t.Errorf("%s took %v s, want %v µs", s, have, want)
		}
	}
	if m := micros(records, whole, 0.5); m < 779 || m > 781 {
		t.Errorf("the median is %d µs", m)
	}
	if other := follow(calls, f, "t-1"); len(other) != 0 {
		t.Errorf("of another partition: %+v", other)
	}
}
