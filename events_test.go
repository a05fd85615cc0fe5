package understudy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counted are the events that a registry has counted, by kind.
func counted(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return counts
}

// TestTheLatestEventsAreKept has more events than are kept, and asks for them in
// all ways.
func TestTheLatestEventsAreKept(t *testing.T) {
	registry := prometheus.NewRegistry()
	c := newChronicle(registry)
	c.identify(2, 7)
	for i := range maxEvents + 10 {
		c.record(Event{Kind: "test", Text: fmt.Sprint(i)}, 2)
	}
	for _, ask := range []struct{ since, first int64 }{
		{0, 11}, {5, 11}, {10, 11}, {11, 12}, {maxEvents + 9, maxEvents + 10}, {maxEvents + 10, 0},
		{maxEvents + 11, 11}, // of an earlier start of the node
	} {
		events, next, _ := c.since(ask.since)
		if next != maxEvents+10 {
			t.Errorf("since %d: next is %d", ask.since, next)
		}
		first := int64(0)
		if len(events) > 0 {
			first = events[0].Seq
			if last := events[len(events)-1]; last.Seq != next || last.ID != fmt.Sprintf("2.7.%d", next) || last.Node != 2 {
				t.Errorf("since %d: the last is %+v", ask.since, last)
			}
		}
		if first != ask.first {
			t.Errorf("since %d: begins with %d, want %d", ask.since, first, ask.first)
		}
	}
	if n := counted(t, registry)["test"]; n != 2*(maxEvents+10) {
		t.Errorf("%v are counted", n)
	}
}

// TestEventsOfOtherNodesComeOnce tells a node things twice.
func TestEventsOfOtherNodesComeOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	one, two := newChronicle(prometheus.NewRegistry()), newChronicle(registry)
	one.identify(1, 1)
	two.identify(2, 1)
	told := one.record(Event{Kind: "decided", Text: strings.Repeat("é", maxEventText), decision: true}, 1)
	one.record(Event{Kind: "seen"}, 1)
	two.record(Event{Kind: "seen"}, 1)
	two.receive(told)
	for _, e := range one.decisions() {
		two.receive(e)
	}
	events, _, _ := two.since(0)
	if len(events) != 2 || events[1].ID != told.ID || events[1].Seq != 2 || events[1].Text != told.Text || !events[1].Time.Equal(told.Time) {
		t.Errorf("have %+v", events)
	}
	if len(told.Text) > maxEventText+3 || !strings.HasSuffix(told.Text, "é…") {
		t.Errorf("a long text is cut to %d bytes: …%s", len(told.Text), told.Text[len(told.Text)-8:])
	}
	if counts := counted(t, registry); len(counts) != 1 || counts["seen"] != 1 {
		t.Errorf("%v are counted, want only this node's own", counts)
	}
}

// TestWaitingForAnEvent has two wait: one sees it, one gives up.
func TestWaitingForAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChronicle(prometheus.NewRegistry())
		c.record(Event{Kind: "first"}, 1)
		impatient, giveUp := context.WithCancel(t.Context())
		type answer struct {
			events []Event
			next   int64
		}
		seen, gaveUp := make(chan answer, 1), make(chan answer, 1)
		go func() { events, next := c.await(t.Context(), 1); seen <- answer{events, next} }()
		go func() { events, next := c.await(impatient, 1); gaveUp <- answer{events, next} }()
		synctest.Wait()
		giveUp()
		if a := <-gaveUp; len(a.events) != 0 || a.next != 1 {
			t.Errorf("who gave up got %+v", a)
		}
		c.record(Event{Kind: "second"}, 1)
		if a := <-seen; len(a.events) != 1 || a.events[0].Kind != "second" || a.next != 2 {
			t.Errorf("who waited got %+v", a)
		}
	})
}

// TestWhatWasToldLongAgoIsNotToldAgain has a node hear of a decision that it has kept
// until newer events took its place, as it does when it meets the one that decided.
func TestWhatWasToldLongAgoIsNotToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decider, c := newChronicle(prometheus.NewRegistry()), newChronicle(prometheus.NewRegistry())
		decider.identify(1, 1)
		c.identify(2, 1)
		e := decider.record(Event{Kind: "decision", decision: true}, 1)
		c.receive(e)
		for range maxEvents {
			time.Sleep(time.Second)
			c.record(Event{Kind: "seen"}, 1)
		}
		c.receive(e)
		late := decider.record(Event{Kind: "decision", decision: true}, 1)
		c.receive(late)
		events, _, _ := c.since(0)
		if last := events[len(events)-1]; last.ID != late.ID || events[len(events)-2].Kind != "seen" {
			t.Errorf("the last are %+v", events[len(events)-2:])
		}
	})
}
