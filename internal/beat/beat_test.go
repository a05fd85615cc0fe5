package beat

import (
	"testing"
	"testing/synctest"
	"time"
)

// settle passes over the first ticks.
func settle(tickers ...*Ticker) {
	time.Sleep(time.Second + time.Nanosecond)
	for _, t := range tickers {
		select {
		case <-t.C:
		default:
		}
	}
}

// TestTickersTickTogether makes tickers at different times, and has them tick at the
// same ones, a period apart.
func TestTickersTickTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const period = 100 * time.Millisecond
		a := NewTicker(period)
		defer a.Stop()
		time.Sleep(37 * time.Millisecond)
		b := NewTicker(period)
		defer b.Stop()
		settle(a, b)
		var before time.Time
		for range 5 {
			at, same := <-a.C, <-b.C
			if !at.Equal(same) {
				t.Fatalf("ticks at %v and %v", at, same)
			}
			if !before.IsZero() && at.Sub(before) != period {
				t.Errorf("%v between two ticks", at.Sub(before))
			}
			before = at
		}
	})
}

// TestASlowerTickerTicksWithAFasterOne has every tick of the slower be one of the faster.
func TestASlowerTickerTicksWithAFasterOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := NewTicker(200 * time.Millisecond)
		defer slow.Stop()
		time.Sleep(13 * time.Millisecond)
		fast := NewTicker(100 * time.Millisecond)
		defer fast.Stop()
		settle(slow, fast)
		at := <-slow.C
		for range 3 {
			for (<-fast.C).Before(at) {
			}
			next := <-slow.C
			if next.Sub(at) != 200*time.Millisecond {
				t.Errorf("%v between two ticks of the slower", next.Sub(at))
			}
			at = next
		}
	})
}

// TestTheFirstTickIsNotLost counts the ticks that come to somebody who is slow to look.
func TestTheFirstTickIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const period = 100 * time.Millisecond
		time.Sleep(time.Until(time.Now().Truncate(period).Add(period + period/4)))
		a := NewTicker(period)
		defer a.Stop()
		time.Sleep(period) // the tick came at three quarters of it
		for i := range 3 {
			if at, want := <-a.C, time.Now().Truncate(period); !at.Equal(want) {
				t.Errorf("tick %d came at %v, and not at %v", i, at, want)
			}
		}
	})
}

// TestAStoppedTickerIsStill stops one before its first tick, and one after it.
func TestAStoppedTickerIsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fresh, used := NewTicker(time.Second), NewTicker(time.Second)
		fresh.Stop()
		<-used.C
		used.Stop()
		time.Sleep(time.Minute)
		select {
		case <-fresh.C:
			t.Error("the one stopped before its first tick has ticked")
		case <-used.C:
			t.Error("the one stopped after its first tick has ticked again")
		default:
		}
	})
}
