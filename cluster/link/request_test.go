package link

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
)

// The kinds of request that the tests' handler knows.
const (
	kindEcho byte = iota
	kindFail
	kindPanic
	kindWait
	kindHuge
)

func handler(ctx context.Context, _ replica.Member, kind byte, body []byte) ([]byte, error) {
	switch kind {
	case kindEcho:
		return body, nil
	case kindFail:
		return nil, messages.E("elect", messages.NotController, "orders-3", errors.New("it is node 3"))
	case kindPanic:
		panic("a bug")
	case kindWait:
		<-ctx.Done()
		return nil, ctx.Err()
	case kindHuge:
		return make([]byte, MaxBody+1), nil
	}
	return nil, ErrUnsupported
}

func serving(o *Options) { o.OnRequest = handler }

// unhurried is a context with more time than requests have that say nothing of it: the
// time of the machine's clock passes also while the machine stands still.
func unhurried(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestRequestsAreAnswered(t *testing.T) {
	a, b := newNode(t, 1, 1, serving), newNode(t, 2, 1, serving)
	meet(a, b)
	ctx := unhurried(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, i*1000)
			reply, err := a.Request(ctx, 2, kindEcho, body)
			if err != nil || !bytes.Equal(reply, body) {
				t.Errorf("%d: %d bytes, %v", i, len(reply), err)
			}
		})
	}
	wg.Wait()
	if reply, err := b.Request(ctx, 1, kindEcho, make([]byte, MaxBody)); err != nil || len(reply) != MaxBody {
		t.Errorf("%d bytes, %v", len(reply), err)
	}
}

// TestPing asks a node that is there, one whose process has ended, and one that
// nobody knows.
func TestPing(t *testing.T) {
	a, b := newNode(t, 1, 1, nil), newNode(t, 2, 1, nil)
	meet(a, b)
	ctx := unhurried(t)
	if !a.Ping(ctx, 2) || !b.Ping(ctx, 1) {
		t.Error("a node that is there does not answer")
	}
	if state, _ := a.State(2); state != Connected {
		t.Errorf("it is %v", state)
	}
	b.Close()
	if a.Ping(ctx, 2) {
		t.Error("a node that has ended answers")
	}
	if state, _ := a.State(2); state == Connected {
		t.Errorf("after a ping without an answer it is %v", state)
	}
	a.until(Gone)
	if state, since := a.State(2); state != ProcessGone || since < 0 {
		t.Errorf("once its process is gone it is %v", state)
	}
	if state, _ := a.State(7); a.Ping(ctx, 7) || state != Connected {
		t.Errorf("a node that is no peer: %v", state)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	a, b := newNode(t, 1, 1, nil), newNode(t, 2, 1, serving)
	meet(a, b)
	ctx := unhurried(t)
	for _, c := range []struct {
		kind  byte
		body  []byte
		want  messages.Kind
		words string
	}{
		{kindFail, nil, messages.NotController, "orders-3: it is node 3"},
		{kindPanic, nil, messages.Unknown, "panicked: a bug"},
		{99, nil, messages.UnsupportedVersion, "unknown kind"},
		{kindHuge, nil, messages.MessageTooLarge, "larger"},
		{kindEcho, make([]byte, MaxBody+1), messages.MessageTooLarge, "larger"},
	} {
		_, err := a.Request(ctx, 2, c.kind, c.body)
		wantCause(t, err, c.words)
		if kind := messages.KindOf(err); kind != c.want {
			t.Errorf("%v has kind %v, want %v", err, kind, c.want)
		}
	}
	_, err := b.Request(ctx, 1, kindEcho, nil) // nobody handles requests there
	if messages.KindOf(err) != messages.UnsupportedVersion {
		t.Error(err)
	}
	if a.Peers()[0].State != Connected || b.Peers()[0].State != Connected {
		t.Error("the connection did not survive")
	}
}

func TestRequestsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b := network.node(t, 1, 1, nil), network.node(t, 2, 1, serving)
		if _, err := a.Request(t.Context(), 2, kindEcho, nil); messages.KindOf(err) != messages.BrokerNotAvailable {
			t.Errorf("without a connection: %v", err)
		}
		meet(a, b)
		start := time.Now()
		if _, err := a.Request(t.Context(), 2, kindWait, nil); messages.KindOf(err) != messages.RequestTimedOut || time.Since(start) != 5*time.Second {
			t.Errorf("without a deadline: %v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start = time.Now()
		if _, err := a.Request(ctx, 2, kindWait, nil); messages.KindOf(err) != messages.RequestTimedOut && time.Since(start) != 300*time.Millisecond {
			t.Errorf("with a deadline: %v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Second, network.cut)
		start = time.Now()
		if _, err := a.Request(t.Context(), 2, kindWait, nil); messages.KindOf(err) != messages.BrokerNotAvailable || time.Since(start) != time.Second {
			t.Errorf("with a lost connection: %v after %v", err, time.Since(start))
		}
	})
}

// TestTooManyRequestsAreRefused keeps every handler busy.
func TestTooManyRequestsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		var most, now atomic.Int64
		a := network.node(t, 1, 1, nil)
		b := network.node(t, 2, 1, func(o *Options) {
			o.OnRequest = func(ctx context.Context, from replica.Member, kind byte, body []byte) ([]byte, error) {
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				return handler(ctx, from, kind, body)
			}
		})
		meet(a, b)
		var busy, timedOut atomic.Int64
		for range 300 {
			go func() {
				switch _, err := a.Request(t.Context(), 2, kindWait, nil); messages.KindOf(err) {
				case messages.BrokerNotAvailable:
					busy.Add(1)
				case messages.RequestTimedOut:
					timedOut.Add(1)
				default:
					t.Errorf("%v", err)
				}
			}()
		}
		synctest.Wait()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if most.Load() != maxHandled || busy.Load() != 300-maxHandled || timedOut.Load() != maxHandled {
			t.Errorf("%d at a time, %d refused, %d timed out", most.Load(), busy.Load(), timedOut.Load())
		}
		if _, err := a.Request(t.Context(), 2, kindEcho, nil); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestRequestsPassMessages sends a request behind a queue that cannot move.
func TestRequestsPassMessages(t *testing.T) {
	a := newNode(t, 1, 1, nil)
	b := newNode(t, 2, 1, func(o *Options) { serving(o); o.OnMessage = func(*Incoming) {}; o.Window = 1 << 20 })
	meet(a, b)
	for i := range 20 {
		if err := a.Send(2, topic, int32(i), appendOf(0, records(300<<10, 0)), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Request(unhurried(t), 2, kindEcho, []byte("x")); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsHandlers(t *testing.T) {
	started := make(chan struct{})
	a := newNode(t, 1, 1, nil)
	b := newNode(t, 2, 1, func(o *Options) {
		o.OnRequest = func(ctx context.Context, _ replica.Member, _ byte, _ []byte) ([]byte, error) {
			close(started)
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	meet(a, b)
	failed := make(chan error)
	go func() {
		_, err := a.Request(unhurried(t), 2, kindWait, nil)
		failed <- err
	}()
	<-started
	b.Close()
	if err := <-failed; messages.KindOf(err) != messages.BrokerNotAvailable {
		t.Error(err)
	}
}
