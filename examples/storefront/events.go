package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The topics, each named after what its events say has happened.
const (
	topicOrders    = "orders"    // by card
	topicPayments  = "payments"  // by card
	topicShipments = "shipments" // by product
	topicAlerts    = "alerts"    // by card
	topicDead      = "orders.dead"
	topicCards     = "cards.state" // what the fraud actors know
)

// Order is the event that an order was placed. All others carry it on.
type Order struct {
	ID      string    `json:"id"`
	Card    string    `json:"card"`
	Product string    `json:"product"`
	Cents   int64     `json:"cents"`
	Placed  time.Time `json:"placed"`
}

// Payment is the event that an order was paid, or was not.
type Payment struct {
	Order
	Paid   bool   `json:"paid"`
	Reason string `json:"reason,omitempty"` // why not
}

// Shipment is the event that an order has left, or cannot.
type Shipment struct {
	Order
	Sent bool  `json:"sent"`
	Left int64 `json:"left"` // of the product
}

// Alert is the event that a card is used in a way that fraud looks like.
type Alert struct {
	Order
	Reason string `json:"reason"`
}

// products are what can be ordered, with the price in cents. One of them is poison:
// whoever is to charge for it fails.
var products = map[string]int64{
	"apples": 350, "bread": 420, "cheese": 1190, "coffee": 899, "honey": 640, "olives": 575, "wine": 1450, poison: 100,
}

const poison = "poison"

// maxCents bounds an order; it is more than any card is good for.
const maxCents = 1_000_000

// check says what is wrong with an order that somebody wants to place.
func (o Order) check() error {
	_, known := products[o.Product]
	switch {
	case !known:
		return fmt.Errorf("product %q: there is no such thing", o.Product)
	case o.Cents < 1 || o.Cents > maxCents:
		return fmt.Errorf("cents %d: must be between 1 and %d", o.Cents, maxCents)
	case len(o.Card) < 1 || len(o.Card) > 40:
		return errors.New("card: must have 1 to 40 characters")
	}
	return nil
}

// event makes a record of an event.
func event(topic, key string, e any) *kgo.Record {
	value, err := json.Marshal(e)
	if err != nil {
		panic(err) // none of ours has anything in it that cannot be
	}
	return &kgo.Record{Topic: topic, Key: []byte(key), Value: value}
}

// read reads an event.
func read[E any](r *kgo.Record) (e E, err error) {
	if err := json.Unmarshal(r.Value, &e); err != nil {
		return e, fmt.Errorf("%s-%d at offset %d is no event: %w", r.Topic, r.Partition, r.Offset, err)
	}
	return e, nil
}
