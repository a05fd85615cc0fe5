package consul

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"

	"understudy/cluster/consul/fake"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// kept is a copy that a broker has of the metadata, from before the loss.
func kept(t *testing.T) (state metadata.State, im *metadata.Image) {
	w := newWorld(t)
	n := w.controller(1)
	n.save(before)
	n.save(func(e *metadata.Edit) {
		e.SetNextProducerID(4000)
		e.SetClusterConfig(map[string]string{"a": "1"})
		e.SetBrokerConfig(2, map[string]string{"b": "2"})
	})
	im = n.image()
	state, err := StateOf(im)
	must(t, err)
	must(t, n.Close())
	return state, im
}

func TestStateOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state, im := kept(t)
		again, err := metadata.Build(state)
		must(t, err)
		if d := metadata.Diff(im, again); len(d.Topics) > 0 || d.Brokers || d.Configs || again.NextProducerID != 4000 || again.ClusterID != "C" {
			t.Errorf("differs: %+v", d)
		}
	})
}

func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state, im := kept(t)
		w := newWorld(t)
		candidate := w.controller(2) // one has taken the lock of the empty Consul
		n := w.node(1)
		calls, last := 0, 0
		must(t, n.Restore(ctx, state, RestoreOptions{Progress: func(done, total int) {
			if calls++; done < last || total != len(state.Entries)-1 || done > total {
				t.Errorf("%d of %d after %d", done, total, last)
			}
			last = done
		}}))
		if calls == 0 || last != len(state.Entries)-1 {
			t.Errorf("%d calls, %d done", calls, last)
		}
		now := candidate.image()
		if d := metadata.Diff(im, now); len(d.Topics) > 0 || d.Brokers || d.Configs {
			t.Errorf("differs: %+v", d)
		}
		if now.Revision != im.Revision+restoreGap || now.Controller != 2 {
			t.Errorf("revision %d, controller %d", now.Revision, now.Controller)
		}
		candidate.save(change)
		want(t, n.Restore(ctx, state, RestoreOptions{}), ErrNotEmpty)
		must(t, n.Restore(ctx, state, RestoreOptions{Replace: true}))
		now = w.node(3).image()
		if d := metadata.Diff(im, now); len(d.Topics) > 0 || now.Leftovers() > 0 {
			t.Errorf("differs: %+v", d)
		}
		// The candidate has seen a greater revision than the restored one.
		if _, err := candidate.Load(ctx); err != nil {
			must(t, err)
		}
		if err := n.Restore(ctx, metadata.State{}, RestoreOptions{}); messages.KindOf(err) != messages.InvalidRequest {
			t.Errorf("without a cluster id: %v", err)
		}
	})
}

// TestRestoreStopsAnywhere ends a restore at every transaction, before or after it
// is carried out; nobody takes its beginnings for metadata, and another, with
// another copy, begins anew.
func TestRestoreStopsAnywhere(t *testing.T) {
	small := func(o *Options) { o.MaxOps = 8 }
	for _, f := range []fake.Fault{fake.Hang, fake.HangAnswer} {
		for stop := 1; ; stop++ {
			finished := false
			synctest.Test(t, func(t *testing.T) {
				state, im := kept(t)
				other := metadata.State{Revision: state.Revision - 1, Entries: maps.Clone(state.Entries)}
				other.Entries["configs/topics/extra"] = metadata.Entry{Value: []byte(`{"x":"y"}`), Revision: 2}

				w := newWorld(t)
				n := w.node(1, small)
				w.server.SetFault(failing("txn", f, stop, 1))
				dying, die := context.WithCancel(ctx)
				ended := make(chan error, 1)
				go func() { ended <- n.Restore(dying, other, RestoreOptions{}) }()
				synctest.Wait()
				die()
				err := <-ended
				w.server.SetFault(nil)
				if finished = err == nil; finished {
					return
				}
				knows := func(o *Options) { o.ClusterID = "C"; o.MaxOps = 8 }
				_, err = w.node(3, knows).Load(ctx)
				restored := err == nil
				if !restored {
					want(t, err, ErrDataLost)
				}
				must(t, w.node(2, small).Restore(ctx, state, RestoreOptions{Replace: restored}))
				now := w.node(3, knows).image()
				if d := metadata.Diff(im, now); len(d.Topics) > 0 || d.Brokers || d.Configs || now.Leftovers() > 0 {
					t.Errorf("stop at %d: differs: %+v", stop, d)
				}
			})
			if finished {
				if stop < 5 {
					t.Errorf("only %d transactions", stop)
				}
				break
			}
		}
	}
}

// TestRestoreTwiceAtOnce: of two restores one goes through, and nothing of the
// other is left.
func TestRestoreTwiceAtOnce(t *testing.T) {
	for stop := 1; stop < 8; stop++ {
		t.Run(fmt.Sprint(stop), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				state, im := kept(t)
				other := metadata.State{Revision: state.Revision, Entries: maps.Clone(state.Entries)}
				other.Entries["configs/topics/extra"] = metadata.Entry{Value: []byte(`{"x":"y"}`), Revision: 2}
				w := newWorld(t)
				w.server.SetFault(failing("txn", fake.NoLeader, stop, forever))
				ended := make(chan error, 1)
				go func() { ended <- w.node(1, func(o *Options) { o.MaxOps = 8 }).Restore(ctx, other, RestoreOptions{}) }()
				synctest.Wait()
				w.server.SetFault(nil)
				must(t, w.node(2).Restore(ctx, state, RestoreOptions{}))
				if err := <-ended; err == nil {
					t.Error("both went through")
				}
				now := w.node(3).image()
				if d := metadata.Diff(im, now); len(d.Topics) > 0 || now.Leftovers() > 0 {
					t.Errorf("differs: %+v", d)
				}
			})
		})
	}
}

// TestRestoreAnswersLost: every fault that passes leads to the same end.
func TestRestoreAnswersLost(t *testing.T) {
	for _, f := range []fake.Fault{fake.Drop, fake.DropAnswer, fake.HangAnswer, fake.NoLeader} {
		for first := 1; first < 12; first++ {
			synctest.Test(t, func(t *testing.T) {
				state, im := kept(t)
				w := newWorld(t)
				w.server.SetFault(failing("txn", f, first, 1))
				must(t, w.node(1, func(o *Options) { o.MaxOps = 8 }).Restore(ctx, state, RestoreOptions{}))
				if d := metadata.Diff(im, w.node(3).image()); len(d.Topics) > 0 {
					t.Errorf("fault %d at %d: differs: %+v", f, first, d)
				}
			})
		}
	}
}

// found makes a cluster of nothing.
func found(e *metadata.Edit) {
	e.SetClusterID("C")
	e.SetController(1)
}

// TestLossIsNoticedByWhoHasNotRead: a node that is told of every change never reads
// the metadata itself.
func TestLossIsNoticedByWhoHasNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1)
		watcher, told, other := w.node(2), w.node(3), w.node(4)
		n.save(found)
		revision, err := watcher.Watch(ctx, 0)
		must(t, err)
		told.Know("C", revision)
		w.server.LoseData()
		for _, reader := range []*node{watcher, told} {
			_, err = reader.Watch(ctx, revision)
			want(t, err, ErrDataLost)
			want(t, reader.Lost(), ErrDataLost)
		}
		if err := other.Lost(); err != nil {
			t.Errorf("who knew nothing has lost something: %v", err)
		}
	})
}

func TestAnotherClusterIsNoticedByWhoHasNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.controller(1).save(found)
		told := w.node(2)
		told.Know("another", 0)
		_, err := told.Load(ctx)
		want(t, err, ErrOtherCluster)
	})
}
