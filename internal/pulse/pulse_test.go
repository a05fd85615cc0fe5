package pulse

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestLooksThatComeLateAreTimeThatIsLost(t *testing.T) {
	now := time.Unix(1000, 0)
	g := gauge{now}
	for _, w := range []struct{ passed, ran, stood time.Duration }{
		{beat, beat, 0},
		{still, still, 0}, // the machine is busy
		{5 * time.Second, beat, 5*time.Second - beat},
		{beat, beat, 0},
	} {
		now = now.Add(w.passed)
		if ran, stood := g.look(now); ran != w.ran || stood != w.stood {
			t.Errorf("after %v: it ran for %v, and stood still for %v", w.passed, ran, stood)
		}
	}
}

func TestAProcessThatRunsLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stood, began := Watch(), time.Now()
		ctx, cancel := WithTimeout(t.Context(), time.Minute)
		defer cancel()
		<-ctx.Done()
		if ran := time.Since(began); ran != time.Minute || context.Cause(ctx) != context.DeadlineExceeded {
			t.Errorf("the context ended after %v: %v", ran, context.Cause(ctx))
		}
		if lost := stood(); lost != 0 {
			t.Errorf("it has stood still for %v", lost)
		}
		other, cancel := WithTimeout(t.Context(), time.Minute)
		cancel()
		if <-other.Done(); other.Err() != context.Canceled {
			t.Error(other.Err())
		}
	})
}
