package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"understudy/client/clienttest"
	"understudy/config"
)

const patience = 5 * time.Minute // before a test gives up; it does not pass by waiting for it

// visitor is somebody who looks at the page.
type visitor struct {
	*testing.T
	address string
	stream  *bufio.Reader
	state   stateView // as it was told last
	samples []sample  // that were told since the last look
	lines   []string
}

// visit runs the storefront, on those brokers if there are any, and begins to look.
func visit(t *testing.T, brokers ...string) *visitor {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	ended, ready := make(chan error, 1), make(chan string, 1)
	go func() {
		ended <- run(ctx, settings{listen: "127.0.0.1:0", partitions: 3, brokers: brokers}, func(address string) { ready <- address })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it did not end in order: %v", err)
		}
	})
	v := &visitor{T: t}
	select {
	case v.address = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.address+"/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	v.stream = bufio.NewReader(resp.Body)
	return v
}

// until reads what is told until something holds.
func (v *visitor) until(what string, holds func() bool) {
	v.Helper()
	for name := ""; !holds(); {
		line, err := v.stream.ReadString('\n')
		if err != nil {
			v.Fatalf("in vain: %s (%v); now %+v", what, err, v.state)
		}
		if n, is := strings.CutPrefix(line, "event: "); is {
			name = strings.TrimSpace(n)
		}
		if data, is := strings.CutPrefix(line, "data: "); is {
			v.hear(name, data)
		}
	}
}

func (v *visitor) hear(name, data string) {
	v.Helper()
	var into struct {
		Text    string
		Samples []sample
	}
	var err error
	if name == "state" {
		v.state = stateView{}
		err = json.Unmarshal([]byte(data), &v.state)
	} else {
		err = json.Unmarshal([]byte(data), &into)
	}
	if err != nil {
		v.Fatalf("%s: %v", data, err)
	}
	v.samples = append(v.samples, into.Samples...)
	if name == "line" {
		v.lines = append(v.lines, into.Text)
	}
}

// post presses a button, and gives the answer's status.
func (v *visitor) post(path, body string) int {
	v.Helper()
	resp, err := http.Post("http://"+v.address+path, "application/json", strings.NewReader(body))
	if err != nil {
		v.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body) // for the log only
	if resp.StatusCode >= 300 {
		v.Logf("%s %s: %s", path, body, text)
	}
	return resp.StatusCode
}

// arrives places an order, and waits until the customer has heard of it.
func (v *visitor) arrives(card string) {
	v.Helper()
	if code := v.post("/orders", `{"card":"`+card+`","product":"honey"}`); code != http.StatusNoContent {
		v.Fatal(code)
	}
	v.until("the order of "+card+" is on its way", func() bool {
		for _, s := range v.samples {
			if s.Order.Card == card && s.To == notification && s.Note == "on its way" {
				return true
			}
		}
		return false
	})
}

func (v *visitor) said(text string) func() bool {
	return func() bool {
		for _, line := range v.lines {
			if strings.Contains(line, text) {
				return true
			}
		}
		return false
	}
}

// TestTheShopGoesOn kills a broker, revives it, adds what can be added: every order
// arrives.
func TestTheShopGoesOn(t *testing.T) {
	v := visit(t)
	v.arrives("first")
	if code := v.post("/brokers/2/kill", ""); code != http.StatusNoContent {
		t.Fatal(code)
	}
	v.arrives("without-2")
	v.until("others lead", func() bool {
		return !v.state.Brokers[1].Up && v.all(func(p partitionView) bool { return p.Leader == 1 || p.Leader == 3 })
	})
	if code := v.post("/brokers/2/revive", ""); code != http.StatusNoContent {
		t.Fatal(code)
	}
	v.until("all are in sync", func() bool {
		return v.state.Brokers[1].Up && v.all(func(p partitionView) bool { return len(p.ISR) == 3 })
	})
	if code := v.post("/partitions", ""); code != http.StatusNoContent {
		t.Fatal(code)
	}
	v.until("there is one more partition", func() bool { return len(v.state.Topics[0].Partitions) == 4 })
	v.post("/workers/payment/hire", "")
	v.until("hired", func() bool { return v.state.Groups[0].Workers == 2 && v.state.Groups[0].Members == 2 })
	v.arrives("with-more")
	v.post("/workers/payment/dismiss", "")
	v.until("dismissed", func() bool { return v.state.Groups[0].Workers == 1 && v.state.Groups[0].Members == 1 })
	v.post("/orders", `{"card":"a","product":"poison"}`)
	v.until("poison is among the dead letters", v.said("went to "+topicDead))
	v.post("/rate/100", "")
	v.until("orders are generated", func() bool { return v.state.Orders > 50 })
	v.post("/rate/0", "")
	v.until("all is done", func() bool {
		for _, g := range v.state.Groups {
			if g.Lag != 0 {
				return false
			}
		}
		return v.state.Rate == 0
	})
}

// TestABrokerElsewhereMayFall kills a broker of a cluster that the shop only uses, and
// whose own topics would have one replica.
func TestABrokerElsewhereMayFall(t *testing.T) {
	cluster, err := clienttest.New(t.Context(), clienttest.Options{Brokers: 3, Adjust: func(_ int, cfg *config.Config) { cfg.Topics.ReplicationFactor = 1 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	v := visit(t, cluster.Addrs()[0])
	v.arrives("first")
	v.until("all have replicas", func() bool { return v.all(func(p partitionView) bool { return len(p.ISR) == 3 }) })
	if code := v.post("/brokers/2/kill", ""); code != http.StatusBadRequest {
		t.Error(code)
	}
	if err := cluster.Kill(1); err != nil {
		t.Fatal(err)
	}
	v.until("others lead", func() bool {
		return v.all(func(p partitionView) bool { return p.Leader == 1 || p.Leader == 3 })
	})
	v.arrives("without-2")
}

// all reports whether something holds for all partitions.
func (v *visitor) all(holds func(partitionView) bool) bool {
	for _, t := range v.state.Topics {
		if len(t.Partitions) == 0 {
			return false
		}
		for _, p := range t.Partitions {
			if !holds(p) {
				return false
			}
		}
	}
	return len(v.state.Topics) > 0
}

func TestNonsenseIsRefused(t *testing.T) {
	v := visit(t)
	for path, body := range map[string]string{
		"/orders": `{"card":"a","product":"gold"}`, "/orders?": `{"card":"","product":"honey"}`, "/orders?2": `no`, "/orders?3": `{"card":"a","product":"honey","cents":-1}`,
		"/orders?4": strings.Repeat(" ", 2*maxBody) + "{}",
		"/rate/-1":  "", "/rate/x": "", "/rate/100000": "", "/workers/nobody/hire": "", "/workers/nobody/dismiss": "",
		"/brokers/0/kill": "", "/brokers/4/kill": "", "/brokers/x/revive": "",
	} {
		if code := v.post(path, body); code != http.StatusBadRequest {
			t.Errorf("%s %.40q: %d", path, body, code)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+v.address+"/brokers/1/kill", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "http://elsewhere.example")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("another site may kill a broker: %s", resp.Status)
	}
}

func TestACardIsWatched(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var c Card
	for i := range 10 { // slowly
		if reason := c.use(Order{Cents: 100, Placed: now.Add(time.Duration(i) * window)}); reason != "" {
			t.Errorf("order %d: %s", i, reason)
		}
	}
	now = now.Add(20 * window)
	if reason := c.use(Order{Cents: 1000, Placed: now}); !strings.Contains(reason, "10 times") {
		t.Errorf("a dear one: %q", reason)
	}
	reason := ""
	for i := range tooMany {
		reason = c.use(Order{Cents: 100, Placed: now.Add(time.Duration(i) * time.Millisecond)})
	}
	if !strings.Contains(reason, "13 orders") {
		t.Errorf("many: %q", reason)
	}
}
