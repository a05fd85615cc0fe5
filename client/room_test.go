package client

import (
	"sync"
	"testing"
)

// TestRoomIsGivenBackWhileItIsAskedFor has two goroutines give back at once while one
// asks: whoever waits is told, once.
func TestRoomIsGivenBackWhileItIsAskedFor(t *testing.T) {
	var r room
	r.max.records, r.max.bytes = 2, 1<<30
	for range 50_000 {
		r.take(2, 2)
		var giving sync.WaitGroup
		for range 2 {
			giving.Go(func() { r.give(1, 1) })
		}
		if n, freed := r.ask(); freed != nil {
			<-freed
		} else if n < 1 {
			t.Fatalf("room for %d, and nothing to wait for", n)
		}
		giving.Wait()
	}
	if n, freed := r.ask(); n != 2 || freed != nil {
		t.Errorf("room for %d", n)
	}
}
