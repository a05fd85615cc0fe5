package controller

import (
	"fmt"

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
	Broker metadata.Broker
	Clean  bool // it was stopped cleanly before
}

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
	if !e.Clean {
		s += ", after a stop that was not clean"
	}
	return s
}

func (e TopicCreated) String() string {
	return fmt.Sprintf("topic %s created: id %v, %d partitions, %d replicas, settings %v", e.Name, e.ID, e.Partitions, e.Replicas, e.Config)
}

func (e TopicDeleted) String() string { return fmt.Sprintf("topic %s deleted: id %v", e.Name, e.ID) }

func (e PartitionsAdded) String() string {
	return fmt.Sprintf("topic %s: %d partitions, before %d", e.Name, e.To, e.From)
}

func (e ConfigChanged) String() string {
	return fmt.Sprintf("settings of %v: %v, before %v", e.Resource, e.New, e.Old)
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
