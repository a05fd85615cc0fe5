package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client/clienttest"
)

// sight looks at the cluster as any Kafka tool does.
type sight struct {
	cl      *kgo.Client
	admin   *kadm.Client
	cluster *clienttest.Cluster // nil: somebody else's
	shop    *shop
	leaders map[string]int32 // of partitions, as they were last
	ends    map[string]int64
	orders  int64
}

// lookEvery is how often it looks.
const lookEvery = 400 * time.Millisecond

// What the page shows.
type (
	stateView struct {
		Brokers   []brokerView `json:"brokers"`
		Topics    []topicView  `json:"topics"`
		Groups    []groupView  `json:"groups"`
		Orders    int64        `json:"orders"`    // placed
		PerSecond float64      `json:"perSecond"` // of them
		Rate      int64        `json:"rate"`      // that the generator is set to
		MedianMs  float64      `json:"medianMs"`  // from the shop to the customer
		Trouble   string       `json:"trouble,omitempty"`
	}
	brokerView struct {
		ID       int32  `json:"id"`
		Address  string `json:"address"`
		Up       bool   `json:"up"`
		Leads    int    `json:"leads"`
		Killable bool   `json:"killable"`
	}
	topicView struct {
		Name       string          `json:"name"`
		Partitions []partitionView `json:"partitions"`
		Records    int64           `json:"records"`
	}
	partitionView struct {
		Leader   int32   `json:"leader"` // -1: none
		Replicas []int32 `json:"replicas"`
		ISR      []int32 `json:"isr"`
		End      int64   `json:"end"`
	}
	groupView struct {
		Name    string `json:"name"`
		State   string `json:"state"`
		Members int    `json:"members"`
		Workers int    `json:"workers"` // those of them that are here
		Lag     int64  `json:"lag"`
	}
)

func newSight(brokers []string, cluster *clienttest.Cluster, shop *shop) (*sight, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(100*time.Millisecond), kgo.RetryTimeout(2*time.Second))
	if err != nil {
		return nil, err
	}
	return &sight{cl: cl, admin: kadm.NewClient(cl), cluster: cluster, shop: shop, leaders: map[string]int32{}, ends: map[string]int64{}}, nil
}

func (s *sight) close() { s.cl.Close() }

// watch looks until ctx ends, and tells the board what it sees.
func (s *sight) watch(ctx context.Context, board *board) {
	last := time.Now()
	for ctx.Err() == nil {
		v := s.look(ctx, board)
		now, orders := time.Now(), s.shop.orders.Load()
		v.Orders, v.PerSecond = orders, float64(orders-s.orders)/now.Sub(last).Seconds()
		v.Rate, v.MedianMs = s.shop.rate.Load(), float64(board.median().Microseconds())/1000
		last, s.orders = now, orders
		board.show(v)
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
		}
	}
}

// look asks for everything. What cannot be had is shown as it was last.
func (s *sight) look(ctx context.Context, board *board) (v stateView) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	topics := []string{topicOrders, topicPayments, topicShipments, topicAlerts, topicDead, topicCards}
	metadata, err := s.admin.Metadata(ctx, topics...)
	if err != nil {
		v.Trouble = err.Error()
		metadata = kadm.Metadata{}
	}
	ends, err := s.admin.ListEndOffsets(ctx, topics...)
	if err == nil || len(ends) > 0 {
		ends.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				s.ends[partitionName(o.Topic, o.Partition)] = o.Offset
			}
		})
	}
	var moved []string
	for _, name := range topics {
		t, news := s.topic(name, metadata.Topics[name])
		v.Topics = append(v.Topics, t)
		moved = append(moved, news...)
	}
	if len(moved) > 0 {
		board.say("leader", "other leaders: "+strings.Join(moved, ", "))
	}
	v.Brokers = s.brokers(metadata, v.Topics)
	v.Groups = s.groups(ctx)
	return v
}

func partitionName(topic string, n int32) string { return fmt.Sprintf("%s-%d", topic, n) }

// topic shows a topic, and which leaders have changed.
func (s *sight) topic(name string, details kadm.TopicDetail) (t topicView, moved []string) {
	t = topicView{Name: name, Partitions: []partitionView{}}
	for _, p := range details.Partitions.Sorted() {
		id := partitionName(name, p.Partition)
		if before, known := s.leaders[id]; known && before != p.Leader && p.Leader >= 0 {
			moved = append(moved, fmt.Sprintf("%s by %d", id, p.Leader))
		}
		if p.Leader >= 0 {
			s.leaders[id] = p.Leader
		}
		t.Partitions = append(t.Partitions, partitionView{p.Leader, p.Replicas, p.ISR, s.ends[id]})
		t.Records += s.ends[id]
	}
	return t, moved
}

// brokers shows the brokers: those of this process, or those that the cluster names.
func (s *sight) brokers(metadata kadm.Metadata, topics []topicView) (list []brokerView) {
	leads := map[int32]int{}
	for _, t := range topics {
		for _, p := range t.Partitions {
			leads[p.Leader]++
		}
	}
	if s.cluster != nil {
		for i, address := range s.cluster.Addrs() {
			id := int32(i + 1)
			list = append(list, brokerView{id, address, s.cluster.Up(i), leads[id], true})
		}
		return list
	}
	for _, b := range metadata.Brokers {
		list = append(list, brokerView{b.NodeID, fmt.Sprintf("%s:%d", b.Host, b.Port), true, leads[b.NodeID], false})
	}
	slices.SortFunc(list, func(a, b brokerView) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// groups shows the services.
func (s *sight) groups(ctx context.Context) (list []groupView) {
	var names []string
	for _, service := range s.shop.services {
		names = append(names, service.name)
	}
	lags, _ := s.admin.Lag(ctx, names...) // what is missing is shown as not known
	for _, service := range s.shop.services {
		g := groupView{Name: service.name, State: "?", Lag: -1, Workers: service.count()}
		if l, ok := lags[service.name]; ok && l.Error() == nil {
			g.State, g.Members, g.Lag = l.State, len(l.Members), l.Lag.Total()
		}
		list = append(list, g)
	}
	return list
}

// morePartitions adds a partition to each of the topics of events.
func (s *sight) morePartitions(ctx context.Context) (string, error) {
	created, err := s.admin.CreatePartitions(ctx, 1, topicOrders, topicPayments, topicShipments, topicAlerts)
	if err != nil {
		return "", err
	}
	for _, t := range created {
		if t.Err != nil {
			return "", fmt.Errorf("%s: %w", t.Topic, t.Err)
		}
	}
	return "one more partition for each of " + strings.Join(slices.Sorted(maps.Keys(created)), ", "), nil
}
