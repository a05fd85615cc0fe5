package group

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Stage is what a simulator sets in the place of the machine's own processor; what
// is nil is as usual.
type Stage struct {
	// Context ends with the process.
	Context context.Context
	// Dispatcher runs the turns of a shard's actor, and of a group's.
	Dispatcher func(name string) actor.Dispatcher
	// Beside runs what waits, outside of an actor's turn.
	Beside func(func())
	// Pause is called by who is going to wait, and returns when there is nothing left
	// to wait for.
	Pause func(ready func() bool)
	// Timeout ends a context after a while, as context.WithTimeout does.
	Timeout func(context.Context, time.Duration) (context.Context, context.CancelFunc)
}

func (s *Stage) context() context.Context {
	if s.Context != nil {
		return s.Context
	}
	return context.Background()
}

func (s *Stage) timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if s.Timeout != nil {
		return s.Timeout(ctx, d)
	}
	return context.WithTimeout(ctx, d)
}

func (s *Stage) beside(f func()) {
	if s.Beside != nil {
		s.Beside(f)
		return
	}
	go f()
}

// await returns when something can be had, if there is anybody who knows how to wait
// for it, or when the context ends.
func (s *Stage) await(ctx context.Context, ready func() bool) {
	if s.Pause != nil {
		s.Pause(func() bool { return ready() || ctx.Err() != nil })
	}
}

// awaitClosed waits until a channel is closed, or the context ends.
func (s *Stage) awaitClosed(ctx context.Context, ch <-chan struct{}) error {
	s.await(ctx, func() bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	})
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// acquire takes one of the places that there are, which release gives back.
func (s *Stage) acquire(ctx context.Context, places chan struct{}) error {
	s.await(ctx, func() bool { return len(places) < cap(places) })
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// options are how an actor is spawned, beside what it always has.
func (s *Stage) options(name string) []actor.PropsOption {
	if s.Dispatcher == nil {
		return nil
	}
	return []actor.PropsOption{actor.WithDispatcher(s.Dispatcher(name))}
}
