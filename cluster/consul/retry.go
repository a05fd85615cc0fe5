package consul

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Backoff is the pause between attempts: it doubles from First to Most, and a
// random half of it is left out so that brokers that lost Consul together do not
// come back together.
type Backoff struct {
	First, Most time.Duration
	next        time.Duration
}

// NewBackoff is what calls to Consul use: from 25 ms to 1 s.
func NewBackoff() Backoff { return Backoff{First: 25 * time.Millisecond, Most: time.Second} }

// Next is the pause to make now.
func (b *Backoff) Next() time.Duration {
	b.next = min(max(2*b.next, b.First), b.Most)
	return b.next/2 + rand.N(b.next/2+1)
}

// Reset begins anew, after a success.
func (b *Backoff) Reset() { b.next = 0 }

// Pause waits for the next pause to pass; the error is the context's.
func (b *Backoff) Pause(ctx context.Context) error {
	t := time.NewTimer(b.Next())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reminder is how often a fault that lasts is told again.
const reminder = 30 * time.Second

// Contact keeps account of whether calls to Consul succeed, and tells when that
// changes: once when it begins to fail, now and then while it lasts, and once
// when it is over, however many calls are made meanwhile.
type Contact struct {
	client *Client
	tell   func(Event)

	mu    sync.Mutex
	fault Fault
	since time.Time
	told  time.Time
}

// NewContact makes an account of calls that go through a client. tell must not
// block; it may be nil.
func NewContact(client *Client, tell func(Event)) *Contact {
	if tell == nil {
		tell = func(Event) {}
	}
	return &Contact{client: client, tell: tell}
}

// Note enters how a call ended, and gives its error, which may say more than
// before. A call that was given up by its caller says nothing.
func (c *Contact) Note(ctx context.Context, op string, err error) error {
	if err != nil && ctx.Err() != nil {
		return err
	}
	err = c.client.explain(ctx, err)
	c.enter(op, err)
	return err
}

func (c *Contact) enter(op string, err error) {
	fault := FaultOf(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if fault == NoFault || fault == Rejected || fault == TooLarge {
		if c.fault != NoFault {
			c.tell(Reached{Fault: c.fault, After: now.Sub(c.since)})
			c.fault = NoFault
		}
		return
	}
	if c.fault == NoFault {
		c.since = now
	}
	if c.fault == NoFault || c.fault.Passes() != fault.Passes() || now.Sub(c.told) >= reminder {
		c.told = now
		c.tell(Trouble{Op: op, Fault: fault, Cause: err, For: now.Sub(c.since)})
	}
	c.fault = fault
}

// Retry makes attempts until one succeeds, one fails for good, or ctx ends, and
// keeps account of them. op is what is being done, subject what to.
func (c *Contact) Retry(ctx context.Context, op, subject string, attempt func(context.Context) error) error {
	b := NewBackoff()
	var last error
	for {
		err := c.Note(ctx, op, attempt(ctx))
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // an attempt that ctx has ended says less than the one before
		}
		if ctx.Err() != nil || !FaultOf(err).Passes() || b.Pause(ctx) != nil {
			return failure(op, subject, last)
		}
	}
}
