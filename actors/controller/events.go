package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// Event is something that the controller has decided, after it was committed.
// String is one line for a log; the fields are for whoever knows the type, and
// Records for everybody else.
type Event interface {
	fmt.Stringer
	// Records are the event in the form in which it is kept, counted and shown; at
	// least one, and few however many partitions it concerns.
	Records() []Record
}

// Activated: this broker's controller has begun to decide.
type Activated struct {
	Broker    messages.BrokerID
	ClusterID string
}

// Deposed: another broker is the controller now.
type Deposed struct {
	Self, By messages.BrokerID
}

// Registered: a broker is up, on a new start.
type Registered struct {
	Broker  metadata.Broker
	Emptied bool // it has another data directory than before: it is in sync nowhere
}

// Fallen: a broker is down.
type Fallen struct {
	Broker metadata.Broker
	Cause  string
}

// Returned: a broker that was taken for down is up after all.
type Returned struct {
	Broker metadata.Broker
	Was    string // why it was taken for down
}

// Draining: a broker shall hold nothing any more, or, when On is false, may again.
type Draining struct {
	Broker messages.BrokerID
	On     bool
}

// Drained: a broker that was to hold nothing does so.
type Drained struct{ Broker messages.BrokerID }

// Removed: a broker is forgotten.
type Removed struct{ Broker metadata.Broker }

// TopicCreated: a topic exists.
type TopicCreated struct {
	Name       string
	ID         messages.TopicID
	Partitions int
	Replicas   int // of each partition
	Config     map[string]string
}

// TopicDeleted: a topic is no more.
type TopicDeleted struct {
	Name string
	ID   messages.TopicID
}

// PartitionsAdded: a topic has more partitions.
type PartitionsAdded struct {
	Name     string
	From, To int
}

// ConfigChanged: a topic's or broker's settings changed.
type ConfigChanged struct {
	Resource Resource
	Old, New map[string]string
}

// Elected: partitions changed their leader, epoch or in-sync set.
type Elected struct {
	Cause      election.Cause
	Partitions []election.Event
}

// MoveStep says how far a move of replicas has come.
type MoveStep uint8

// The steps.
const (
	MoveBegun     MoveStep = iota // new replicas are being filled
	MoveDone                      // all were in sync: the old ones go
	MoveCancelled                 // what there was before stays
)

// String is the step in words.
func (s MoveStep) String() string {
	return [...]string{"begin to move", "have moved", "move back"}[min(s, MoveCancelled)]
}

// Move is one partition's.
type Move struct {
	Partition messages.TopicPartition
	From, To  []messages.BrokerID
}

// String is one line: "partition orders-3: replicas [1 2 3] → [4 2 3]".
func (m Move) String() string {
	return fmt.Sprintf("partition %v: replicas %v → %v", m.Partition, m.From, m.To)
}

// Moved: replicas of partitions are moved to other brokers.
type Moved struct {
	Step  MoveStep
	Cause string
	Moves []Move
}

func (e Activated) String() string {
	return fmt.Sprintf("node %d is the controller of cluster %s", e.Broker, e.ClusterID)
}

func (e Deposed) String() string {
	if e.By == messages.NoBroker {
		return fmt.Sprintf("node %d is no longer the controller; nobody is", e.Self)
	}
	return fmt.Sprintf("node %d is no longer the controller; node %d is", e.Self, e.By)
}

func (e Registered) String() string {
	s := fmt.Sprintf("node %d is up at %s:%d, broker epoch %d", e.Broker.ID, e.Broker.Host, e.Broker.Port, e.Broker.Epoch)
	if e.Emptied {
		s += ", with a new data directory"
	}
	return s
}

func (e Fallen) String() string {
	return fmt.Sprintf("node %d is down; cause: %s", e.Broker.ID, e.Cause)
}

func (e Returned) String() string {
	return fmt.Sprintf("node %d is up after all, in broker epoch %d; it was taken for down because: %s", e.Broker.ID, e.Broker.Epoch, e.Was)
}

func (e Draining) String() string {
	if e.On {
		return fmt.Sprintf("node %d is being drained: what it leads and holds moves elsewhere; cause: asked for", e.Broker)
	}
	return fmt.Sprintf("node %d is not drained any more; cause: asked for", e.Broker)
}

func (e Drained) String() string {
	return fmt.Sprintf("node %d is drained: it holds nothing", e.Broker)
}

func (e Removed) String() string {
	return fmt.Sprintf("node %d is forgotten; cause: asked for", e.Broker.ID)
}

func (e Moved) String() string {
	if len(e.Moves) == 1 {
		return e.line(e.Moves[0])
	}
	return fmt.Sprintf("replicas of %d partitions %v; cause: %s", len(e.Moves), e.Step, e.Cause)
}

// line is one of the event's moves.
func (e Moved) line(m Move) string { return fmt.Sprintf("%v %v; cause: %s", m, e.Step, e.Cause) }

func (e TopicCreated) String() string {
	s := fmt.Sprintf("topic %s created: id %v, %d partitions, %d replicas", e.Name, e.ID, e.Partitions, e.Replicas)
	if len(e.Config) > 0 {
		s += ", settings " + words(e.Config)
	}
	return s
}

func (e TopicDeleted) String() string { return fmt.Sprintf("topic %s deleted: id %v", e.Name, e.ID) }

func (e PartitionsAdded) String() string {
	return fmt.Sprintf("topic %s: %d partitions, before %d", e.Name, e.To, e.From)
}

func (e ConfigChanged) String() string {
	return fmt.Sprintf("settings of %v: %s, before %s", e.Resource, words(e.New), words(e.Old))
}

// words are settings as "a=1 b=2".
func words(settings map[string]string) string {
	if len(settings) == 0 {
		return "none"
	}
	var list []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		list = append(list, key+"="+settings[key])
	}
	return strings.Join(list, " ")
}

func (e Elected) String() string {
	if len(e.Partitions) == 1 {
		return e.Partitions[0].String()
	}
	var leaders, offline int
	for _, p := range e.Partitions {
		if p.Old.Leader != p.New.Leader {
			leaders++
		}
		if p.New.Offline() {
			offline++
		}
	}
	return fmt.Sprintf("%d partitions changed: %d have another leader, %d of them none; cause: %v", len(e.Partitions), leaders, offline, e.Cause)
}
