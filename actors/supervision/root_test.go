package supervision

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

func TestStopWaitsForTheActorAndThoseBelowIt(t *testing.T) {
	root, err := NewRoot(&Backoff{Initial: 1, Max: 1, Healthy: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Shutdown()
	hold, childStopped := make(chan struct{}), new(atomic.Bool)
	leaf := actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(*actor.Stopping); ok {
			<-hold
			childStopped.Store(true)
		}
	})
	pid, err := root.Spawn("branch", actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(*actor.Started); ok {
			c.Spawn(leaf)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := root.Stop(ended, pid); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop with an ended context: %v", err)
	}
	close(hold)
	if err := root.Stop(context.Background(), pid); err != nil || !childStopped.Load() {
		t.Errorf("Stop returned %v, child stopped: %v", err, childStopped.Load())
	}
}

func TestANameIsTakenOnce(t *testing.T) {
	root, err := NewRoot(&Backoff{Initial: 1, Max: 1, Healthy: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Shutdown()
	idle := actor.PropsFromFunc(func(actor.Context) {})
	if _, err := root.Spawn("one", idle); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Spawn("one", idle); err == nil {
		t.Error("a second actor got the same name")
	}
}
