package partition

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/messages"
)

// Stage is what a simulator sets in the place of the machine's own time and
// processor; what is nil is as usual.
type Stage struct {
	Now   func() int64 // ms since the epoch; may jump
	Clock func() int64 // ms on a clock that never goes back
	// Dispatcher runs the turns of a partition's actor.
	Dispatcher func(messages.TopicPartition) actor.Dispatcher
	// Pause is called by who is going to wait for an actor, and returns when there
	// is nothing left to wait for.
	Pause func(ready func() bool)
	// Beside runs what may hang, outside of an actor's turn.
	Beside func(func())
	// Yield lets the cleaner go on, for which a log waits.
	Yield func()
	// Look is shown a replica's machine after each turn, to read and not to change.
	Look func(messages.TopicPartition, *Machine)
}

// started is when this process began: the origin of the clock that never goes back.
var started = time.Now()

func (s *Stage) now() int64 {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now().UnixMilli()
}

func (s *Stage) clock() int64 {
	if s.Clock != nil {
		return s.Clock()
	}
	return time.Since(started).Milliseconds() + 1
}

func (s *Stage) beside(f func()) {
	if s.Beside != nil {
		s.Beside(f)
		return
	}
	go f()
}

// options are how a partition's actor is spawned, beside what it always has.
func (s *Stage) options(tp messages.TopicPartition) []actor.PropsOption {
	if s.Dispatcher == nil {
		return nil
	}
	return []actor.PropsOption{actor.WithDispatcher(s.Dispatcher(tp))}
}
