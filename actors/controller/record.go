package controller

import (
	"fmt"

	"understudy/cluster/election"
)

// Record is one decision in plain words, which any node can keep and show.
type Record struct {
	Kind    Kind   `json:"kind"`
	Subject string `json:"subject"` // what was decided about: "orders-3", "node 2", "3333 partitions"
	Cause   string `json:"cause,omitempty"`
	Text    string `json:"text"`  // the decision and its cause in one line
	Count   int    `json:"count"` // how many things of the subject's kind it concerns; mostly 1
}

// Kind says what sort of decision a Record is of.
type Kind string

// The kinds.
const (
	KindController      Kind = "controller"       // another node decides, or none
	KindBrokerUp        Kind = "broker-up"        // registered, or heard again
	KindBrokerDown      Kind = "broker-down"      //
	KindBrokerDraining  Kind = "broker-draining"  // is to hold nothing, or may again
	KindBrokerDrained   Kind = "broker-drained"   // holds nothing
	KindBrokerRemoved   Kind = "broker-removed"   //
	KindMoveBegun       Kind = "move-begun"       // replicas are being moved
	KindMoveDone        Kind = "move-done"        //
	KindMoveCancelled   Kind = "move-cancelled"   //
	KindTopicCreated    Kind = "topic-created"    //
	KindTopicDeleted    Kind = "topic-deleted"    //
	KindPartitionsAdded Kind = "partitions-added" //
	KindConfigChanged   Kind = "config-changed"   //
	KindLeaderElected   Kind = "leader-elected"   // another replica leads
	KindLeaderEpoch     Kind = "leader-epoch"     // the same one leads a new epoch
	KindOffline         Kind = "partition-offline"
	KindUnclean         Kind = "unclean-election" // committed records may be lost
	KindISRChanged      Kind = "isr-changed"
)

// askedFor is the cause of what somebody asked for.
const askedFor = "asked for"

// Records implements Event.
func (e Activated) Records() []Record { return one(KindController, "controller", "", e) }

// Records implements Event.
func (e Deposed) Records() []Record { return one(KindController, "controller", "", e) }

// Records implements Event.
func (e Registered) Records() []Record {
	return one(KindBrokerUp, fmt.Sprint("node ", e.Broker.ID), "registered", e)
}

// Records implements Event.
func (e Fallen) Records() []Record {
	return one(KindBrokerDown, fmt.Sprint("node ", e.Broker.ID), e.Cause, e)
}

// Records implements Event.
func (e Returned) Records() []Record {
	return one(KindBrokerUp, fmt.Sprint("node ", e.Broker.ID), "heard again", e)
}

// Records implements Event.
func (e Draining) Records() []Record {
	return one(KindBrokerDraining, fmt.Sprint("node ", e.Broker), askedFor, e)
}

// Records implements Event.
func (e Drained) Records() []Record {
	return one(KindBrokerDrained, fmt.Sprint("node ", e.Broker), "its last replica has moved", e)
}

// Records implements Event.
func (e Removed) Records() []Record {
	return one(KindBrokerRemoved, fmt.Sprint("node ", e.Broker.ID), askedFor, e)
}

// Records implements Event.
func (e Moved) Records() []Record {
	kind := [...]Kind{KindMoveBegun, KindMoveDone, KindMoveCancelled}[min(e.Step, MoveCancelled)]
	if len(e.Moves) > maxRecords {
		return []Record{{Kind: kind, Subject: fmt.Sprintf("%d partitions", len(e.Moves)), Cause: e.Cause, Text: e.String(), Count: len(e.Moves)}}
	}
	list := make([]Record, len(e.Moves))
	for i, m := range e.Moves {
		list[i] = Record{Kind: kind, Subject: m.Partition.String(), Cause: e.Cause, Text: e.line(m), Count: 1}
	}
	return list
}

// Records implements Event.
func (e TopicCreated) Records() []Record { return one(KindTopicCreated, e.Name, askedFor, e) }

// Records implements Event.
func (e TopicDeleted) Records() []Record { return one(KindTopicDeleted, e.Name, askedFor, e) }

// Records implements Event.
func (e PartitionsAdded) Records() []Record { return one(KindPartitionsAdded, e.Name, askedFor, e) }

// Records implements Event.
func (e ConfigChanged) Records() []Record {
	return one(KindConfigChanged, e.Resource.String(), askedFor, e)
}

func one(kind Kind, subject, cause string, e fmt.Stringer) []Record {
	return []Record{{Kind: kind, Subject: subject, Cause: cause, Text: e.String(), Count: 1}}
}

// maxRecords is up to how many partitions an event has a Record for each; of
// more there is one for each kind.
const maxRecords = 64

// Records implements Event.
func (e Elected) Records() []Record {
	var list []Record
	if len(e.Partitions) <= maxRecords {
		for _, p := range e.Partitions {
			list = append(list, one(kindOf(p), p.Partition.String(), p.Cause.String(), p)...)
		}
		return list
	}
	counts := map[Kind]int{}
	for _, p := range e.Partitions {
		counts[kindOf(p)]++
	}
	for _, kind := range []Kind{KindUnclean, KindOffline, KindLeaderElected, KindLeaderEpoch, KindISRChanged} {
		if n := counts[kind]; n > 0 {
			list = append(list, several(kind, n, e.Cause.String()))
		}
	}
	return list
}

// several is the Record of one decision about many partitions.
func several(kind Kind, n int, cause string) Record {
	subject := fmt.Sprintf("%d partitions", n)
	text := fmt.Sprintf("%s: %s; cause: %s", subject, kind, cause)
	return Record{Kind: kind, Subject: subject, Cause: cause, Text: text, Count: n}
}

// kindOf says what of a partition's change matters most.
func kindOf(e election.Event) Kind {
	switch {
	case e.Unclean():
		return KindUnclean
	case e.New.Offline() && !e.Old.Offline():
		return KindOffline
	case e.New.Leader != e.Old.Leader:
		return KindLeaderElected
	case e.New.LeaderEpoch != e.Old.LeaderEpoch:
		return KindLeaderEpoch
	}
	return KindISRChanged
}
