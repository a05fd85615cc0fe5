package understudy

import (
	"understudy/actors/controller"
	"understudy/actors/partition"
	"understudy/cluster/election"
	"understudy/cluster/replica"
	"understudy/messages"
)

// alone is the cluster of a broker that runs by itself: there are no other nodes
// to send to, and the controller is in the same process.
type alone struct{ b *Broker }

func (a alone) Send(messages.BrokerID, messages.TopicID, messages.TopicPartition, *replica.Message, partition.Payload) error {
	return nil
}

// Room and Spend are about followers, of which there are none.
func (a alone) Room(partition.CatchUp) int64 { return 0 }

func (a alone) Spend(partition.CatchUp, int64) {}

// ChangeISR has nothing to ask for: the in-sync set is this broker.
func (a alone) ChangeISR(messages.TopicPartition, replica.ISRChange) {}

// Resign asks for a new epoch. A replica does so when it was restarted and may
// have lost records of the epoch that it led; it repeats the wish until it is
// granted, so that a failure here is only worth a line in the log.
func (a alone) Resign(tp messages.TopicPartition, r replica.Resignation) {
	if r.Cause == replica.StorageFailed { // there is nobody to lead in its place
		return
	}
	a.b.controller.Resign(tp, controller.Resignation{
		From:  election.Member{ID: a.b.self.ID, Epoch: a.b.self.Epoch},
		Epoch: r.Epoch, Lost: r.Cause == replica.LostCommitted, Detail: r.Cause.String(),
	}, func(err error) {
		if err != nil {
			a.b.log.Warn().Err(err).Stringer("partition", tp).Msg("no new leader epoch yet")
		}
	})
}

func (a alone) Event(tp messages.TopicPartition, e replica.Event) {
	if line := a.b.log.Debug(); line.Enabled() { // a start has an event or two for every partition
		line.Stringer("partition", tp).Msg(e.String())
	}
}
