package process

import (
	"context"
	"errors"
	"testing"
	"time"
)

// StopLimit is how long a broker may take to stop in order.
const StopLimit = 2 * time.Second

// Test starts a broker for a test and ends it with the test. When the test
// failed, what the broker printed is shown. Without a data directory it gets one
// that is removed with the test.
func Test(t testing.TB, o Options) *Broker {
	t.Helper()
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	b, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Kill()
		if t.Failed() {
			t.Logf("the broker printed:\n%s", b.Log())
		}
	})
	return b
}

// MustRestart restarts a broker or ends the test.
func (b *Broker) MustRestart(t testing.TB) {
	t.Helper()
	if err := b.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// MustStop stops a broker in order, in the time it may take, or ends the test.
func (b *Broker) MustStop(t testing.TB) {
	t.Helper()
	if err := b.StopInTime(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// maxStops is how often a stop is tried during which the machine stands still.
const maxStops = 5

// StopInTime stops a broker in order, in the time it may take. A time during which the
// machine stood still says nothing: the broker is started and stopped once more.
func (b *Broker) StopInTime(ctx context.Context) error {
	for tries := 1; ; tries++ {
		err := b.Stop(StopLimit)
		if !errors.Is(err, ErrStoodStill) || tries == maxStops {
			return err
		}
		if err := b.Restart(ctx); err != nil {
			return err
		}
	}
}
