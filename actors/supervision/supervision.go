// Package supervision says how actors that fail are restarted, and makes the
// actor system they live in. The strategy is our own: the library's back-off is
// linear, without a cap, and its default gives up silently after ten restarts.
package supervision

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// NewSystem makes an actor system that says nothing by itself: what happens to
// our actors is told by Failure events.
func NewSystem() *actor.ActorSystem {
	return actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
		actor.WithDeadLetterRequestLogging(false))
}

// Failure tells that an actor failed and when it will be started again.
type Failure struct {
	Actor    string        // the actor's name in the tree
	Cause    error         // what it panicked with
	Failures int           // how many in a row, this one included
	Restart  time.Duration // how long until the restart
}

// String is the event in words.
func (f Failure) String() string {
	return fmt.Sprintf("actor %s failed (%d in a row), restarts in %v: %v", f.Actor, f.Failures, f.Restart.Round(time.Millisecond), f.Cause)
}

// Backoff restarts a failing child, and it alone, after a delay that doubles
// from Initial to Max with each failure in a row, with up to a quarter of jitter.
// It never gives up: a disk that was repaired is found again.
type Backoff struct {
	Initial time.Duration // delay before the first restart
	Max     time.Duration // the delay's cap
	Healthy time.Duration // a failure this long after the last one is again the first; must exceed Max

	OnFailure func(Failure)                     // told of each failure; may be nil
	After     func(time.Duration, func())       // starts a timer; nil means time.AfterFunc
	Jitter    func(time.Duration) time.Duration // nil means up to a quarter, at random
}

var _ actor.SupervisorStrategy = (*Backoff)(nil)

// HandleFailure is called by the library in the supervisor's own turn. Names are used
// again: a child that has been stopped before its restart may have a successor by then,
// which is not to be restarted in its place.
func (b *Backoff) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, stats *actor.RestartStatistics, reason, _ any) {
	if stats.NumberOfFailures(b.Healthy) == 0 {
		stats.Reset()
	}
	stats.Fail()
	delay := b.Delay(stats.FailureCount())
	if b.OnFailure != nil {
		b.OnFailure(Failure{Actor: child.Id, Cause: AsError(reason), Failures: stats.FailureCount(), Restart: delay})
	}
	after := b.After
	if after == nil {
		after = func(d time.Duration, f func()) { time.AfterFunc(d, f) }
	}
	failed, _ := system.ProcessRegistry.Get(child)
	after(delay, func() {
		if now, there := system.ProcessRegistry.Get(child); there && now == failed {
			supervisor.RestartChildren(child)
		}
	})
}

// Delay is how long to wait after so many failures in a row.
func (b *Backoff) Delay(failures int) time.Duration {
	delay := b.Initial
	for i := 1; i < failures && delay < b.Max; i++ {
		delay *= 2
	}
	delay = min(delay, b.Max)
	if b.Jitter != nil {
		return delay + b.Jitter(delay)
	}
	return delay + rand.N(delay/4+1)
}

// AsError makes an error of what a panic carried. A panic that is not an error
// of ours is a bug, so it brings the stack along; call it where the panic is
// recovered.
func AsError(reason any) error {
	if err, ok := reason.(error); ok && !isRuntime(err) {
		return err
	}
	return fmt.Errorf("panic: %v\n%s", reason, debug.Stack())
}

func isRuntime(err error) bool {
	var r interface{ RuntimeError() }
	return errors.As(err, &r)
}
