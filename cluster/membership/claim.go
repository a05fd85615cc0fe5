package membership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/consul"
	"understudy/messages"
)

// Below these a cluster's prefix has who has which id, and who is registered
// with the controller.
const (
	nodeIDs    = "ids/nodes/"
	brokerKeys = "brokers/"
)

// Reasons why an id is refused.
var (
	// ErrHeld: a live node with another data directory has the id.
	ErrHeld = errors.New("a live node has this id")
	// ErrClaimed: another data directory had the id first.
	ErrClaimed = errors.New("another data directory has this id")
)

// Claim is one node's claim to an id, as it is in Consul.
type Claim struct {
	Directory string `json:"directory"` // id of the data directory
	Host      string `json:"host"`      // where it was when it claimed
	Port      int32  `json:"port"`
}

// ClaimOptions say who wants an id.
type ClaimOptions struct {
	Client  *consul.Client
	Cluster string
	Claim   Claim

	// Node is the id that is wanted, or messages.NoBroker for any that is free.
	Node messages.BrokerID
	// TTL is that of the nodes' checks: how long one that has just died may still
	// look alive. 0 is DefaultTTL.
	TTL time.Duration
	// Before is called before the claim is written: the directory must have its id on
	// disk by then, or a start that is cut short would lose the node's. May be nil.
	Before func() error
	// Events is told of Consul's troubles. May be nil.
	Events func(Event)
}

// ClaimID claims an id for a data directory, for good: the same directory gets
// the same id again. A wanted id that another directory has is given over if
// its node is gone, so that a node can be replaced; if it lives the error is
// ErrHeld. It goes on trying while Consul is away, until ctx ends.
func ClaimID(ctx context.Context, o ClaimOptions) (messages.BrokerID, error) {
	prefix, err := consul.Prefix(o.Cluster)
	if err != nil {
		return messages.NoBroker, err
	}
	if o.Claim.Directory == "" {
		return messages.NoBroker, messages.E("claim node id", messages.InvalidRequest, o.Cluster, errors.New("the data directory has no id"))
	}
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	tell := func(e consul.Event) {
		if o.Events != nil {
			o.Events(Agent{e})
		}
	}
	c := claimer{o: o, prefix: prefix, contact: consul.NewContact(o.Client, tell)}
	for {
		id, err := c.attempt(ctx)
		if !errors.Is(err, ErrClaimed) || o.Node != messages.NoBroker {
			return id, err
		}
		// Somebody was quicker: look for another free one.
	}
}

type claimer struct {
	o       ClaimOptions
	prefix  string
	contact *consul.Contact
}

// attempt looks at all claims and makes one.
func (c *claimer) attempt(ctx context.Context) (messages.BrokerID, error) {
	claims, taken, err := c.claims(ctx)
	if err != nil {
		return messages.NoBroker, err
	}
	id := c.o.Node
	if id == messages.NoBroker {
		id = c.choose(claims, taken)
	}
	held := claims[id]
	if held.index == 0 || held.claim.Directory == c.o.Claim.Directory {
		if held.index == 0 {
			return id, c.write(ctx, id, 0)
		}
		return id, c.alone(ctx, id)
	}
	if err := c.dead(ctx, id, held.claim); err != nil {
		return messages.NoBroker, err
	}
	return id, c.write(ctx, id, held.index)
}

// held is a claim with Consul's index of it.
type held struct {
	claim Claim
	index uint64
}

// claims reads all claims, and the ids that the controller knows brokers by.
func (c *claimer) claims(ctx context.Context) (claims map[messages.BrokerID]held, taken []messages.BrokerID, err error) {
	var pairs api.KVPairs
	var brokers []string
	err = c.contact.Retry(ctx, "claim node id", c.prefix, func(ctx context.Context) (err error) {
		o, cancel := c.o.Client.Read(ctx)
		defer cancel()
		if pairs, _, err = c.o.Client.API().KV().List(c.prefix+nodeIDs, o); err == nil {
			brokers, _, err = c.o.Client.API().KV().Keys(c.prefix+brokerKeys, "", o)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	claims = map[messages.BrokerID]held{}
	for _, p := range pairs {
		if id, ok := idOf(p.Key, c.prefix+nodeIDs); ok {
			h := held{index: p.ModifyIndex}
			if err := json.Unmarshal(p.Value, &h.claim); err != nil {
				return nil, nil, messages.E("claim node id", messages.CorruptMessage, p.Key, err)
			}
			claims[id] = h
		}
	}
	for _, key := range brokers {
		if id, ok := idOf(key, c.prefix+brokerKeys); ok {
			taken = append(taken, id)
		}
	}
	return claims, taken, nil
}

func idOf(key, prefix string) (messages.BrokerID, bool) {
	n, err := strconv.ParseInt(strings.TrimPrefix(key, prefix), 10, 32)
	return messages.BrokerID(n), err == nil && n >= 0
}

// choose gives the id that this directory has, or the lowest that nobody has.
func (c *claimer) choose(claims map[messages.BrokerID]held, taken []messages.BrokerID) messages.BrokerID {
	for id, h := range claims {
		if h.claim.Directory == c.o.Claim.Directory {
			return id
		}
	}
	for id := messages.BrokerID(1); ; id++ {
		if _, ok := claims[id]; !ok && !slices.Contains(taken, id) {
			return id
		}
	}
}

// write enters the claim, unless somebody else has meanwhile.
func (c *claimer) write(ctx context.Context, id messages.BrokerID, index uint64) error {
	if c.o.Before != nil {
		if err := c.o.Before(); err != nil {
			return err
		}
	}
	value, err := json.Marshal(c.o.Claim)
	if err != nil {
		return messages.E("claim node id", messages.Unknown, itoa(id), err)
	}
	key := c.prefix + nodeIDs + itoa(id)
	var ours bool
	err = c.contact.Retry(ctx, "claim node id", key, func(ctx context.Context) error {
		o, cancel := c.o.Client.Write(ctx)
		defer cancel()
		ok, _, err := c.o.Client.API().KV().CAS(&api.KVPair{Key: key, Value: value, ModifyIndex: index}, o)
		if err != nil || ok {
			ours = ok
			return err
		}
		// Ours may be there from an attempt that had no answer.
		q, cancelRead := c.o.Client.Read(ctx)
		defer cancelRead()
		pair, _, err := c.o.Client.API().KV().Get(key, q)
		ours = err == nil && pair != nil && string(pair.Value) == string(value)
		return err
	})
	if err == nil && !ours {
		err = messages.E("claim node id", messages.InvalidConfig, itoa(id), ErrClaimed)
	}
	return err
}

// dead waits until the node that has the id is known to be gone. One that has
// just died looks alive for a moment.
func (c *claimer) dead(ctx context.Context, id messages.BrokerID, claim Claim) error {
	return c.unless(ctx, id, func(e Entry) bool { return true }, fmt.Sprintf("data directory %s at %s:%d", claim.Directory, claim.Host, claim.Port))
}

// alone makes sure that no other process runs with a copy of this directory. At
// this node's own address there can be none: only our earlier life.
func (c *claimer) alone(ctx context.Context, id messages.BrokerID) error {
	elsewhere := func(e Entry) bool { return e.Host != c.o.Claim.Host || e.Port != c.o.Claim.Port }
	return c.unless(ctx, id, elsewhere, "with a copy of this data directory")
}

// lookAliveFor is how many TTLs a node may look alive after its end: one until
// its check fails, and some for the news to travel.
const lookAliveFor = 2

// unless gives ErrHeld if a node with the id goes on passing its check.
func (c *claimer) unless(ctx context.Context, id messages.BrokerID, counts func(Entry) bool, who string) error {
	deadline := time.Now().Add(lookAliveFor * c.o.TTL)
	b := consul.Backoff{First: c.o.TTL / 10, Most: c.o.TTL / 4}
	for {
		list, err := List(ctx, c.o.Client, c.o.Cluster)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(e Entry) bool { return e.ID == id && e.Passing && counts(e) })
		if i < 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return messages.E("claim node id", messages.InvalidConfig, itoa(id), fmt.Errorf("%w: %s:%d, %s", ErrHeld, list[i].Host, list[i].Port, who))
		}
		if err := b.Pause(ctx); err != nil {
			return err
		}
	}
}

// ReleaseID frees the id of a node that has been removed for good.
func ReleaseID(ctx context.Context, client *consul.Client, cluster string, id messages.BrokerID) error {
	prefix, err := consul.Prefix(cluster)
	if err != nil {
		return err
	}
	key := prefix + nodeIDs + itoa(id)
	return consul.NewContact(client, nil).Retry(ctx, "release node id", key, func(ctx context.Context) error {
		o, cancel := client.Write(ctx)
		defer cancel()
		_, err := client.API().KV().Delete(key, o)
		return err
	})
}
