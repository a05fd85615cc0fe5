package client

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestActorsThatBlockHoldUpNoOthers blocks many more than there are processors.
func TestActorsThatBlockHoldUpNoOthers(t *testing.T) {
	var p pool
	release := make(chan struct{})
	var blocked, all sync.WaitGroup
	for range 100 {
		blocked.Add(1)
		all.Add(1)
		p.Schedule(func() {
			blocked.Done()
			<-release
			all.Done()
		})
	}
	blocked.Wait() // all have begun
	for range 1000 {
		done := make(chan struct{})
		p.Schedule(func() { close(done) })
		<-done
	}
	close(release)
	all.Wait()
	done := make(chan struct{})
	p.Schedule(func() { close(done) })
	<-done
}

// TestEverythingHasItsTurn schedules from many goroutines, and from what is
// scheduled, each of which waits for another.
func TestEverythingHasItsTurn(t *testing.T) {
	var p pool
	var ran atomic.Int64
	var all sync.WaitGroup
	const senders, each = 8, 500
	for range senders {
		all.Go(func() {
			for range each {
				all.Add(1)
				p.Schedule(func() {
					defer all.Done()
					done := make(chan struct{})
					p.Schedule(func() { ran.Add(1); close(done) })
					<-done
					ran.Add(1)
				})
			}
		})
	}
	all.Wait()
	if n := ran.Load(); n != 2*senders*each {
		t.Errorf("%d have run", n)
	}
}

// TestAQueueThatIsNeverEmptyStaysShort has actors be scheduled again and again while
// others wait for their turn.
func TestAQueueThatIsNeverEmptyStaysShort(t *testing.T) {
	var p pool
	const actors, turns = 100, 2000
	var all sync.WaitGroup
	for range actors {
		all.Add(1)
		left := turns
		var turn func()
		turn = func() {
			if left--; left == 0 {
				all.Done()
				return
			}
			p.Schedule(turn)
		}
		p.Schedule(turn)
	}
	var longest int
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for {
		p.mu.Lock()
		longest = max(longest, cap(p.queue))
		p.mu.Unlock()
		select {
		case <-done:
			if longest > 64*actors {
				t.Errorf("room for %d, of %d", longest, actors)
			}
			return
		default:
		}
	}
}
