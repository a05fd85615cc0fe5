package understudy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"understudy/cluster/consul"
	"understudy/cluster/local"
	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/persistence/vfs"
)

// A broker that has run alone can become the first node of a cluster, with all
// that it has: its node id, the cluster's id, topics, offsets, producer ids,
// settings and leader epochs are the same afterwards. What its own store of
// metadata holds is written to Consul, as after a loss; the store is kept aside.
//
//	alone ──▶ the id is claimed ──▶ the metadata is in Consul ──▶ cluster.json is written ──▶ metadata → metadata.alone ──▶ joined
//	  ◀──────────── a start without --cluster: alone, as before ┤├ a start with --cluster: goes on from here
//
// The step that decides is cluster.json. A broker that was stopped before it runs
// alone when it is told to; then what is in Consul is old, which the broker epoch
// shows, since each start has a new one, and the next adoption writes it anew.

// WithAdoption has a broker that has run alone join its cluster as the first node,
// and bring along what it has. Without it, it is refused. It has no effect on a
// broker that is a node already, or new.
func WithAdoption() Option { return func(b *Broker) { b.adopts = true } }

// asideDir is what the metadata's directory is called when it is not used any more.
const asideDir = metadataDir + ".alone"

// belongings is what a broker that has run alone brings along.
type belongings struct {
	node  messages.BrokerID
	image *metadata.Image
	state metadata.State
}

// has reports whether there is something of a name in the data directory.
func has(files vfs.FS, name string) (bool, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(entries, func(e vfs.Entry) bool { return e.Name == name }), nil
}

// ranAlone reports whether the data directory is of a broker that has run alone,
// and has not joined a cluster since.
func ranAlone(files vfs.FS) (bool, error) {
	alone, err1 := has(files, metadataDir)
	joined, err2 := has(files, identityFile)
	return alone && !joined, errors.Join(err1, err2)
}

// readBelongings reads what a broker has that has run alone.
func readBelongings(ctx context.Context, files vfs.FS) (own belongings, err error) {
	store, err := local.Open(files, metadataDir, local.Options{})
	if err != nil {
		return own, err
	}
	own.state, err = store.Load(ctx)
	if err = errors.Join(err, store.Close()); err != nil {
		return own, err
	}
	if own.image, err = metadata.Build(own.state); err != nil {
		return own, err
	}
	own.node = own.image.Controller
	if own.image.ClusterID == "" || own.image.Broker(own.node) == nil {
		return own, cannotAdopt("its metadata names no broker: it has never served anybody")
	}
	for t := range own.image.Topics() {
		for n := range t.Partitions {
			if !slices.Equal(t.Partitions[n].Replicas, []messages.BrokerID{own.node}) {
				return own, cannotAdopt(fmt.Sprintf("%s-%d has replicas on %v, and not on node %d alone", t.Name, n, t.Partitions[n].Replicas, own.node))
			}
		}
	}
	return own, nil
}

func cannotAdopt(why string) error {
	return messages.E("adopt", messages.InvalidConfig, metadataDir, errors.New(why))
}

// adopt makes this broker, which has run alone, the first node of a cluster.
func (s *consulSeat) adopt(ctx context.Context, wanted messages.BrokerID) error {
	own, err := readBelongings(ctx, s.b.files)
	if err != nil {
		return err
	}
	if wanted != messages.NoBroker && wanted != own.node {
		return cannotAdopt(fmt.Sprintf("the broker was node %d, and its replicas are; it cannot be node %d", own.node, wanted))
	}
	s.b.identity = identity{Cluster: s.b.cfg.Cluster, ClusterID: own.image.ClusterID, Node: own.node, Directory: rand.Text()}
	if _, err := s.claim(ctx, own.node, nil); err != nil {
		return err
	}
	if err := s.bring(ctx, own); err != nil {
		return err
	}
	if err := s.b.identity.write(s.b.files); err != nil {
		return err
	}
	s.b.log.Info().Int("topics", own.image.TopicCount()).Int("partitions", own.image.PartitionCount()).
		Msg("this broker has run alone, and is the first node of the cluster now")
	return nil
}

// bring writes what the broker has to Consul, unless that was done before.
func (s *consulSeat) bring(ctx context.Context, own belongings) error {
	store, err := consul.Open(consul.Options{Client: s.client, Cluster: s.b.cfg.Cluster, Broker: own.node, Events: s.stored})
	if err != nil {
		return err
	}
	defer store.Close()
	there, err := store.Load(ctx)
	if errors.Is(err, consul.ErrRestoring) { // by an adoption that was cut short, mostly
		there, err = metadata.State{}, nil
	}
	if err != nil {
		return err
	}
	im, err := metadata.Build(there)
	if err != nil {
		return err
	}
	switch {
	case there.Revision == 0:
		err = store.Restore(ctx, own.state, consul.RestoreOptions{})
	case im.ClusterID != own.image.ClusterID:
		return cannotAdopt(fmt.Sprintf("there is a cluster %s already, with %d brokers and %d topics; a broker that has run alone can only be the first node of a new one",
			s.b.cfg.Cluster, len(im.Brokers), im.TopicCount()))
	case im.Broker(own.node) != nil && im.Broker(own.node).Epoch == own.image.Broker(own.node).Epoch:
		return nil // brought already, and the broker has not run since
	case len(im.Brokers) == 1 && im.Broker(own.node) != nil:
		err = store.Restore(ctx, own.state, consul.RestoreOptions{Replace: true})
	default:
		return cannotAdopt(fmt.Sprintf("this broker was brought into cluster %s before, has run alone since, and other nodes have joined meanwhile: the cluster's metadata does not fit what it has now; choose another name for the cluster",
			s.b.cfg.Cluster))
	}
	if errors.Is(err, consul.ErrNotEmpty) || errors.Is(err, metadata.ErrConflict) {
		return cannotAdopt(fmt.Sprintf("another node has begun cluster %s at this moment", s.b.cfg.Cluster))
	}
	return err
}

// setAside gives the metadata of a broker that is a node now another name.
func setAside(files vfs.FS) error {
	alone, err := has(files, metadataDir)
	if err != nil || !alone {
		return err
	}
	name := asideDir
	for n := 1; ; n++ {
		taken, err := has(files, name)
		if err != nil {
			return err
		}
		if !taken {
			break
		}
		name = fmt.Sprintf("%s.%d", asideDir, n)
	}
	if err := files.Rename(metadataDir, name); err != nil {
		return err
	}
	return files.SyncDir(".")
}
