package mailbox

import (
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

// recorder is an actor that notes what it gets, panics on "panic" and waits on gates.
type recorder struct {
	got  chan []any
	gate chan struct{}
}

func (r *recorder) Receive(c actor.Context) {
	mail, ok := c.Message().(Mail)
	if !ok {
		return
	}
	r.got <- append([]any(nil), mail...)
	<-r.gate
	for _, m := range mail {
		if m == "panic" {
			panic("as asked")
		}
	}
}

// newSystem is an actor system that prints nothing: benchstat would stumble over lines
// between a benchmark's name and its figures.
func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
}

func spawn(t *testing.T, r *recorder) (*actor.ActorSystem, *actor.PID, *Batching) {
	t.Helper()
	system := newSystem()
	box := NewBatching()
	strategy := actor.NewOneForOneStrategy(10, 0, actor.DefaultDecider)
	pid := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return r },
		actor.WithMailbox(func() actor.Mailbox { return box }), actor.WithGuardian(strategy)))
	return system, pid, box
}

func TestMessagesThatGatherArriveTogetherAndInOrder(t *testing.T) {
	r := &recorder{got: make(chan []any), gate: make(chan struct{})}
	system, pid, _ := spawn(t, r)
	system.Root.Send(pid, 0)
	first := <-r.got // the actor is now inside its first turn
	for i := 1; i <= 100; i++ {
		system.Root.Send(pid, i)
	}
	r.gate <- struct{}{}
	second := <-r.got
	r.gate <- struct{}{}
	if len(first) != 1 || len(second) != 100 {
		t.Fatalf("turns of %d and %d messages, want 1 and 100", len(first), len(second))
	}
	for i, m := range second {
		if m != i+1 {
			t.Fatalf("message %d is %v", i, m)
		}
	}
}

// TestWhatHasStoppedIsNotRestarted has a restart come while the actor is stopping.
func TestWhatHasStoppedIsNotRestarted(t *testing.T) {
	system := newSystem()
	box := NewBatching()
	seen, gate := make(chan any, 10), make(chan struct{})
	pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		seen <- c.Message()
		if _, ok := c.Message().(*actor.Stopping); ok {
			<-gate
		}
	}, actor.WithMailbox(func() actor.Mailbox { return box })))
	<-seen // it has started
	system.Root.Stop(pid)
	<-seen // it is stopping
	box.PostSystemMessage(&actor.Restart{})
	close(gate)
	if _, ok := (<-seen).(*actor.Stopped); !ok {
		t.Error("it did not stop")
	}
	for box.busy() {
		runtime.Gosched()
	}
	if len(seen) != 0 {
		t.Errorf("after its end it was told %T", <-seen)
	}
}

// busy reports whether the mailbox has anything left to do.
func (m *Batching) busy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running
}

func TestAnActorThatPanicsGetsItsLaterMessagesAfterTheRestart(t *testing.T) {
	r := &recorder{got: make(chan []any), gate: make(chan struct{})}
	system, pid, _ := spawn(t, r)
	system.Root.Send(pid, "panic")
	<-r.got
	system.Root.Send(pid, "later")
	r.gate <- struct{}{}
	if got := <-r.got; len(got) != 1 || got[0] != "later" {
		t.Fatalf("after the restart the actor got %v", got)
	}
	close(r.gate)
}

func TestWhatIsDivertedNeverReachesTheActor(t *testing.T) {
	r := &recorder{got: make(chan []any), gate: make(chan struct{})}
	system, pid, box := spawn(t, r)
	system.Root.Send(pid, "first")
	<-r.got
	system.Root.Send(pid, "waiting")
	system.Root.Send(pid, "kept")
	var taken []any
	box.Divert(func(m any) bool {
		if m == "kept" {
			return false
		}
		taken = append(taken, m)
		return true
	})
	box.PostUserMessage("late")
	if len(taken) != 2 || taken[0] != "waiting" || taken[1] != "late" {
		t.Errorf("diverted %v", taken)
	}
	box.Divert(nil)
	box.PostUserMessage("again")
	close(r.gate)
	if got := <-r.got; len(got) != 2 || got[0] != "kept" || got[1] != "again" {
		t.Errorf("the actor got %v", got)
	}
}

// TestWhatComesBeforeTheActorWaitsForIt posts to a mailbox whose actor is spawned
// later.
func TestWhatComesBeforeTheActorWaitsForIt(t *testing.T) {
	box := NewBatching()
	box.PostUserMessage("early")
	r := &recorder{got: make(chan []any), gate: make(chan struct{})}
	close(r.gate)
	system := newSystem()
	pid := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return r }, actor.WithMailbox(func() actor.Mailbox { return box })))
	if got := <-r.got; len(got) != 1 || got[0] != "early" {
		t.Errorf("at first the actor got %v", got)
	}
	system.Root.Send(pid, "later")
	if got := <-r.got; len(got) != 1 || got[0] != "later" {
		t.Errorf("then it got %v", got)
	}
}

func TestNoMessageIsLostBetweenManySenders(t *testing.T) {
	const senders, each = 8, 5000
	var seen atomic.Int64
	done := make(chan struct{})
	box := NewBatching()
	system := newSystem()
	system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if mail, ok := c.Message().(Mail); ok && seen.Add(int64(len(mail))) == senders*each {
			close(done)
		}
	}, actor.WithMailbox(func() actor.Mailbox { return box })))
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := range each {
				box.PostUserMessage(i)
			}
		})
	}
	wg.Wait()
	<-done
}

func BenchmarkPost(b *testing.B) {
	box := NewBatching()
	system := newSystem()
	var seen int
	done := make(chan struct{})
	message := any(&struct{}{})
	system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if mail, ok := c.Message().(Mail); ok {
			if seen += len(mail); seen == b.N {
				close(done)
			}
		}
	}, actor.WithMailbox(func() actor.Mailbox { return box })))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		box.PostUserMessage(message)
	}
	<-done
}
