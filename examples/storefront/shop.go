package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/eventstream"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/client/state"
)

// shop is the services, and who places orders.
type shop struct {
	brokers  []string
	board    *board
	system   *actor.ActorSystem
	producer *client.Producer
	store    *state.Store
	heard    *eventstream.Subscription
	services []*service
	rate     atomic.Int64 // orders a second
	orders   atomic.Int64 // placed so far
	start    int64        // tells this run's orders from another's
}

// service is a consumer group, and its members here.
type service struct {
	name   string
	topics []string
	actor  *actor.Props

	mu      sync.Mutex
	workers []*client.Subscription
}

// maxWorkers bounds the members of a group.
const maxWorkers = 8

func openShop(ctx context.Context, s settings, board *board) (sh *shop, err error) {
	sh = &shop{brokers: s.brokers, board: board, start: time.Now().Unix()}
	sh.rate.Store(int64(s.rate))
	sh.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	defer func() {
		if err != nil {
			err = errors.Join(err, sh.close(context.WithoutCancel(ctx)))
		}
	}()
	replicas, err := createTopics(ctx, s)
	if err != nil {
		return sh, err
	}
	if sh.producer, err = client.SpawnProducer(sh.system, client.ProducerOptions{Brokers: s.brokers}); err != nil {
		return sh, err
	}
	if sh.store, err = state.Open(ctx, state.Options{Brokers: s.brokers, Topic: topicCards, Partitions: s.partitions, Replicas: replicas}); err != nil {
		return sh, err
	}
	sh.heard = sh.system.EventStream.Subscribe(board.decided)
	shelf := &shelf{left: map[string]int64{}}
	sh.services = []*service{
		{name: payment, topics: []string{topicOrders}, actor: charge(sh.producer, board)},
		{name: stock, topics: []string{topicPayments}, actor: send(sh.producer, shelf, board)},
		{name: notification, topics: []string{topicPayments, topicShipments, topicAlerts}, actor: announce(board)},
		{name: fraud, topics: []string{topicOrders}, actor: inspect(sh.store, board)},
	}
	for _, service := range sh.services {
		if err := sh.hire(service.name); err != nil {
			return sh, err
		}
	}
	return sh, nil
}

// createTopics creates the topics of events, with so many replicas of each partition
// that a broker may fall, if there are as many.
func createTopics(ctx context.Context, s settings) (replicas int16, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	topics := []string{topicOrders, topicPayments, topicShipments, topicAlerts, topicDead}
	admin := kadm.NewClient(cl)
	brokers, err := admin.ListBrokers(ctx)
	if err != nil {
		return 0, err
	}
	replicas = int16(min(len(brokers), 3))
	created, err := admin.CreateTopics(ctx, s.partitions, replicas, nil, topics...)
	if err != nil {
		return 0, err
	}
	for _, t := range created {
		if t.Err != nil && !errors.Is(t.Err, kerr.TopicAlreadyExists) {
			return 0, fmt.Errorf("create %s: %w", t.Topic, t.Err)
		}
	}
	return replicas, nil
}

// close ends the services in order, and then what they write with.
func (sh *shop) close(ctx context.Context) error {
	sh.rate.Store(0)
	var ending sync.WaitGroup
	for _, service := range sh.services {
		service.mu.Lock()
		workers := service.workers
		service.workers = nil
		service.mu.Unlock()
		for _, worker := range workers {
			ending.Go(func() { _ = worker.Stop(ctx) }) // what was not committed is done again next time
		}
	}
	ending.Wait()
	if sh.store != nil {
		sh.store.Close()
	}
	var err error
	if sh.producer != nil {
		err = sh.producer.Stop(ctx)
	}
	if sh.heard != nil {
		sh.system.EventStream.Unsubscribe(sh.heard)
	}
	return err
}

var errNoService = errors.New("there is no such service")

func (sh *shop) service(name string) (*service, error) {
	at := slices.IndexFunc(sh.services, func(s *service) bool { return s.name == name })
	if at < 0 {
		return nil, errNoService
	}
	return sh.services[at], nil
}

// hire adds a worker to a service: one more member of its group.
func (sh *shop) hire(name string) error {
	s, err := sh.service(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.workers) >= maxWorkers {
		return fmt.Errorf("%s has %d workers, which is as many as there may be", name, maxWorkers)
	}
	worker, err := client.Subscribe(sh.system, client.SubscriptionOptions{
		Brokers: sh.brokers, Topics: s.topics, Group: s.name, By: client.ByKey, Actor: s.actor,
		CommitEvery: 250 * time.Millisecond,
		IdleAfter:   time.Minute,
		Retry:       client.Retry{Attempts: 3, Initial: 250 * time.Millisecond},
		DrainWithin: 3 * time.Second,
		Client:      []kgo.Opt{kgo.MetadataMaxAge(10 * time.Second)}, // to hear of new partitions
	})
	if err == nil {
		s.workers = append(s.workers, worker)
	}
	return err
}

// dismiss ends a service's last worker in order.
func (sh *shop) dismiss(ctx context.Context, name string) error {
	s, err := sh.service(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if len(s.workers) == 0 {
		s.mu.Unlock()
		return fmt.Errorf("%s has no worker", name)
	}
	last := s.workers[len(s.workers)-1]
	s.workers = s.workers[:len(s.workers)-1]
	s.mu.Unlock()
	return last.Stop(ctx)
}

func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.workers)
}

// place sends an order to its topic. It is given an id and a time.
func (sh *shop) place(o Order) (Order, error) {
	if o.Cents == 0 {
		o.Cents = products[o.Product]
	}
	if err := o.check(); err != nil {
		return o, err
	}
	n := sh.orders.Add(1)
	o.ID = strconv.FormatInt(sh.start%100_000, 36) + "-" + strconv.FormatInt(n, 10)
	o.Placed = time.Now()
	sh.system.Root.Send(sh.producer.PID(), event(topicOrders, o.Card, o))
	sh.board.flow("", topicOrders, o, "")
	return o, nil
}

// maxRate is how many orders a second are generated at most.
const maxRate = 500

// generate places orders at the rate that is set.
func (sh *shop) generate(ctx context.Context) {
	const turn = 20 * time.Millisecond
	clock := time.NewTicker(turn)
	defer clock.Stop()
	wares := slices.DeleteFunc(sortedKeys(products), func(p string) bool { return p == poison })
	due := 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		}
		for due += float64(sh.rate.Load()) * turn.Seconds(); due >= 1; due-- {
			product := wares[rand.IntN(len(wares))]
			o := Order{Card: fmt.Sprintf("card-%03d", rand.IntN(400)), Product: product, Cents: products[product] * int64(1+rand.IntN(3))}
			if rand.IntN(60) == 0 {
				o.Cents *= int64(10 + rand.IntN(60)) // somebody's feast, or a thief
			}
			if _, err := sh.place(o); err != nil {
				sh.board.say("error", err.Error())
			}
		}
	}
}
