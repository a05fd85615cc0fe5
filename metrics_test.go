package understudy_test

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"understudy/persistence/vfs"
)

// metrics gives what a node's figures without labels are.
func (c *cluster) metrics(i int) map[string]float64 {
	c.t.Helper()
	resp, err := http.Get("http://" + c.brokers[i].AdminAddr().String() + "/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	found := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && strings.HasPrefix(name, "understudy_") {
			found[strings.TrimPrefix(name, "understudy_")], _ = strconv.ParseFloat(value, 64)
		}
	}
	return found
}

// TestMetricsTellWhoLeadsAndWhatIsMissing adds up the figures of all nodes that are up, of
// six partitions that need all three replicas, before and after one has gone.
func TestMetricsTellWhoLeadsAndWhatIsMissing(t *testing.T) {
	c := newCluster(t)
	all := "3"
	c.createTopic("orders", 6, map[string]*string{"min.insync.replicas": &all})
	add := func() (sum map[string]float64) {
		sum = map[string]float64{}
		for i, b := range c.brokers {
			if b != nil {
				for name, value := range c.metrics(i) {
					sum[name] += value
				}
			}
		}
		return sum
	}
	expect := func(when string, want map[string]float64) {
		t.Helper()
		have := map[string]float64{}
		c.until(when, func() bool {
			have = add()
			for name, value := range want {
				if have[name] != value {
					return false
				}
			}
			return true
		}, func() string {
			var b strings.Builder
			for name := range want {
				b.WriteString(name + " " + strconv.FormatFloat(have[name], 'g', -1, 64) + "; ")
			}
			return b.String()
		})
	}
	c.awaitInSync("orders", 3)
	expect("all nodes are up", map[string]float64{
		"partitions_led": 6, "partitions_under_replicated": 0, "partitions_under_min_isr": 0, "partitions_without_leader": 0, "active_controller": 1,
	})
	c.kill(0, vfs.LoseNone)
	expect("one node is down", map[string]float64{
		"partitions_led": 6, "partitions_under_replicated": 6, "partitions_under_min_isr": 6, "partitions_without_leader": 0, "active_controller": 1,
	})
}
