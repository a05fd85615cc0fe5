package controller

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"understudy/cluster/election"
	"understudy/messages"
)

func election8(n int32, leader int32, isr ...int32) election.Event {
	old := election.State{Replicas: []int32{2, 1}, ISR: []int32{2, 1}, Leader: 2, LeaderEpoch: 7}
	next := old
	next.Leader, next.ISR, next.LeaderEpoch = leader, isr, 8
	return election.Event{
		Partition: messages.TopicPartition{Topic: "orders", Partition: n}, Old: old, New: next,
		Cause: election.Cause{Reason: election.BrokerDown, Broker: 2, Detail: "process gone, redial refused"},
	}
}

func TestRecordsOfAnElection(t *testing.T) {
	gone := election8(3, 1, 1)
	offline := election8(4, messages.NoBroker, 2, 1)
	e := Elected{Cause: gone.Cause, Partitions: []election.Event{gone, offline}}
	text, err := json.Marshal(e.Records())
	want := `[` +
		`{"kind":"leader-elected","subject":"orders-3","cause":"node 2 process gone, redial refused",` +
		`"text":"partition orders-3: leader 2 → 1, epoch 8, in sync [2 1] → [1]; cause: node 2 process gone, redial refused","count":1},` +
		`{"kind":"partition-offline","subject":"orders-4","cause":"node 2 process gone, redial refused",` +
		`"text":"partition orders-4: leader 2 → none, epoch 8; cause: node 2 process gone, redial refused","count":1}]`
	if err != nil || string(text) != want {
		t.Errorf("have %s (%v)\nwant %s", text, err, want)
	}
}

func TestManyElectionsAreFewRecords(t *testing.T) {
	e := Elected{Cause: election8(0, 1).Cause}
	for n := range int32(3333) {
		leader := int32(1)
		if n%3 == 0 {
			leader = messages.NoBroker
		}
		e.Partitions = append(e.Partitions, election8(n, leader, 1))
	}
	var lines []string
	for _, r := range e.Records() {
		lines = append(lines, fmt.Sprint(r.Kind, " ", r.Count, " ", r.Text))
	}
	want := "partition-offline 1111 1111 partitions: partition-offline; cause: node 2 process gone, redial refused\n" +
		"leader-elected 2222 2222 partitions: leader-elected; cause: node 2 process gone, redial refused"
	if have := strings.Join(lines, "\n"); have != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
}
