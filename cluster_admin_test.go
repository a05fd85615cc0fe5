package understudy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/persistence/vfs"
)

// ask asks a node's admin endpoint; the answer must have a status of this hundred.
func (c *cluster) ask(i int, method, path string, hundred int, answer any) {
	c.t.Helper()
	if err := c.try(i, method, path, hundred, answer); err != nil {
		c.t.Fatal(err)
	}
}

// try is ask that says what is wrong with the answer.
func (c *cluster) try(i int, method, path string, hundred int, answer any) error {
	request, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.brokers[i].AdminAddr().String()+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode/100 != hundred {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, body)
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("%s %s: %w in %s", method, path, err, body)
	}
	return nil
}

// refused asks for what must be refused, and gives the reason.
func (c *cluster) refused(i int, method, path string) string {
	c.t.Helper()
	var answer struct{ Error string }
	c.ask(i, method, path, 4, &answer)
	if answer.Error == "" {
		c.t.Errorf("%s %s is refused without a reason", method, path)
	}
	return answer.Error
}

// standing is what the tests look at in the answer to GET /cluster.
type standing struct {
	ClusterID  string `json:"cluster_id"`
	Controller int32
	Version    int64 `json:"metadata_version"`
	Rendezvous string
	Brokers    []struct {
		ID                int32
		Host, Admin       string
		State             string
		Leaders, Replicas int
	}
	Offline []struct {
		Topic     string
		Partition int32
		Why       string
		BackWith  []int32 `json:"back_with"`
	}
	UnderReplicated int `json:"under_replicated"`
}

// cluster asks a node how the cluster stands, until it is as wanted.
func (c *cluster) standing(i int, what string, wanted func(standing) bool) standing {
	c.t.Helper()
	var s standing
	c.until(what, func() bool {
		s = standing{}
		c.ask(i, "GET", "/cluster", 2, &s)
		return wanted(s)
	}, func() string { return fmt.Sprintf("%+v", s) })
	return s
}

// until tries again and again; what it shows is for the error.
func (c *cluster) until(what string, try func() bool, show func() string) {
	c.t.Helper()
	patience, again := time.After(2*time.Minute), time.NewTicker(5*time.Millisecond)
	defer again.Stop()
	for !try() {
		select {
		case <-patience:
			c.t.Fatalf("never %s; now %s", what, show())
		case <-again.C:
		}
	}
}

// TestAnyNodeTellsHowTheClusterStands asks all of them, before and after one dies.
func TestAnyNodeTellsHowTheClusterStands(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	c.createTopicOf("single", 3, 1)
	var admins []string
	for _, b := range c.brokers {
		admins = append(admins, b.AdminAddr().String())
	}
	for i := range c.brokers {
		s := c.standing(i, "all is well", func(s standing) bool {
			known := 0
			for _, b := range s.Brokers {
				known += b.Leaders
			}
			return len(s.Brokers) == 3 && s.UnderReplicated == 0 && known == 9
		})
		leaders, replicas := 0, 0
		for n, b := range s.Brokers {
			leaders, replicas = leaders+b.Leaders, replicas+b.Replicas
			if b.State != "up" || int(b.ID) != n+1 || b.Admin != admins[n] {
				t.Errorf("node %d says of node %d: %+v", i+1, n+1, b)
			}
		}
		if leaders != 9 || replicas != 21 || int(s.Controller) != c.controller()+1 || s.Rendezvous != "ok" || s.ClusterID == "" || len(s.Offline) > 0 {
			t.Errorf("node %d says %+v", i+1, s)
		}
		var list []struct {
			Partition, Leader, Preferred int32
			Replicas, ISR                []int32
		}
		c.ask(i, "GET", "/cluster/partitions?topic=orders", 2, &list)
		for n, p := range list {
			if int(p.Partition) != n || p.Preferred != p.Replicas[0] || len(p.Replicas) != 3 || len(p.ISR) != 3 {
				t.Errorf("node %d says of partition %d: %+v", i+1, n, p)
			}
		}
		if len(list) != 6 {
			t.Errorf("node %d lists %d partitions", i+1, len(list))
		}
		if why := c.refused(i, "GET", "/cluster/partitions?topic=nothing"); !strings.Contains(why, "nothing") {
			t.Errorf("an unknown topic: %s", why)
		}
	}
	victim := c.victim(false)
	c.kill(victim, vfs.LoseNone)
	for i, b := range c.brokers {
		if b == nil {
			continue
		}
		s := c.standing(i, "one is down", func(s standing) bool { return s.Brokers[victim].State == "down" && len(s.Offline) > 0 })
		for _, o := range s.Offline {
			if o.Topic != "single" || o.Why == "" || !slices.Equal(o.BackWith, []int32{int32(victim + 1)}) {
				t.Errorf("node %d says that offline is %+v", i+1, o)
			}
		}
	}
	c.start(victim)
	for i := range c.brokers {
		c.standing(i, "all is well again", func(s standing) bool {
			return s.Brokers[victim].State == "up" && len(s.Offline) == 0 && s.UnderReplicated == 0
		})
	}
}

// TestAllNodesHaveTheDecisions has a node miss some, and one more start anew.
func TestAllNodesHaveTheDecisions(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	victim := c.victim(true)
	c.kill(victim, vfs.LoseNone)
	c.awaitInSync("orders", 2)
	c.createTopicOf("pairs", 3, 2)
	c.start(victim)
	c.awaitInSync("orders", 3)
	type event struct {
		Seq                            int64
		ID, Kind, Subject, Cause, Text string
	}
	for i := range c.brokers {
		var seen []event
		c.until("all decisions", func() bool {
			var answer struct {
				Next   int64
				Events []event
			}
			query := url.Values{"since": {"0"}}
			if len(seen) > 0 { // wait for more
				query = url.Values{"since": {fmt.Sprint(seen[len(seen)-1].Seq)}, "wait": {"30s"}}
			}
			c.ask(i, "GET", "/events?"+query.Encode(), 2, &answer)
			seen = append(seen, answer.Events...)
			has := func(kind, subject, cause string) bool {
				return slices.ContainsFunc(seen, func(e event) bool {
					return e.Kind == kind && strings.HasPrefix(e.Subject, subject) && strings.Contains(e.Cause, cause)
				})
			}
			return has("topic-created", "orders", "") && has("topic-created", "pairs", "") && has("leader-elected", "orders-", fmt.Sprintf("node %d", victim+1)) &&
				has("isr-changed", "orders-", fmt.Sprintf("node %d caught up", victim+1)) && has("broker-up", fmt.Sprint("node ", victim+1), "")
		}, func() string { return fmt.Sprintf("node %d has %+v", i+1, seen) })
		known := map[string]bool{}
		for n, e := range seen {
			if known[e.ID] || e.Seq != int64(n+1) || e.Text == "" {
				t.Errorf("node %d, event %d: %+v", i+1, n, e)
			}
			known[e.ID] = true
		}
	}
}

// TestWhatCannotBeDoneIsRefused asks for what must not be.
func TestWhatCannotBeDoneIsRefused(t *testing.T) {
	c := newCluster(t)
	c.createTopic("orders", 3, nil)
	for i := range c.brokers {
		for _, wrong := range []struct{ method, path, says string }{
			{"POST", "/cluster/brokers/3/drain", "too few other brokers"},
			{"POST", "/cluster/brokers/9/drain", "node 9"},
			{"POST", "/cluster/brokers/x/drain", "no node id"},
			{"DELETE", "/cluster/brokers/2", "node 2"},
			{"POST", "/cluster/restore", "no metadata is lost"},
			{"POST", "/cluster/restore?force=perhaps", "neither true nor false"},
			{"GET", "/events?since=yesterday", "since"},
			{"GET", "/events?wait=-1s", "wait"},
		} {
			if why := c.refused(i, wrong.method, wrong.path); !strings.Contains(why, wrong.says) {
				t.Errorf("%s %s: %s", wrong.method, wrong.path, why)
			}
		}
	}
}
