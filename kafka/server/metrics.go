package server

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what a server counts. The caller registers them.
type Metrics struct {
	Requests    *prometheus.CounterVec   // by API
	Latency     *prometheus.HistogramVec // seconds from a request's arrival to its answer's writing, by API
	BytesIn     prometheus.Counter
	BytesOut    prometheus.Counter
	Connections prometheus.Gauge
	Refused     *prometheus.CounterVec // connections closed by the broker, by reason
	Panics      prometheus.Counter

	apis [maxKey]apiMetrics // by key; the last is for all others
}

const maxKey = 128

type apiMetrics struct {
	requests prometheus.Counter
	latency  prometheus.Observer
}

// NewMetrics makes the collectors. names are the API keys that get a label of
// their own.
func NewMetrics(names map[int16]string) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "understudy", Subsystem: "kafka", Name: name, Help: help}
	}
	m := &Metrics{
		Requests: prometheus.NewCounterVec(prometheus.CounterOpts(opts("requests_total", "Requests received, by API.")), []string{"api"}),
		Latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "understudy", Subsystem: "kafka", Name: "request_seconds",
			Help:    "Time from a request's arrival until its answer is written, by API.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}, []string{"api"}),
		BytesIn:     prometheus.NewCounter(prometheus.CounterOpts(opts("bytes_in_total", "Bytes of requests."))),
		BytesOut:    prometheus.NewCounter(prometheus.CounterOpts(opts("bytes_out_total", "Bytes of answers."))),
		Connections: prometheus.NewGauge(prometheus.GaugeOpts(opts("connections", "Open connections."))),
		Refused:     prometheus.NewCounterVec(prometheus.CounterOpts(opts("refused_total", "Connections that the broker closed, by reason.")), []string{"reason"}),
		Panics:      prometheus.NewCounter(prometheus.CounterOpts(opts("panics_total", "Requests whose handling crashed."))),
	}
	other := apiMetrics{m.Requests.WithLabelValues("other"), m.Latency.WithLabelValues("other")}
	for key := range m.apis {
		m.apis[key] = other
		if name, ok := names[int16(key)]; ok {
			m.apis[key] = apiMetrics{m.Requests.WithLabelValues(name), m.Latency.WithLabelValues(name)}
		}
	}
	return m
}

// Collectors are all of them, for registering.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.Requests, m.Latency, m.BytesIn, m.BytesOut, m.Connections, m.Refused, m.Panics}
}

func (m *Metrics) api(key int16) *apiMetrics {
	if key < 0 || key >= maxKey {
		key = maxKey - 1
	}
	return &m.apis[key]
}
