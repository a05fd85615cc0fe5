package client

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What a subscription decides is published on the actor system's event stream, as
// one of these.
type (
	// Assigned tells that the group has given the subscription a partition, and
	// where it goes on in it; -1: where it was told to start.
	Assigned struct {
		Group, Topic string
		Partition    int32
		Offset       int64
	}
	// Revoked tells that a partition has been given back. Drained is false when
	// work on it did not end in time: what was not acknowledged comes again.
	Revoked struct {
		Group, Topic string
		Partition    int32
		Drained      bool
	}
	// SetAside tells that an actor has more waiting than it will soon have done, while
	// others have no room: from an offset on its records are put aside, and read again
	// later. See MaxAside.
	SetAside struct {
		Group, Topic string
		Partition    int32
		Route        string // what the options' By gave for the records
		Offset       int64
	}
	// Retried tells that a record has failed and will come again.
	Retried struct {
		Record  *kgo.Record
		Attempt int
		After   time.Duration
		Cause   error
	}
	// DeadLettered tells that a record has gone to the dead letters.
	DeadLettered struct {
		Record  *kgo.Record
		Attempt int
		Topic   string // of dead letters
		Cause   error
		Cut     string // what the letter is without, since it was too large: see HeaderCut
	}
)

// told publishes an event, and logs it.
func (s *subscriber) told(event any) {
	s.system.EventStream.Publish(event)
	switch e := event.(type) {
	case Assigned:
		s.o.Log.Info().Str("topic", e.Topic).Int32("partition", e.Partition).Int64("offset", e.Offset).Msg("partition assigned")
	case Revoked:
		s.o.Log.Info().Str("topic", e.Topic).Int32("partition", e.Partition).Bool("drained", e.Drained).Msg("partition revoked")
	case SetAside:
		s.o.Log.Info().Str("topic", e.Topic).Int32("partition", e.Partition).Str("route", e.Route).Int64("offset", e.Offset).Msg("an actor is slow; its records are put aside")
	case Retried:
		s.metrics.retries.Inc()
		aboutRecord(s.o.Log.Debug(), e.Record).Int("attempt", e.Attempt).Dur("after_ms", e.After).Err(e.Cause).Msg("record failed and will come again")
	case DeadLettered:
		s.metrics.dead.Inc()
		aboutRecord(s.o.Log.Warn(), e.Record).Int("attempt", e.Attempt).Str("dead_letters", e.Topic).Str("cut", e.Cut).Err(e.Cause).Msg("record went to the dead letters")
	}
}

func aboutRecord(line *zerolog.Event, r *kgo.Record) *zerolog.Event {
	return line.Str("topic", r.Topic).Int32("partition", r.Partition).Int64("offset", r.Offset)
}

// metrics of one subscription.
type metrics struct {
	delivered, panics, retries, dead prometheus.Counter
	registered                       []prometheus.Collector
}

// newMetrics makes the metrics, and registers them where there is a registry.
func newMetrics(s *subscriber) (metrics, error) {
	labels := prometheus.Labels{"group": s.o.Group}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "understudy_client_" + name, Help: help, ConstLabels: labels})
	}
	m := metrics{
		delivered: counter("deliveries_total", "Records sent to actors, repetitions included."),
		panics:    counter("actor_failures_total", "Actors that panicked."),
		retries:   counter("retries_total", "Records that failed and were delivered again."),
		dead:      counter("dead_letters_total", "Records that went to the dead letters."),
	}
	if s.o.Metrics == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.delivered, m.panics, m.retries, m.dead, lagCollector{s, labels}} {
		mine := collector{c, s}
		err := s.o.Metrics.Register(mine)
		if before := (prometheus.AlreadyRegisteredError{}); errors.As(err, &before) {
			if last, ok := before.ExistingCollector.(collector); ok && last.s.stopped.Load() {
				s.o.Metrics.Unregister(last)
				err = s.o.Metrics.Register(mine)
			}
		}
		if err != nil {
			m.end(s.o.Metrics)
			return m, err
		}
		m.registered = append(m.registered, mine)
	}
	return m, nil
}

// collector is a metric of a subscription. When that has stopped, the metric stays in the
// registry until another subscription of the group takes its place.
type collector struct {
	prometheus.Collector
	s *subscriber
}

// end takes the metrics of a subscription that could not be begun out of the registry.
func (m metrics) end(registry prometheus.Registerer) {
	for _, c := range m.registered {
		registry.Unregister(c)
	}
}

// lagCollector gives, when it is asked, how far each partition's group is behind,
// and how much is in flight.
type lagCollector struct {
	s      *subscriber
	labels prometheus.Labels
}

func (c lagCollector) lag() *prometheus.Desc {
	return prometheus.NewDesc("understudy_client_consumer_lag", "Records between the front of what was acknowledged and the partition's high watermark.", []string{"topic", "partition"}, c.labels)
}

func (c lagCollector) inFlight() *prometheus.Desc {
	return prometheus.NewDesc("understudy_client_in_flight_records", "Records that were polled and are not acknowledged.", nil, c.labels)
}

func (c lagCollector) aside() *prometheus.Desc {
	return prometheus.NewDesc("understudy_client_aside_records", "Records of slow actors that are not kept, and will be read again.", nil, c.labels)
}

// Describe is of prometheus.Collector.
func (c lagCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.lag()
	out <- c.inFlight()
	out <- c.aside()
}

// Collect is of prometheus.Collector.
func (c lagCollector) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(c.inFlight(), prometheus.GaugeValue, float64(c.s.room.records.Load()))
	out <- prometheus.MustNewConstMetric(c.aside(), prometheus.GaugeValue, float64(c.s.aside.Load()))
	for _, f := range c.s.assigned() {
		f.mu.Lock()
		lag := max(f.watermark-f.front.offset(), 0)
		f.mu.Unlock()
		out <- prometheus.MustNewConstMetric(c.lag(), prometheus.GaugeValue, float64(lag), f.topic, partitionLabel(f.partition))
	}
}
