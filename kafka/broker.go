package kafka

import (
	"context"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/kafka/server"
	"understudy/kafka/wire"
	"understudy/messages"
)

// Broker gives Kafka requests their meaning. It is a server.Handler.
type Broker struct {
	deps      Deps
	table     [maxKey]*api
	settings  settingsCache
	producers producerIDs
	sessions  *sessions
	refusals  zerolog.Logger  // says why a connection was closed: once in a while, whoever does that in a loop
	decoding  *wire.Budget    // what decoded requests may take beside their bytes
	unpacking *wire.Budget    // what batches that must be unpacked may take
	ctx       context.Context // ends with the broker
	stop      context.CancelFunc
}

const maxKey = 128

// refusalPause is how long nothing is logged after a request that ended its connection.
const refusalPause = 10 * time.Second

// New makes a broker. Close ends what it waits for.
func New(d Deps) *Broker {
	b := &Broker{deps: d, producers: newProducerIDs(), sessions: newSessions(d.Limits.Sessions, d.Limits.SessionPartitions)}
	b.refusals = d.Log.Sample(&zerolog.BurstSampler{Burst: 1, Period: refusalPause})
	b.unpacking = wire.NewBudget(max(d.Pool.Budget().Limit()/4, 2*MaxUnpacked))
	b.decoding = wire.NewBudget(max(d.Pool.Budget().Limit()/8, int64(decodeCost*d.Limits.RequestBytes)))
	if d.Elections == nil {
		b.deps.Elections = settled{d.Image}
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	for _, a := range apis() {
		if a.shape != "" {
			a.parsed = wire.MustShape(a.flexible, a.shape)
		}
		b.table[a.key] = &a
	}
	return b
}

// Close makes requests that wait for changes give up.
func (b *Broker) Close() { b.stop() }

func (b *Broker) api(key int16) *api {
	if key < 0 || key >= maxKey {
		return nil
	}
	return b.table[key]
}

// Limit implements server.Handler.
func (b *Broker) Limit(key int16) int {
	if key == int16(kmsg.Produce) {
		return b.deps.Limits.ProduceBytes
	}
	return b.deps.Limits.RequestBytes
}

// Handle implements server.Handler: it finds the request's API and passes it on.
// What cannot be answered in a way that the client would understand ends the
// connection.
func (b *Broker) Handle(r *server.Request) {
	a := b.api(r.Key)
	if a == nil {
		b.refuse(r, "a request that is not served")
		return
	}
	if r.Version < min(a.min, a.accepts) || r.Version > a.max {
		if a.key == int16(kmsg.ApiVersions) {
			b.refuseApiVersions(r)
			return
		}
		b.refuse(r, "a version of a request that is not served")
		return
	}
	c := call{r: r, api: a, version: r.Version, flexible: a.flexible >= 0 && r.Version >= a.flexible}
	if !c.readHeader() {
		b.refuse(r, "malformed header")
		return
	}
	if a.direct != nil {
		a.direct(b, c)
		return
	}
	if a.patient {
		b.answerBeside(c)
		return
	}
	b.answer(c)
}

// answerBeside is a function of its own so that only what waits allocates for it.
func (b *Broker) answerBeside(c call) { c.r.Beside(func() { b.answer(c) }) }

// refuse ends a connection because of one of its requests. Its client has no other way
// to know, and asks for what Kafka may have and this broker has not: SASL, say.
func (b *Broker) refuse(r *server.Request, why string) {
	b.refusals.Warn().Stringer("from", r.Conn().RemoteAddr()).Str("api", kmsg.NameForKey(r.Key)).Int16("key", r.Key).Int16("version", r.Version).
		Msg("connection closed: " + why)
	r.Abort()
}

// readHeader reads what is left of the request's header: the client's id and,
// in flexible versions, tagged fields.
//
//	| key 2 | version 2 | correlation id 4 | client id 2 + n | tags |
func (c *call) readHeader() bool {
	h := wire.NewReader(c.r.Body, false) // the client id's length is never compact
	c.clientID, _ = h.NullableString()
	rest := h.Take(h.Len())
	tags := wire.NewReader(rest, c.flexible)
	tags.Tags(nil)
	c.body = tags.Take(tags.Len())
	return h.Err() == nil && tags.Err() == nil
}

// decodeCost is how many bytes of memory kmsg may need to decode one byte of a
// request whose shape has been checked. The dearest are the topics of Metadata 0,
// of which one takes at least 2 bytes and becomes 48.
const decodeCost = 24

// smallRequest is up to which size the cost of decoding is not worth counting.
const smallRequest = 16 << 10

// answer decodes a request with kmsg, has it answered, and replies.
func (b *Broker) answer(c call) {
	body, err := c.api.scan(c.version, c.body)
	if err != nil {
		b.refuse(c.r, "malformed "+c.api.name)
		return
	}
	c.body = body
	c.r.MayBlock()
	cost := b.holdDecoding(len(c.body))
	defer func() { b.decoding.Release(cost) }()
	req := kmsg.RequestForKey(c.api.key)
	req.SetVersion(c.version)
	if err := req.ReadFrom(c.body); err != nil {
		b.refuse(c.r, "malformed "+c.api.name)
		return
	}
	ctx := b.ctx
	if c.api.patient {
		b.decoding.Release(cost)
		cost = 0
		var done context.CancelFunc
		ctx, done = context.WithCancel(ctx)
		defer done()
		c.r.Wait(hangUp(done))
	}
	resp := c.api.answer(ctx, b, &c, req)
	if resp == nil {
		c.r.Abort()
		return
	}
	resp.SetVersion(c.version)
	reply := encode(b.deps.Pool, resp)
	c.r.Charge(len(reply.body))
	c.r.Reply(reply, c.flexible && c.api.key != int16(kmsg.ApiVersions))
}

// hangUp ends what a request waits for when its client has gone. When the server ends,
// whoever is waited for answers.
type hangUp context.CancelFunc

// Abandon implements server.Abandoner.
func (h hangUp) Abandon(gone bool) {
	if gone {
		h()
	}
}

// holdDecoding takes what a request of that size may need when it is decoded,
// waiting for it if need be, and returns how much that is.
func (b *Broker) holdDecoding(size int) (cost int64) {
	if size <= smallRequest {
		return 0
	}
	cost = int64(size * decodeCost)
	if b.decoding.Acquire(new(wire.Holder), cost) != nil {
		return 0
	}
	return cost
}

// maxText is how much of an error is told. What is wrong with a request may repeat
// names of any length from it, and old versions have 15 bits for the length of a text.
const maxText = 1 << 10

// errText is an error's text for an answer's error message, nil for no error.
func errText(err error) *string {
	if err == nil {
		return nil
	}
	s := err.Error()
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return &s
}

// errorOf is an error's code and text.
func errorOf(err error) (int16, *string) { return messages.Code(err), errText(err) }
