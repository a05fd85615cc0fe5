package state_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/persistence"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"understudy/client/state"
)

// The messages of an event-sourced actor: an event is a string, a snapshot bytes.
func event(s string) proto.Message    { return wrapperspb.String(s) }
func snapshot(s string) proto.Message { return wrapperspb.Bytes([]byte(s)) }

// sourced remembers what it was told last. It is written for any provider.
type sourced struct {
	persistence.Mixin
	state string
}

func (a *sourced) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *persistence.RequestSnapshot:
		a.PersistSnapshot(snapshot(a.state))
	case *wrapperspb.BytesValue:
		a.state = string(m.GetValue())
	case *wrapperspb.StringValue:
		if !a.Recovering() {
			a.PersistReceive(m)
		}
		a.state = m.GetValue()
	case string: // a question
		ctx.Respond(a.state)
	}
}

// TestRecovery has actors on each provider be told something, and start again.
func TestRecovery(t *testing.T) {
	t.Parallel()
	c := start(t)
	for i, test := range []struct {
		interval, snapshot int // the snapshot is what has been before the event of that number; -1: none
		before, more       []string
		want               string
	}{
		{5, -1, nil, nil, ""},
		{5, -1, nil, []string{"a"}, "a"},
		{8, 2, []string{"a", "b", "c"}, nil, "c"},
		{8, 3, []string{"a", "b", "c"}, nil, "c"},
		{8, 1, []string{"a", "b", "c"}, []string{"d"}, "d"},
		{4, 1, []string{"a", "b", "c"}, []string{"d"}, "d"},
		{4, 1, []string{"a", "b", "c"}, []string{"d", "e"}, "e"},
		{1, -1, nil, []string{"a", "b", "c", "d", "e"}, "e"},
	} {
		for kind, provider := range map[string]persistence.ProviderState{
			"in memory": persistence.NewInMemoryProvider(test.interval), "on a topic": state.NewProvider(open(t, c), test.interval),
		} {
			t.Run(fmt.Sprint(i, " ", kind), func(t *testing.T) {
				name := fmt.Sprint("actor-", i)
				for n, s := range test.before {
					provider.PersistEvent(name, n, event(s))
				}
				if test.snapshot >= 0 {
					provider.PersistSnapshot(name, test.snapshot, snapshot(test.before[test.snapshot-1]))
				}
				system := actor.NewActorSystem()
				props := actor.PropsFromProducer(func() actor.Actor { return &sourced{} }, actor.WithReceiverMiddleware(persistence.Using(given{provider})))
				for life := range 3 {
					pid, err := system.Root.SpawnNamed(props, name)
					if err != nil {
						t.Fatal(err)
					}
					for _, s := range test.more {
						if life == 0 {
							system.Root.Send(pid, event(s))
						}
					}
					if have, err := system.Root.RequestFuture(pid, "?", patience).Result(); err != nil || have != test.want {
						t.Errorf("life %d: %q instead of %q, %v", life, have, test.want, err)
					}
					for err = actor.ErrTimeout; errors.Is(err, actor.ErrTimeout); { // which comes after ten seconds
						err = system.Root.PoisonFuture(pid).Wait()
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

type given struct{ state persistence.ProviderState }

func (g given) GetState() persistence.ProviderState { return g.state }

// TestProvidersAgree asks a provider on a topic what one in memory is asked, from
// another process's point of view.
func TestProvidersAgree(t *testing.T) {
	t.Parallel()
	c := start(t)
	memory := persistence.NewInMemoryProvider(3)
	writer, reader := state.NewProvider(open(t, c), 3), state.NewProvider(open(t, c), 3)
	if n := reader.GetSnapshotInterval(); n != 3 {
		t.Errorf("interval %d", n)
	}
	if _, _, ok := reader.GetSnapshot("a"); ok {
		t.Error("a snapshot from nowhere")
	}
	events := func(p persistence.ProviderState, from, to int) (list []string) {
		p.GetEvents("a", from, to, func(e any) { list = append(list, e.(*wrapperspb.StringValue).GetValue()) })
		return list
	}
	for i := range 12 { // the eleventh has two digits
		for _, p := range []persistence.ProviderState{memory, writer} {
			p.PersistEvent("a", i, event(fmt.Sprint("e", i)))
			if i%5 == 3 {
				p.PersistSnapshot("a", i, snapshot(fmt.Sprint("s", i)))
			}
		}
	}
	for _, span := range [][2]int{{0, 0}, {0, 12}, {3, 7}, {11, 0}, {12, 0}, {5, 5}} {
		if have, want := events(reader, span[0], span[1]), events(memory, span[0], span[1]); !slices.Equal(have, want) {
			t.Errorf("%v: %v instead of %v", span, have, want)
		}
	}
	have, index, ok := reader.GetSnapshot("a")
	want, wantIndex, _ := memory.GetSnapshot("a")
	if !ok || index != wantIndex || !proto.Equal(have.(proto.Message), want.(proto.Message)) {
		t.Errorf("%v at %d", have, index)
	}
	writer.DeleteSnapshots("a", 7)
	if _, _, ok := reader.GetSnapshot("a"); !ok {
		t.Error("a later snapshot is deleted")
	}
	writer.DeleteSnapshots("a", 8)
	if _, _, ok := reader.GetSnapshot("a"); ok {
		t.Error("a deleted snapshot is there")
	}
	writer.DeleteEvents("a", 9)
	if have := events(reader, 0, 0); !slices.Equal(have, []string{"e10", "e11"}) {
		t.Errorf("left are %v", have)
	}
}
