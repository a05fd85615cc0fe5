package understudy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"understudy/cluster/consul"
	"understudy/cluster/consul/fake"
	"understudy/cluster/local"
	"understudy/cluster/membership"
	"understudy/cluster/metadata"
	"understudy/config"
	"understudy/messages"
	"understudy/persistence/vfs"
)

// address is a listener that only has an address.
type address struct{ net.Listener }

func (address) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092} }

// newcomer is a broker that is about to find out whose its data directory is.
func newcomer(t *testing.T, files vfs.FS, server *fake.Server) *consulSeat {
	t.Helper()
	cfg := config.Default()
	cfg.Cluster = "test"
	b := &Broker{cfg: cfg, files: files, listener: address{}, log: zerolog.Nop(), adopts: true}
	client, err := consul.Dial(consul.Config{Address: "fake", HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return &consulSeat{b: b, client: client, seen: map[messages.BrokerID]membership.Entry{}}
}

// runAlone is what a run alone does to the metadata: a new broker epoch, and
// another topic.
func runAlone(t *testing.T, files vfs.FS, topic string) {
	t.Helper()
	store, err := local.Open(files, metadataDir, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	state, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	im, err := metadata.Build(state)
	if err != nil {
		t.Fatal(err)
	}
	e := metadata.NewEdit(im)
	if im.ClusterID == "" {
		e.SetClusterID("C")
		e.SetController(1)
		e.SetNextProducerID(3000)
	}
	e.SetBroker(metadata.Broker{ID: 1, Epoch: im.NextEpoch(1), Host: "h", Port: 9092})
	one := metadata.Partition{Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}, Leader: 1, LeaderEpoch: 7}
	e.CreateTopic(&metadata.Topic{
		Name: topic, ID: messages.TopicID{byte(im.TopicCount() + 1)}, Config: map[string]string{"retention.ms": "1"},
		Partitions: slices.Repeat([]metadata.Partition{one}, 100),
	})
	if _, err := store.Commit(t.Context(), e.Txn()); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// inConsul is what Consul has of the cluster.
func inConsul(t *testing.T, server *fake.Server) *metadata.Image {
	t.Helper()
	client, err := consul.Dial(consul.Config{Address: "fake", HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	store, err := consul.Open(consul.Options{Client: client, Cluster: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	state, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	im, err := metadata.Build(state)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// joined checks that a directory is node 1's of a cluster that has these topics.
func joined(t *testing.T, files vfs.FS, server *fake.Server, epoch messages.BrokerEpoch, topics ...string) {
	t.Helper()
	id, err := readIdentity(files, "test", messages.NoBroker)
	if err != nil || id.Node != 1 || id.ClusterID != "C" {
		t.Fatalf("the directory is of %+v (%v)", id, err)
	}
	im := inConsul(t, server)
	if im.ClusterID != "C" || im.NextProducerID != 3000 || im.TopicCount() != len(topics) || im.Broker(1) == nil || im.Broker(1).Epoch != epoch {
		t.Fatalf("consul has cluster %q, %d topics, broker %+v", im.ClusterID, im.TopicCount(), im.Broker(1))
	}
	for _, name := range topics {
		topic := im.Topic(name)
		if topic == nil || len(topic.Partitions) != 100 || topic.Partitions[99].LeaderEpoch != 7 || topic.Config["retention.ms"] != "1" {
			t.Fatalf("consul has of %s: %+v", name, topic)
		}
	}
}

// TestAdoptionIsCutShort cuts the power at each step of an adoption, or the way to
// Consul. What is left either runs alone as before or is a node, and the next
// adoption completes it, also if the broker has run alone in between.
func TestAdoptionIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := vfs.NewMem(vfs.MemOptions{PowerCuts: true})
		runAlone(t, base, "first")
		whole := base.Cut(vfs.LoseNone, nil)
		calls := 0
		server := fake.New()
		server.SetFault(func(*http.Request) fake.Fault { calls++; return fake.None })
		if err := newcomer(t, whole, server).settle(t.Context(), messages.NoBroker); err != nil {
			t.Fatal(err)
		}
		joined(t, whole, server, 1, "first")
		steps := int(whole.Ops()) + 2*calls
		if steps < 15 {
			t.Fatalf("%d steps: that is not all", steps)
		}
		for step := range steps {
			for loss := vfs.LoseAll; loss <= vfs.LoseMixed; loss++ {
				for _, again := range []bool{false, true} {
					cutShort(t, base, step, int(whole.Ops()), loss, again)
				}
			}
		}
	})
}

// cutShort cuts an adoption short at one step: the operations of the disk first,
// then the calls to Consul, each before and after it is carried out.
func cutShort(t *testing.T, base *vfs.Mem, step, ops int, loss vfs.Loss, again bool) {
	t.Helper()
	disk, server := base.Cut(vfs.LoseNone, nil), fake.New()
	what := fmt.Sprintf("step %d, loss %d, run alone again %v", step, loss, again)
	if step < ops {
		disk.StopAt(int64(step + 1))
	} else {
		last, count, fault := (step-ops)/2, 0, []fake.Fault{fake.Drop, fake.DropAnswer}[(step-ops)%2]
		server.SetFault(func(*http.Request) fake.Fault {
			if count++; count <= last {
				return fake.None
			} else if count > last+1 {
				return fake.Drop
			}
			return fault
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	err := newcomer(t, disk, server).settle(ctx, messages.NoBroker)
	cancel()
	server.SetFault(nil)
	disk.Stop()
	disk = disk.Cut(loss, rand.New(rand.NewPCG(uint64(step), 1)))
	alone, problem := ranAlone(disk)
	if problem != nil {
		t.Fatal(problem)
	}
	switch {
	case alone && again:
		runAlone(t, disk, "second")
	case alone:
		own, problem := readBelongings(t.Context(), disk)
		if problem != nil || own.image.Topic("first") == nil {
			t.Fatalf("%s: it cannot run alone: %v (the adoption: %v)", what, problem, err)
		}
	default:
		joined(t, disk, server, 1, "first")
	}
	if err := newcomer(t, disk, server).settle(t.Context(), messages.NoBroker); err != nil {
		t.Fatalf("%s: the next adoption: %v", what, err)
	}
	if alone && again {
		joined(t, disk, server, 2, "first", "second")
	} else {
		joined(t, disk, server, 1, "first")
	}
	if left, err := has(disk, metadataDir); err != nil || left {
		t.Errorf("%s: the metadata was not set aside (%v)", what, err)
	}
	if kept, err := has(disk, asideDir); err != nil || !kept {
		t.Errorf("%s: the metadata was not kept (%v)", what, err)
	}
}

// TestAdoptionIsRefused where the cluster is not a new one, or the broker cannot be
// its first node.
func TestAdoptionIsRefused(t *testing.T) {
	commit := func(change func(*metadata.Edit)) func(*testing.T, *fake.Server, *vfs.Mem) {
		return func(t *testing.T, server *fake.Server, _ *vfs.Mem) {
			client, err := consul.Dial(consul.Config{Address: "fake", HTTP: server.Client()})
			if err != nil {
				t.Fatal(err)
			}
			store, err := consul.Open(consul.Options{Client: client, Cluster: "test"})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			e := metadata.NewEdit(metadata.Empty())
			change(e)
			state := metadata.State{Revision: 1, Entries: map[string]metadata.Entry{}}
			for _, p := range e.Txn().Puts {
				state.Entries[p.Key] = metadata.Entry{Value: p.Value, Revision: 1}
			}
			if err := store.Restore(t.Context(), state, consul.RestoreOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		what    string
		prepare func(*testing.T, *fake.Server, *vfs.Mem)
		wanted  messages.BrokerID
		says    string
	}{
		{"another cluster", commit(func(e *metadata.Edit) {
			e.SetClusterID("D")
			e.SetBroker(metadata.Broker{ID: 2, Epoch: 1})
		}), messages.NoBroker, "there is a cluster test already, with 1 brokers and 0 topics"},
		{"other nodes since", commit(func(e *metadata.Edit) {
			e.SetClusterID("C")
			e.SetBroker(metadata.Broker{ID: 1, Epoch: 9})
			e.SetBroker(metadata.Broker{ID: 2, Epoch: 1})
		}), messages.NoBroker, "has run alone since, and other nodes have joined meanwhile"},
		{"another node id", func(*testing.T, *fake.Server, *vfs.Mem) {}, 3, "it cannot be node 3"},
		{"replicas elsewhere", func(t *testing.T, _ *fake.Server, disk *vfs.Mem) {
			store, err := local.Open(disk, metadataDir, local.Options{})
			if err != nil {
				t.Fatal(err)
			}
			value := []byte(`{"replicas":[1,2],"isr":[1],"leader":1,"leaderEpoch":7}`)
			if _, err := store.Commit(t.Context(), metadata.Txn{Puts: []metadata.Put{{Key: "partitions/first/5", Value: value}}}); err != nil {
				t.Fatal(err)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
		}, messages.NoBroker, "first-5 has replicas on [1 2]"},
		{"has never served", func(t *testing.T, _ *fake.Server, disk *vfs.Mem) {
			if err := disk.RemoveAll(metadataDir); err != nil {
				t.Fatal(err)
			}
			store, err := local.Open(disk, metadataDir, local.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
		}, messages.NoBroker, "has never served anybody"},
	} {
		disk, server := vfs.NewMem(vfs.MemOptions{}), fake.New()
		runAlone(t, disk, "first")
		c.prepare(t, server, disk)
		err := newcomer(t, disk, server).settle(t.Context(), c.wanted)
		if messages.KindOf(err) != messages.InvalidConfig || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
		if alone, err := ranAlone(disk); !alone || err != nil {
			t.Errorf("%s: it cannot run alone any more (%v)", c.what, err)
		}
		seat := newcomer(t, disk, server)
		seat.b.adopts = false
		if err := seat.settle(t.Context(), messages.NoBroker); messages.KindOf(err) != messages.InvalidConfig || !strings.Contains(err.Error(), "--adopt") {
			t.Errorf("without being told to: %v", err)
		}
	}
}
