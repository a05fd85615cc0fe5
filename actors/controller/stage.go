package controller

import "sync"

// Stage is what a simulator sets in the place of the machine's own processor;
// what is nil is as usual.
type Stage struct {
	// Start runs a call of the store, outside of the actor's turn, and what comes
	// of it.
	Start func(call func())
	// Pause is called by who is going to wait for the actor, and returns when there
	// is nothing left to wait for.
	Pause func(ready func() bool)
}

// start runs a call in a goroutine of its own unless there is somebody else to
// run it.
func (s *Stage) start(calls *sync.WaitGroup, call func()) {
	if s.Start == nil {
		calls.Go(call)
		return
	}
	s.Start(call)
}
