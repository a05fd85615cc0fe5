package understudy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// TestAStartThatWasOvertakenEnds has brokers be removed from the cluster while one starts:
// its broker epoch is not newer than theirs any more, and no controller registers it. It
// must not ask for ever, nor hold the controller's lock meanwhile.
func TestAStartThatWasOvertakenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := metadata.NewEdit(metadata.Empty())
		e.SetController(2)
		e.SetBroker(metadata.Broker{ID: 2, Epoch: 1, Host: "a"})
		e.SetRetiredEpoch(5)
		im, _, err := e.Seal(1)
		if err != nil {
			t.Fatal(err)
		}
		n := pair(t, im, func(byte, []byte) (any, error) {
			return nil, messages.E("register broker", messages.InvalidRequest, "1", errors.New("not newer"))
		})
		n.eye = newEye()
		n.self.Epoch = 6
		if err := n.overtaken(); err != nil {
			t.Errorf("what is newer is overtaken: %v", err)
		}
		n.self.Epoch = 5
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := n.register(ctx); messages.KindOf(err) != messages.InvalidConfig {
			t.Errorf("registering ends with %v", err)
		}
		e = metadata.NewEdit(im)
		e.SetBroker(metadata.Broker{ID: 1, Epoch: 5, Host: "b"})
		if im, _, err = e.Seal(2); err != nil {
			t.Fatal(err)
		}
		n.b.cell.Publish(metadata.Change{New: im})
		if err := n.overtaken(); err != nil {
			t.Errorf("who is registered is overtaken: %v", err)
		}
	})
}
