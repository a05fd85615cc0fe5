//go:build cluster

package cluster

import (
	"context"
	"sync"
	"testing"
	"time"

	"understudy/integration/history"
)

// tables are what the report is made of, beside the time line.
type tables struct {
	began   time.Time
	history *history.Recorder
	ends    map[string]map[int32]int64 // by topic
	verdict *history.Verdict           // nil: it did not come to that
}

func startTables(_ *testing.T, _ *cluster, recorder *history.Recorder) *tables {
	return &tables{began: time.Now(), history: recorder, ends: map[string]map[int32]int64{}}
}

// timeline is what happened, when.
type timeline struct {
	history *history.Recorder
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	spans   []span
	samples []sample
}

// span is one fault.
type span struct {
	name, whom string
	from, to   time.Time
	back       time.Duration // from its healing until every partition had taken a write
}

// sample is how it stands at a moment.
type sample struct {
	at      time.Time
	acked   int     // since the start, of all producers
	leaders []int32 // nil: nobody has said
}

func startTimeline(t *testing.T, c *chaos) *timeline {
	ctx, cancel := context.WithCancel(t.Context())
	l := &timeline{history: c.loads.history, cancel: cancel}
	t.Cleanup(l.stop)
	l.done.Go(func() { l.watch(ctx, c) })
	return l
}

func (l *timeline) stop() {
	l.cancel()
	l.done.Wait()
}

func (l *timeline) watch(ctx context.Context, c *chaos) {
	for sleep(ctx, time.Second) {
		within, cancel := context.WithTimeout(ctx, 900*time.Millisecond)
		v, err := c.view(within, nil, topic)
		cancel()
		one := sample{at: time.Now(), acked: c.loads.acked() + c.plain.acked()}
		if err == nil {
			one.leaders = leaders(v)
		}
		l.mu.Lock()
		l.samples = append(l.samples, one)
		l.mu.Unlock()
	}
}

// acked is how many records were acknowledged.
func (ls *loads) acked() (n int) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range ls.all {
		for _, p := range l.parts {
			n += p.acked
		}
	}
	return n
}

func (l *timeline) begin(name, whom string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spans = append(l.spans, span{name: name, whom: whom, from: time.Now()})
	l.history.Add(history.Event{Type: history.Note, Name: name + " " + whom})
}

// over ends the span that has begun last; back is how long all took to go on.
func (l *timeline) over(back time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := &l.spans[len(l.spans)-1]
	last.to, last.back = time.Now(), back
}
