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

// TestHeartbeatsAreTakenOnTrust has requests come while a partition is read. What cannot
// be answered in time is to be asked again, but for heartbeats, for a while.
func TestHeartbeatsAreTakenOnTrust(t *testing.T) {
	now := int64(1000)
	c := New(Options{
		Cell: metadata.NewCell(), Settings: func(*metadata.Image) Settings { return DefaultSettings() },
		Now: func() core.Time { return core.Time{Clock: now} },
	})
	s := &shardActor{shard: &shard{c: c, alarm: newAlarm(mailbox.NewBatching())}, phase: loading, hold: now + holdTime}
	ask := func(question any) *request {
		r := newRequest("ask", "g", question)
		s.take(nil, r)
		return r
	}
	want := func(what string, r *request, want messages.Kind) {
		t.Helper()
		select {
		case a := <-r.reply:
			if messages.KindOf(a.err) != want {
				t.Errorf("%s at %d: answered with %v, want %v", what, now, a.err, want)
			}
		default:
			t.Errorf("%s at %d: was not answered", what, now)
		}
	}
	beats, commits := ask(heartbeat{}), ask(core.Commit{})
	if len(s.held) != 2 {
		t.Errorf("%d wait", len(s.held))
	}
	now = s.hold
	s.tick()
	want("a heartbeat that has waited", beats, messages.Unknown)
	want("a commit that has waited", commits, messages.CoordinatorLoadInProgress)
	for after, kind := range map[int64]messages.Kind{0: messages.Unknown, trustTime - 1: messages.Unknown, trustTime: messages.CoordinatorLoadInProgress} {
		now = s.hold + after
		want("a heartbeat", ask(heartbeat{}), kind)
		want("a commit", ask(core.Commit{}), messages.CoordinatorLoadInProgress)
	}
	if len(s.held) != 0 {
		t.Errorf("%d wait", len(s.held))
	}
}
