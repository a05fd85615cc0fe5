package bench

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Produce measures how much can be written.
func Produce(ctx context.Context, o Options) (Result, error) {
	topic, partitions, remove, err := o.prepare(ctx)
	if err != nil {
		return Result{}, err
	}
	defer remove()
	g, err := newGenerator(ctx, &o, topic)
	if err != nil {
		return Result{}, err
	}
	defer g.close()
	r := Result{Test: "produce", Partitions: partitions, RecordSize: o.RecordSize, Clients: o.Clients, Rate: o.Rate}
	return r, g.measure(ctx, &r)
}

// generator is the producers of a run.
type generator struct {
	options   *Options
	producers []*producer
	fail      context.CancelCauseFunc
	ctx       context.Context // ends with the first failure

	value  func(*producer, time.Time) []byte // of the next record
	exact  bool                              // every record sent in the window counts, and no other
	opened func()                            // called when the window opens
}

// producer is one client that writes.
type producer struct {
	client  *kgo.Client
	payload *payload
	pool    sync.Pool // of *flight

	acked    atomic.Int64
	counting atomic.Bool // the warm-up is over

	mu       sync.Mutex
	acks     *hdrhistogram.Histogram // from due to acknowledged
	lateness *hdrhistogram.Histogram // from due to sent
}

// flight is a record under way.
type flight struct {
	record kgo.Record
	due    time.Time
	late   time.Duration
	done   func(*kgo.Record, error)
}

func newGenerator(ctx context.Context, o *Options, topic string) (*generator, error) {
	g := &generator{options: o, opened: func() {}, exact: o.Records > 0}
	g.value = func(p *producer, _ time.Time) []byte { return p.payload.next() }
	g.ctx, g.fail = context.WithCancelCause(ctx)
	for i := range o.Clients {
		cl, err := o.Connect(ctx, o.producerOptions(topic)...)
		if err != nil {
			g.close()
			return nil, err
		}
		p := &producer{client: cl, payload: newPayload(o.RecordSize, o.Text, uint64(i)), acks: newHistogram(), lateness: newHistogram()}
		p.pool.New = func() any { return g.newFlight(p) }
		g.producers = append(g.producers, p)
	}
	return g, nil
}

func (g *generator) close() {
	for _, p := range g.producers {
		p.client.Close()
	}
	g.fail(nil)
}

func (g *generator) newFlight(p *producer) *flight {
	f := &flight{}
	f.done = func(_ *kgo.Record, err error) {
		if err != nil {
			g.fail(err)
			return
		}
		p.acked.Add(1)
		if p.counting.Load() {
			took := time.Since(f.due)
			p.mu.Lock()
			record(p.acks, took)
			if g.options.Rate > 0 {
				record(p.lateness, f.late)
			}
			p.mu.Unlock()
		}
		p.pool.Put(f)
	}
	return f
}

func (g *generator) send(p *producer, value []byte, due time.Time) {
	f := p.pool.Get().(*flight)
	f.due, f.late = due, time.Since(due)
	f.record = kgo.Record{Value: value}
	p.client.Produce(g.ctx, &f.record, f.done)
}

func (g *generator) acked() (n int64) {
	for _, p := range g.producers {
		n += p.acked.Load()
	}
	return n
}

// run has every producer send n records (together), until ctx ends.
func (g *generator) run(ctx context.Context, n int64) {
	var wg sync.WaitGroup
	for i, p := range g.producers {
		quota := n / int64(len(g.producers))
		if int64(i) < n%int64(len(g.producers)) {
			quota++
		}
		wg.Go(func() {
			Pace(ctx, g.options.Rate/float64(len(g.producers)), quota, func(due time.Time) { g.send(p, g.value(p, due), due) })
		})
	}
	wg.Wait()
}

// measure warms up and then counts what is acknowledged.
func (g *generator) measure(ctx context.Context, r *Result) error {
	o := g.options
	warm, cancel := context.WithTimeout(g.ctx, o.Warmup)
	g.run(warm, math.MaxInt64)
	cancel()
	if g.exact {
		g.flush()
	}
	if err := g.failure(ctx); err != nil {
		return err
	}
	for _, p := range g.producers {
		p.counting.Store(true)
	}
	w := o.open(ctx)
	g.opened()
	before := g.acked()
	stopWatching := g.watch(before)
	if o.Records > 0 {
		g.run(g.ctx, o.Records)
	} else {
		timed, cancel := context.WithTimeout(g.ctx, o.Duration)
		g.run(timed, math.MaxInt64)
		cancel()
	}
	if g.exact {
		g.flush()
	}
	r.Records = g.acked() - before
	r.Bytes = r.Records * int64(o.RecordSize)
	w.close(ctx, r)
	stopWatching()
	for _, p := range g.producers {
		p.counting.Store(false)
	}
	g.flush()
	if err := g.failure(ctx); err != nil {
		return err
	}
	r.Acknowledged, r.Lateness = g.quantiles()
	return nil
}

func (g *generator) flush() {
	for _, p := range g.producers {
		_ = p.client.Flush(g.ctx) // it fails with g.ctx, whose cause is looked at
	}
}

// failure is why the run cannot go on, if so.
func (g *generator) failure(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return context.Cause(g.ctx)
}

func (g *generator) quantiles() (acks, lateness *Quantiles) {
	var a, l []*hdrhistogram.Histogram
	for _, p := range g.producers {
		p.mu.Lock()
		a, l = append(a, hdrhistogram.Import(p.acks.Export())), append(l, hdrhistogram.Import(p.lateness.Export()))
		p.mu.Unlock()
	}
	return quantiles(a...), quantiles(l...)
}

// watch tells of the progress until it is stopped.
func (g *generator) watch(before int64) (stop func()) {
	o := g.options
	began := time.Now()
	return every(200*time.Millisecond, func() {
		if o.Records > 0 {
			o.Progress(g.acked()-before, o.Records)
		} else {
			o.Progress(time.Since(began).Milliseconds(), o.Duration.Milliseconds())
		}
	})
}

// every calls f now and then until it is stopped.
func every(d time.Duration, f func()) (stop func()) {
	ticker, done, ended := time.NewTicker(d), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
		<-ended
	}
}
