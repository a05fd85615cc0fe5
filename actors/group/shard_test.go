package group

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/group/core"
	"understudy/actors/group/journal"
	"understudy/actors/mailbox"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// turn is what an actor sees of one message.
type turn struct {
	actor.Context
	message any
}

func (t turn) Message() any { return t.message }

// TestAShardThatStopsBeginsNothing has a tick and a request come while a shard
// waits for the end of its groups.
func TestAShardThatStopsBeginsNothing(t *testing.T) {
	c := New(Options{Cell: metadata.NewCell(), Settings: func(*metadata.Image) Settings { return DefaultSettings() }})
	mail := mailbox.NewBatching()
	early, late := newRequest("heartbeat", "g", heartbeat{core.Member{}}), newRequest("heartbeat", "g", heartbeat{core.Member{}})
	mail.PostUserMessage(tick{})
	mail.PostUserMessage(early)
	s := &shardActor{shard: &shard{c: c, mail: mail, alarm: newAlarm(mail)}}
	s.out.encoder = journal.NewEncoder()
	c.alarms.set(s.alarm, 1)
	s.Receive(turn{message: &actor.Stopping{}})
	mail.PostUserMessage(tick{})
	mail.PostUserMessage(late)
	if n := mail.UserMessageCount(); n != 0 {
		t.Errorf("%d messages are left for a shard that stops", n)
	}
	for _, r := range []*request{early, late} {
		select {
		case a := <-r.reply:
			if messages.KindOf(a.err) != messages.NotCoordinator {
				t.Errorf("answered with %v", a.err)
			}
		default:
			t.Error("a request was not answered")
		}
	}
	if len(c.alarms.heap) != 0 {
		t.Error("an alarm is still set")
	}
}
