package understudy

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// newMetrics is a registry of the broker's own: two brokers in one process do
// not mix their figures.
func newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// brokerMetrics are figures that are looked up when they are asked for, so that
// they cost nothing while nobody asks.
type brokerMetrics struct {
	b                                                  *Broker
	partitions, offline, damaged, bytes, topics, files *prometheus.Desc
	syncs, rounds, flushes, failures                   *prometheus.Desc
	memory                                             *prometheus.Desc
	cleanings, uncleaned, cleaned, dropped             *prometheus.Desc
	version                                            *prometheus.Desc
	led, behind, refusing, leaderless, controller      *prometheus.Desc
}

func newBrokerMetrics(b *Broker) *brokerMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("understudy_"+name, help, labels, nil)
	}
	return &brokerMetrics{
		b:          b,
		topics:     desc("topics", "Topics in the metadata."),
		partitions: desc("partitions", "Replicas on this broker."),
		led:        desc("partitions_led", "Partitions that this broker leads."),
		behind:     desc("partitions_under_replicated", "Partitions that this broker leads and of which not all replicas are in sync."),
		refusing:   desc("partitions_under_min_isr", "Partitions that this broker leads with fewer in-sync replicas than min.insync.replicas: they refuse acks=all."),
		leaderless: desc("partitions_without_leader", "Partitions of the cluster that nobody leads, as this broker knows it."),
		controller: desc("active_controller", "1 on the broker whose controller decides, else 0."),
		offline:    desc("partitions_offline", "Replicas on this broker that cannot serve."),
		damaged:    desc("partitions_damaged", "Replicas on this broker of which records could not be read."),
		bytes:      desc("log_bytes", "Bytes in the logs of this broker."),
		files:      desc("open_files", "Files of logs that are open."),
		flushes:    desc("flush_requests_total", "Flushes that logs asked for."),
		rounds:     desc("flush_rounds_total", "Rounds in which flushes were carried out."),
		syncs:      desc("flush_syncs_total", "Syncs of files."),
		failures:   desc("flush_failures_total", "Syncs that failed."),
		cleanings:  desc("compactions_total", "Logs that were compacted."),
		uncleaned:  desc("compaction_failures_total", "Compactions that failed."),
		cleaned:    desc("compaction_read_bytes_total", "Bytes that compaction has read."),
		dropped:    desc("compaction_removed_bytes_total", "Bytes by which compaction has made logs smaller."),
		version:    desc("link_protocol_version", "Version of the protocol that is spoken with another node.", "node"),
		memory:     desc("memory_in_use_bytes", "Bytes of the memory budget that requests and answers take."),
	}
}

// Describe implements prometheus.Collector.
func (m *brokerMetrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m *brokerMetrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) { out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	count := func(d *prometheus.Desc, v uint64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	m.collectLeadership(gauge)
	var offline, damaged, bytes float64
	replicas := m.b.replicas.All()
	for _, h := range replicas {
		bytes += float64(h.Size())
		if v := h.View(); v == nil || v.Err != nil {
			offline++
		}
		if len(h.Damage()) > 0 {
			damaged++
		}
	}
	stats := m.b.flusher.Stats()
	gauge(m.topics, float64(m.b.cell.Image().TopicCount()))
	gauge(m.partitions, float64(len(replicas)))
	gauge(m.offline, offline)
	gauge(m.damaged, damaged)
	gauge(m.bytes, bytes)
	gauge(m.files, float64(m.b.segments.Len()))
	gauge(m.memory, float64(m.b.pool.Budget().Used()))
	count(m.flushes, stats.Requests)
	count(m.rounds, stats.Rounds)
	count(m.syncs, stats.Syncs)
	count(m.failures, stats.Failures)
	cleaner := m.b.cleaner.Stats()
	count(m.cleanings, uint64(cleaner.Runs))
	count(m.uncleaned, uint64(cleaner.Failures))
	count(m.cleaned, uint64(cleaner.Read))
	count(m.dropped, uint64(cleaner.Removed))
	for _, p := range m.b.peers() {
		if p.Version != 0 {
			out <- prometheus.MustNewConstMetric(m.version, prometheus.GaugeValue, float64(p.Version), strconv.Itoa(int(p.Peer.ID)))
		}
	}
}

// collectLeadership gives what follows from the metadata.
func (m *brokerMetrics) collectLeadership(gauge func(*prometheus.Desc, float64)) {
	var led, behind, refusing, leaderless, active float64
	image := m.b.cell.Image()
	defaults := m.b.defaults(image)
	for t := range image.Topics() {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			switch p.Leader {
			case messages.NoBroker:
				leaderless++
			case m.b.self.ID:
				led++
				if len(p.ISR) == len(p.Replicas) {
					continue
				}
				behind++
				if s, err := topicconfig.Parse(t.Config, defaults); err == nil && len(p.ISR) < min(s.MinInsyncReplicas, len(p.Replicas)) {
					refusing++
				}
			}
		}
	}
	if image.Controller == m.b.self.ID {
		active = 1
	}
	gauge(m.led, led)
	gauge(m.behind, behind)
	gauge(m.refusing, refusing)
	gauge(m.leaderless, leaderless)
	gauge(m.controller, active)
}
