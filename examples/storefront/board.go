package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"understudy/client"
)

// board collects what happens, and tells whoever looks at the page.
type board struct {
	mu      sync.Mutex
	lookers map[chan []byte]struct{}
	hops    map[string]int // events since the last pulse, by "from>to"
	samples []sample       // some of them
	times   []time.Duration
	last    []byte   // the last state, for who begins to look
	lines   [][]byte // the last of what was said, for the same
}

// sample is one event, to be shown as text.
type sample struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Order Order  `json:"order"`
	Note  string `json:"note,omitempty"`
}

const (
	// pulseEvery is how often lookers are told what has flowed.
	pulseEvery = 100 * time.Millisecond
	// maxSamples is how many events a pulse shows as text.
	maxSamples = 4
	// maxBehind is how many messages a looker may be behind before it misses some.
	maxBehind = 256
	maxLines  = 20
	maxTimes  = 10_000
)

func newBoard() *board {
	return &board{lookers: map[chan []byte]struct{}{}, hops: map[string]int{}}
}

// message is what is sent to the page: server-sent events with a name and JSON.
func message(name string, data any) []byte {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // only our own types come here
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, text)
}

// look gives what is told from now on, after what there is to know.
func (b *board) look() (told <-chan []byte, end func()) {
	ch := make(chan []byte, maxBehind)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last != nil {
		ch <- b.last
	}
	for _, line := range b.lines {
		ch <- line
	}
	b.lookers[ch] = struct{}{}
	return ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.lookers, ch)
	}
}

// send tells everybody. The lock is held. Who does not keep up misses it.
func (b *board) send(m []byte) {
	for ch := range b.lookers {
		select {
		case ch <- m:
		default:
		}
	}
}

// flow takes note of an event on its way. With a note it is shown as text for sure.
func (b *board) flow(from, to string, o Order, note string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hops[from+">"+to]++
	if note != "" && len(b.samples) < 4*maxSamples || len(b.samples) < maxSamples {
		b.samples = append(b.samples, sample{from, to, o, note})
	}
}

// arrived takes note of how long an order took from the shop to the customer.
func (b *board) arrived(after time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.times) < maxTimes {
		b.times = append(b.times, after)
	}
}

// median of the times since it was last asked for.
func (b *board) median() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	times := b.times
	b.times = nil
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// say tells of something that was decided or has gone wrong.
func (b *board) say(kind, text string) {
	m := message("line", map[string]string{"kind": kind, "text": text, "time": time.Now().Format("15:04:05.0")})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, m)
	b.lines = b.lines[max(len(b.lines)-maxLines, 0):]
	b.send(m)
}

// show tells how things stand.
func (b *board) show(state any) {
	m := message("state", state)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = m
	b.send(m)
}

// flush tells now and then what has flowed.
func (b *board) flush(ctx context.Context) {
	clock := time.NewTicker(pulseEvery)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		}
		b.mu.Lock()
		if len(b.hops) > 0 {
			b.send(message("pulse", map[string]any{"hops": b.hops, "samples": b.samples}))
			b.hops, b.samples = map[string]int{}, nil
		}
		b.mu.Unlock()
	}
}

// decided hears what subscriptions decide, from the actor system's event stream.
func (b *board) decided(event any) {
	switch e := event.(type) {
	case client.Retried:
		b.say("retry", fmt.Sprintf("%s-%d@%d failed (attempt %d), again in %v: %v", e.Record.Topic, e.Record.Partition, e.Record.Offset, e.Attempt, e.After.Round(time.Millisecond), e.Cause))
	case client.DeadLettered:
		b.say("dead", fmt.Sprintf("%s-%d@%d went to %s after %d attempts: %v", e.Record.Topic, e.Record.Partition, e.Record.Offset, e.Topic, e.Attempt, e.Cause))
	case client.Assigned:
		b.say("group", fmt.Sprintf("%s: a worker is given %s-%d", e.Group, e.Topic, e.Partition))
	case client.Revoked:
		b.say("group", fmt.Sprintf("%s: a worker gives back %s-%d", e.Group, e.Topic, e.Partition))
	case *client.Failed:
		b.say("error", fmt.Sprintf("an event could not be written: %v", e.Err))
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
