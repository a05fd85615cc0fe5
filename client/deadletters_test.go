package client_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"

	"understudy/client"
)

// small makes the topic of the bench's dead letters, for letters of so many bytes.
func (b *bench) small(bytes int) {
	b.Helper()
	limit := fmt.Sprint(bytes)
	if _, err := b.admin.CreateTopic(b.Context(), 1, 1, map[string]*string{"max.message.bytes": &limit}, b.topic+".dead"); err != nil {
		b.Fatal(err)
	}
}

// noise is a value that nothing makes smaller.
func noise(bytes int) []byte {
	value := make([]byte, bytes)
	for i, coins := 0, rand.New(rand.NewPCG(1, 2)); i < bytes; i++ {
		value[i] = byte(coins.Uint32())
	}
	return value
}

// rejecting gives options with actors that reject all records but those without headers
// and with a value of less than ten bytes.
func (b *bench) rejecting(done *book) client.SubscriptionOptions {
	o := b.options()
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		d, ok := ctx.Message().(*client.Delivery)
		switch {
		case !ok:
		case len(d.Record.Value) < 10 && len(d.Record.Headers) == 0:
			done.enter(d.Record)
			d.Ack()
		default:
			d.Reject(errors.New("as planned"))
		}
	})
	return o
}

// TestALetterThatIsTooLargeIsCut rejects records that the topic of dead letters does not
// take, for their values or for their headers: what it takes of them is there, what comes
// behind them is processed, and a replay does not take them for the records.
func TestALetterThatIsTooLargeIsCut(t *testing.T) {
	b, done := newBench(t, 1), newBook()
	b.small(20_000)
	large, mine := noise(50_000), []kgo.RecordHeader{{Key: "mine", Value: []byte("yes")}}
	if err := b.cl.ProduceSync(t.Context(),
		&kgo.Record{Topic: b.topic, Key: []byte("key-0"), Value: []byte("small"), Headers: mine},
		&kgo.Record{Topic: b.topic, Key: []byte("key-0"), Value: large, Headers: mine},
		&kgo.Record{Topic: b.topic, Key: []byte("key-0"), Headers: []kgo.RecordHeader{{Key: "large", Value: large}}},
		&kgo.Record{Topic: b.topic, Key: []byte("key-0"), Value: []byte("0")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	events, end := events[client.DeadLettered](b, 3)
	defer end()
	s := b.subscribe(b.rejecting(done))
	done.await(t, 1)
	letters := b.read(b.topic+".dead", 3)
	for i, want := range []struct{ key, value, mine, cut string }{
		{"key-0", "small", "yes", ""},
		{"key-0", "", "yes", "value"},
		{"", "", "", "value, headers and key"},
	} {
		l := letters[i]
		if string(l.Key) != want.key || string(l.Value) != want.value || l.Value == nil || header(l, "mine") != want.mine || header(l, client.HeaderCut) != want.cut {
			t.Errorf("letter %d: key %q, %d bytes, mine %q, without %q", i, l.Key, len(l.Value), header(l, "mine"), header(l, client.HeaderCut))
		}
		if header(l, client.HeaderOffset) != fmt.Sprint(i) || header(l, client.HeaderTopic) != b.topic {
			t.Errorf("letter %d is of %s, offset %s", i, header(l, client.HeaderTopic), header(l, client.HeaderOffset))
		}
		if e := <-events; e.Cut != want.cut {
			t.Errorf("event %d: without %q", i, e.Cut)
		}
	}
	b.stop(s)
	if at := b.committed(); at != 4 {
		t.Errorf("committed %d", at)
	}
	for _, want := range []error{client.ErrCut, nil} {
		sent, err := client.Replay(t.Context(), client.ReplayOptions{Brokers: b.brokers, Topic: b.topic + ".dead"})
		if most := map[bool]int{true: 1}[want != nil]; sent != most || !errors.Is(err, want) {
			t.Errorf("%d sent back, %v", sent, err)
		}
	}
}

// TestLettersAreCutOnlyForTheirOwnSize rejects many records at once, of which no two have
// room in one batch of the topic of dead letters: they are whole.
func TestLettersAreCutOnlyForTheirOwnSize(t *testing.T) {
	b := newBench(t, 1)
	b.small(20_000)
	const n = 20
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: b.topic, Key: fmt.Append(nil, i), Value: noise(15_000)})
	}
	if err := b.cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	o := b.rejecting(newBook())
	o.Client = append(o.Client, kgo.ProducerLinger(20*time.Millisecond)) // so that they share a batch
	b.subscribe(o)
	for _, letter := range b.read(b.topic+".dead", n) {
		if cut := header(letter, client.HeaderCut); cut != "" || len(letter.Value) != 15_000 {
			t.Errorf("%s: %d bytes, without %q", letter.Key, len(letter.Value), cut)
		}
	}
}
