package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
	"understudy/client/state"
)

// The services. Each is a consumer group of its own name.
const (
	payment      = "payment"
	stock        = "stock"
	notification = "notification"
	fraud        = "fraud"
)

// creditCents is what a card is good for in one order.
const creditCents = 50_000

// charge is the payment service: orders become payments. What is poison makes it
// panic, again and again, until the order is among the dead letters.
func charge(producer *client.Producer, board *board) *actor.Props {
	return client.Transform(producer, func(_ actor.Context, r *kgo.Record) ([]*kgo.Record, error) {
		o, err := read[Order](r)
		if err != nil {
			return nil, err
		}
		if o.Product == poison {
			panic(errors.New("poison cannot be charged for"))
		}
		p := Payment{Order: o, Paid: o.Cents <= creditCents}
		if !p.Paid {
			p.Reason = "the card is not good for it"
		}
		board.flow(topicOrders, payment, o, "")
		return []*kgo.Record{event(topicPayments, o.Card, p)}, nil
	})
}

// shelf is what there is of each product. It is counted by all workers together.
type shelf struct {
	mu   sync.Mutex
	left map[string]int64
}

// delivered is how much comes when the shelf is empty.
const delivered = 500

func (s *shelf) take(product string) (left int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left[product] == 0 {
		s.left[product] = delivered
	}
	s.left[product]--
	return s.left[product]
}

// send is the stock service: payments become shipments.
func send(producer *client.Producer, shelf *shelf, board *board) *actor.Props {
	return client.Transform(producer, func(_ actor.Context, r *kgo.Record) ([]*kgo.Record, error) {
		p, err := read[Payment](r)
		if err != nil || !p.Paid {
			return nil, err
		}
		board.flow(topicPayments, stock, p.Order, "")
		return []*kgo.Record{event(topicShipments, p.Product, Shipment{Order: p.Order, Sent: true, Left: shelf.take(p.Product)})}, nil
	})
}

// announce is the notification service: customers hear of everything.
func announce(board *board) *actor.Props {
	return client.Handler(func(_ actor.Context, r *kgo.Record) error {
		switch r.Topic {
		case topicPayments:
			p, err := read[Payment](r)
			if err != nil {
				return err
			}
			if !p.Paid {
				board.flow(topicPayments, notification, p.Order, "declined: "+p.Reason)
			}
		case topicShipments:
			s, err := read[Shipment](r)
			if err != nil {
				return err
			}
			board.flow(topicShipments, notification, s.Order, "on its way")
			board.arrived(time.Since(s.Placed))
		case topicAlerts:
			a, err := read[Alert](r)
			if err != nil {
				return err
			}
			board.flow(topicAlerts, notification, a.Order, "fraud? "+a.Reason)
		}
		return nil
	})
}

// The fraud actors' idea of what is suspicious.
const (
	window    = 10 * time.Second
	tooMany   = 12 // orders within the window
	tooDear   = 4  // times the card's average
	knowsCard = 5  // orders before an average means anything
)

// Card is what the actor of a card knows of it.
type Card struct {
	Orders int64       `json:"orders"`
	Cents  int64       `json:"cents"`
	Recent []time.Time `json:"recent"` // when it was used within the window
}

// inspect is the fraud service: one actor for each card, with a memory that
// outlives it. It emits alerts.
func inspect(store *state.Store, board *board) *actor.Props {
	return state.Handler(store, func(t *state.Turn, card *Card, r *kgo.Record) error {
		o, err := read[Order](r)
		if err != nil {
			return err
		}
		reason := card.use(o)
		if reason != "" {
			t.Emit(event(topicAlerts, o.Card, Alert{Order: o, Reason: reason}))
		}
		board.flow(topicOrders, fraud, o, "")
		return nil
	})
}

// use takes note of an order, and says what is suspicious about it; "": nothing.
func (c *Card) use(o Order) (reason string) {
	since := o.Placed.Add(-window)
	for len(c.Recent) > 0 && c.Recent[0].Before(since) {
		c.Recent = c.Recent[1:]
	}
	c.Recent = append(c.Recent, o.Placed)
	average := c.Cents / max(c.Orders, 1)
	switch {
	case len(c.Recent) > tooMany:
		reason = fmt.Sprintf("%d orders in %v", len(c.Recent), window)
		c.Recent = nil
	case c.Orders >= knowsCard && o.Cents > tooDear*average:
		reason = fmt.Sprintf("%d times what it is used to", o.Cents/max(average, 1))
	}
	c.Orders++
	c.Cents += o.Cents
	return reason
}
