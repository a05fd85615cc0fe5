package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/client"
)

// TestACauseThatIsVeryLongIsCut rejects a record for a reason that is as long as a
// message may be: it goes to the dead letters all the same.
func TestACauseThatIsVeryLongIsCut(t *testing.T) {
	b := newBench(t, 1)
	b.write(1, 1)
	o := b.options()
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		if d, ok := ctx.Message().(*client.Delivery); ok {
			d.Reject(errors.New(strings.Repeat("ä", 1<<20)))
		}
	})
	s := b.subscribe(o)
	letter := b.read(b.topic+".dead", 1)[0]
	if cause := header(letter, client.HeaderCause); len(cause) > 5000 || !strings.HasPrefix(cause, "ää") || strings.ContainsRune(cause, '\uFFFD') {
		t.Errorf("the cause has %d bytes", len(cause))
	}
	b.stop(s)
	if at := b.committed(); at != 1 {
		t.Errorf("committed %d", at)
	}
}

// TestStopDoesNotWaitForDeadLettersThatCannotBeWritten stops while it is waited for the
// next attempt at one.
func TestStopDoesNotWaitForDeadLettersThatCannotBeWritten(t *testing.T) {
	b := newBench(t, 1)
	b.write(1, 1)
	o := b.options()
	o.DeadLetters = "no topic can have this name"
	o.Retry.Max = time.Hour
	o.DrainWithin = time.Hour
	rejected := make(chan int, 1)
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		if d, ok := ctx.Message().(*client.Delivery); ok {
			d.Reject(errors.New("as planned"))
			rejected <- 1
		}
	})
	s := b.subscribe(o)
	<-rejected
	time.Sleep(500 * time.Millisecond) // so that the first attempt has failed
	b.stop(s)
	if at := b.committed(); at > 0 {
		t.Errorf("committed %d", at)
	}
}
