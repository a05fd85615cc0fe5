package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

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

// said is a log, line by line.
type said chan string

func (s said) Write(line []byte) (int, error) {
	select {
	case s <- string(line):
	default: // nobody waits for so many
	}
	return len(line), nil
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
	failed := make(said, 1000)
	o.Log = zerolog.New(failed)
	o.Actor = actor.PropsFromFunc(func(ctx actor.Context) {
		if d, ok := ctx.Message().(*client.Delivery); ok {
			d.Reject(errors.New("as planned"))
		}
	})
	s := b.subscribe(o)
	until(t, failed, "an attempt to fail", func(line string) bool { return strings.Contains(line, "a dead letter cannot be written") })
	b.stop(s)
	if at := b.committed(); at > 0 {
		t.Errorf("committed %d", at)
	}
}
