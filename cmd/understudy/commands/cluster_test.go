package commands

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"understudy"
	"understudy/config"
)

// aloneWithAdmin starts a broker and makes it the default of --brokers and --admin.
func aloneWithAdmin(t *testing.T) {
	t.Helper()
	cfg := config.Default()
	cfg.InMemory, cfg.Listen, cfg.AdminListen = true, "127.0.0.1:0", "127.0.0.1:0"
	b, err := understudy.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(t.Context()) })
	t.Setenv(brokersEnv, b.Addr().String())
	t.Setenv(adminEnv, b.AdminAddr().String())
}

func TestClusterDescribe(t *testing.T) {
	aloneWithAdmin(t)
	must(t, "", "topic", "create", "orders", "--partitions", "3")
	have := must(t, "", "cluster", "describe")
	matches(t, have, `runs alone \(id \S+\): controller node 1, metadata version \d+, rendezvous none`)
	matches(t, have, `(?m)^ +1 +up +127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+ +- +\d+ +3 +3$`)
	matches(t, have, `all partitions are led`)

	var answer clusterAnswer
	if err := json.Unmarshal([]byte(must(t, "", "cluster", "describe", "-o", "json")), &answer); err != nil || len(answer.Brokers) != 1 || answer.Brokers[0].Leaders != 3 {
		t.Errorf("%+v, %v", answer, err)
	}
}

func TestClusterEvents(t *testing.T) {
	aloneWithAdmin(t)
	must(t, "", "topic", "create", "orders")
	matches(t, must(t, "", "cluster", "events"), `(?m)^\d\d:\d\d:\d\d\.\d{3}  node 1  .*orders`)
	for line := range strings.Lines(must(t, "", "cluster", "events", "-o", "json")) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%q is not JSON", line)
		}
	}
}

// endpoint is an admin endpoint that remembers what it was asked.
type endpoint struct {
	mu    sync.Mutex
	asked []string
}

func (e *endpoint) answer(t *testing.T, status int, body string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.asked = append(e.asked, r.Method+" "+r.URL.RequestURI())
		e.mu.Unlock()
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	t.Setenv(adminEnv, server.Listener.Addr().String())
}

func TestNodesAreDrainedAndRemoved(t *testing.T) {
	var e endpoint
	e.answer(t, http.StatusOK, "{}")
	for _, line := range []string{"drain 2", "undrain 2", "remove 2", "restore"} {
		must(t, "", append([]string{"cluster"}, strings.Fields(line)...)...)
	}
	want := "POST /cluster/brokers/2/drain, POST /cluster/brokers/2/undrain, DELETE /cluster/brokers/2, POST /cluster/restore"
	if have := strings.Join(e.asked, ", "); have != want {
		t.Errorf("asked %s", have)
	}
}

func TestTheAdminEndpointRefuses(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{http.StatusConflict, `{"error": "remove broker: node 2 is up"}`, `understudy: remove broker: node 2 is up`},
		{http.StatusNotFound, "404 page not found", `answers: 404 Not Found\nis that the admin endpoint`},
	} {
		new(endpoint).answer(t, c.status, c.body)
		if r := run(t, strings.NewReader(""), "cluster", "remove", "2"); r.code != exitFailed || !regexp.MustCompile(c.want).MatchString(r.err) {
			t.Errorf("%d: %s", r.code, r.err)
		}
	}
}

func TestNobodyAtTheAdminEndpoint(t *testing.T) {
	r := run(t, strings.NewReader(""), "cluster", "describe", "--admin", "127.0.0.1:1")
	if r.code != exitFailed || !strings.Contains(r.err, "no admin endpoint answers at 127.0.0.1:1") {
		t.Errorf("%d: %s", r.code, r.err)
	}
	if r := run(t, strings.NewReader(""), "cluster", "drain", "two"); r.code != exitUsage {
		t.Errorf("%d: %s", r.code, r.err)
	}
}

func TestTroublesAreTold(t *testing.T) {
	new(endpoint).answer(t, http.StatusOK, `{"cluster_id":"x","name":"demo","controller":-1,"rendezvous":"ok","brokers":[],
		"offline":[{"topic":"orders","partition":3,"why":"no in-sync replica is up","back_with":[2,3]}],"under_replicated":2,
		"moves":[{"topic":"orders","partition":1,"from":[1,2],"to":[2,3],"remaining_bytes":1048576},{"topic":"orders","partition":2,"from":[1],"to":[2],"remaining_bytes":-1}]}`)
	have := must(t, "", "cluster", "describe")
	for _, want := range []string{
		"controller none known", "offline: orders-3: no in-sync replica is up; back with: 2,3", "2 partitions with replicas that are not in sync",
		"moving: orders-1: 1,2 → 2,3, 1.0 MiB left", "moving: orders-2: 1 → 2, not known how much is left",
	} {
		if !strings.Contains(have, want) {
			t.Errorf("no %q in\n%s", want, have)
		}
	}
}
