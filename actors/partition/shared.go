package partition

import (
	"github.com/rs/zerolog"

	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/messages"
	"understudy/persistence/log"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// Shared is what all local replicas of a broker have in common. The fields are
// set before the first replica is opened and not changed afterwards.
type Shared struct {
	Self        replica.Member
	FS          vfs.FS // rooted at the data directory
	Flush       log.Flusher
	Files       *segment.Files
	Checkpoints *Checkpoints
	Registry    *Registry
	Log         zerolog.Logger

	Tuning Tuning

	// Defaults are the values of the settings that a topic does not set.
	Defaults func(*metadata.Image) topicconfig.Defaults
	// Opening has room for as many logs as may be recovered at a time.
	Opening chan struct{}
	// Cluster is the way to the other nodes and to the controller.
	Cluster Cluster
	// Stage is what a simulator sets in the place of the machine's own; the zero
	// value is for everybody else.
	Stage Stage
}

// Cluster is what a replica needs of its controller and of the other nodes. None
// of it may block.
type Cluster interface {
	// Send passes a message to another node's replica of the partition, or loses it
	// and may say why; see link.Link.Send.
	Send(to messages.BrokerID, id messages.TopicID, tp messages.TopicPartition, m *replica.Message, owner Payload) error
	// Room says how many bytes may be read now for a follower that is behind; 0:
	// none, it has to wait. Spend tells how many were. Any replica may call them.
	Room(CatchUp) int64
	Spend(c CatchUp, bytes int64)
	// ChangeISR asks the controller for another in-sync set.
	ChangeISR(messages.TopicPartition, replica.ISRChange)
	// Resign asks the controller for an election in a new epoch.
	Resign(messages.TopicPartition, replica.Resignation)
	// Event tells what a replica decided.
	Event(messages.TopicPartition, replica.Event)
}

// drop drops what another node has sent. A replica says hello when it is open; until then
// what is said to it would hold memory that the other node needs to speak to others here.
func drop(message any) bool {
	in, ok := message.(*link.Incoming)
	if ok {
		in.Release()
	}
	return ok
}

// newSlot makes what stays of a replica between its actor's restarts. A broker
// that starts has every epoch it led ended by its registration, so that what the
// metadata says afterwards is an epoch that nobody has led.
func (s *Shared) newSlot(tp messages.TopicPartition, id messages.TopicID, p metadata.Partition, settings topicconfig.Settings) *slot {
	h := newHandle(tp, id, &s.Log)
	h.pause = s.Stage.Pause
	h.mail.Divert(drop) // until the log is open
	return &slot{handle: h, assignment: p, settings: settings, led: messages.NoEpoch, trusted: messages.NoOffset}
}
