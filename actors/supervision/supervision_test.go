package supervision

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

const patience = time.Minute // before a test gives up; no test passes by waiting for it

func TestDelayDoublesToItsCap(t *testing.T) {
	b := &Backoff{Initial: 10 * time.Millisecond, Max: 100 * time.Millisecond, Jitter: func(time.Duration) time.Duration { return 0 }}
	for i, want := range []time.Duration{10, 20, 40, 80, 100, 100} {
		if got := b.Delay(i + 1); got != want*time.Millisecond {
			t.Errorf("after %d failures %v, want %vms", i+1, got, int64(want))
		}
	}
	b.Jitter = nil
	for range 1000 {
		if got := b.Delay(3); got < 40*time.Millisecond || got > 50*time.Millisecond {
			t.Fatalf("with jitter %v, want 40 to 50 ms", got)
		}
	}
}

var errDisk = errors.New("disk gone")

// fragile fails on each "fail" it is sent and counts its starts.
type fragile struct{ started chan string }

func (f *fragile) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		f.started <- c.Self().Id
	case string:
		if m == "fail" {
			panic(errDisk)
		}
		c.Respond(m)
	}
}

func TestAFailingChildIsRestartedAloneAfterItsDelay(t *testing.T) {
	failures := make(chan Failure, 1)
	timers := make(chan func(), 1)
	strategy := &Backoff{Initial: time.Second, Max: time.Minute, Healthy: time.Hour,
		OnFailure: func(f Failure) { failures <- f },
		After:     func(_ time.Duration, f func()) { timers <- f }}
	system := NewSystem()
	started := make(chan string, 4)
	props := actor.PropsFromProducer(func() actor.Actor { return &fragile{started} })
	ready := make(chan [2]*actor.PID, 1)
	system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(*actor.Started); ok {
			a, _ := c.SpawnNamed(props, "a")
			b, _ := c.SpawnNamed(props, "b")
			ready <- [2]*actor.PID{a, b}
		}
	}, actor.WithSupervisor(strategy)))
	children := <-ready
	<-started
	<-started

	for n := 1; n <= 2; n++ {
		system.Root.Send(children[0], "fail")
		f := <-failures
		if f.Failures != n || !errors.Is(f.Cause, errDisk) || !strings.HasSuffix(f.Actor, "/a") {
			t.Errorf("failure %d was told as %+v", n, f)
		}
		restart := <-timers
		reply, err := system.Root.RequestFuture(children[1], "hello", patience).Result()
		if err != nil || reply != "hello" {
			t.Errorf("the sibling answered %v, %v while the other was down", reply, err)
		}
		restart()
		if who := <-started; who != children[0].Id {
			t.Errorf("%s was restarted", who)
		}
	}
}

// TestARestartIsNotForWhoHasTakenTheName stops a child that is to be restarted, and starts
// another under its name.
func TestARestartIsNotForWhoHasTakenTheName(t *testing.T) {
	timers := make(chan func(), 1)
	strategy := &Backoff{Initial: time.Second, Max: time.Minute, Healthy: time.Hour,
		After: func(_ time.Duration, f func()) { timers <- f }}
	system := NewSystem()
	started := make(chan string, 4)
	props := actor.PropsFromProducer(func() actor.Actor { return &fragile{started} })
	child := make(chan *actor.PID, 1)
	parent := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started, *actor.Terminated:
			pid, _ := c.SpawnNamed(props, "a")
			child <- pid
		case *actor.PID:
			c.Stop(m)
		}
	}, actor.WithSupervisor(strategy)))
	first := <-child
	<-started
	system.Root.Send(first, "fail")
	restart := <-timers
	system.Root.Send(parent, first)
	second := <-child
	<-started
	restart()
	if reply, err := system.Root.RequestFuture(second, "hello", patience).Result(); err != nil || reply != "hello" {
		t.Errorf("the second answered %v, %v", reply, err)
	}
	if len(started) != 0 {
		t.Error("it was restarted, though it has not failed")
	}
}

func TestOnlyABugBringsItsStack(t *testing.T) {
	if got := AsError(errDisk).Error(); got != "disk gone" {
		t.Errorf("an I/O error reads %q", got)
	}
	defer func() {
		if got := AsError(recover()).Error(); !strings.Contains(got, "supervision_test.go") {
			t.Errorf("a bug's error has no stack: %s", got)
		}
	}()
	var none []int
	_ = none[len(none)]
}
