package understudy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"understudy/actors/controller"
	"understudy/actors/partition"
	"understudy/actors/supervision"
	"understudy/cluster/local"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/messages"
	"understudy/persistence/flush"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// Names in the data directory, beside the partitions' directories.
const (
	lockFile    = "lock"
	metadataDir = "metadata"
)

// resolveTimeout bounds how long a start looks for what a name means.
const resolveTimeout = 250 * time.Millisecond

// tickInterval is how often what waits for a time is told the time.
const tickInterval = 100 * time.Millisecond

// openData takes the data directory for this process.
func (b *Broker) openData(context.Context) error {
	switch {
	case b.files != nil:
	case b.cfg.InMemory:
		b.files = vfs.NewMem(vfs.MemOptions{})
	default:
		if err := os.MkdirAll(b.cfg.DataDir, 0o755); err != nil {
			return err
		}
		b.files, b.boot = vfs.OS(b.cfg.DataDir), machineBoot()
	}
	lock, err := b.files.Lock(lockFile)
	if err != nil {
		return fmt.Errorf("%s is in use by another broker: %w", b.cfg.DataDir, err)
	}
	b.onStop("unlock the data directory", func(context.Context) error { return lock.Close() })
	return nil
}

// listen binds the port, so that the address that clients are told is known,
// but nobody is served yet.
func (b *Broker) listen(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", b.cfg.Listen)
	if err != nil {
		return err
	}
	b.listener = listener
	b.onStop("close the listener", func(context.Context) error {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	resolve := func(host string) ([]netip.Addr, error) {
		ctx, cancel := context.WithTimeout(ctx, resolveTimeout) // it is only for a hint
		defer cancel()
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	if err := b.listenAdmin(ctx); err != nil {
		return err
	}
	if warning := b.cfg.AdvertiseWarning(listener.Addr(), resolve); warning != "" {
		b.log.Warn().Msg(warning)
	}
	return nil
}

// openMetadata starts the controller and registers this broker, with a metadata
// store of its own or with the cluster's. That ends every epoch that it led before.
func (b *Broker) openMetadata(ctx context.Context) (err error) {
	if b.tree, err = supervision.NewRoot(b.backoff()); err != nil {
		return err
	}
	b.onStop("end the actors", func(context.Context) error { b.tree.Shutdown(); return nil })
	if b.join != nil {
		return b.openCluster(ctx)
	}
	return b.openAlone(ctx)
}

func (b *Broker) openAlone(ctx context.Context) error {
	if err := refuseMember(b.files); err != nil {
		return err
	}
	store, err := local.Open(b.files, metadataDir, local.Options{})
	if err != nil {
		return err
	}
	b.onStop("close the metadata", func(context.Context) error { return store.Close() })
	if err := b.startController(store); err != nil {
		return err
	}
	host, port, err := b.cfg.Advertised(b.listener.Addr())
	if err != nil {
		return err
	}
	self := metadata.Broker{ID: b.cfg.NodeID, Host: host, Port: int32(port), Rack: b.cfg.Rack, Admin: b.adminAddress(host)}
	b.events.identify(self.ID, 0)
	// Doubts would change nothing: there is nobody else.
	b.self, err = b.controller.TakeOver(ctx, controller.Takeover{Self: self, Register: true})
	return errors.Join(err, b.refuseForgotten())
}

func (b *Broker) startController(store metadata.Store) error {
	c := controller.New(controller.Options{
		Store: store, Cell: b.cell, Static: b.static,
		Events: b.decided, Committed: b.committed, Trouble: b.trouble, Returned: b.returned,
	})
	pid, err := b.tree.Spawn("controller", c.Props())
	if err != nil {
		return err
	}
	b.controller = c.Client(b.tree.System().Root, pid)
	b.onStop("end the controller", func(ctx context.Context) error {
		defer c.Close()
		if err := b.tree.Stop(ctx, pid); err != nil && b.node == nil {
			return err
		}
		return nil // in a cluster another decides what this one has not
	})
	return nil
}

// trouble is what is wrong with where the metadata is kept, or nil.
func (b *Broker) trouble() error {
	if b.node == nil {
		return nil
	}
	return b.node.r.Trouble()
}

// refuseForgotten keeps a broker whose metadata is gone, but whose partitions
// are not, from starting as if it were new.
func (b *Broker) refuseForgotten() error {
	image := b.cell.Image()
	strays, err := partition.SweepDirectories(b.files, func(dir string) partition.Place { return placeOf(image, dir, b.self.ID) })
	if err != nil {
		return err
	}
	if len(strays) > 0 && image.TopicCount() == 0 {
		return messages.E("open", messages.StorageError, b.cfg.DataDir, fmt.Errorf(
			"there are partitions here (%s, …) but no metadata about them: %q is lost. Bring it back from a copy, or move the partitions' directories away to start afresh",
			strays[0], metadataDir))
	}
	for _, dir := range strays {
		b.log.Warn().Str("directory", dir).Msg("this looks like a partition but belongs to no topic; it is left alone")
	}
	return nil
}

// placeOf finds the partition of the metadata that a directory is called after.
func placeOf(image *metadata.Image, dir string, self messages.BrokerID) partition.Place {
	dash := strings.LastIndexByte(dir, '-')
	if dash < 0 {
		return partition.Place{}
	}
	number, err := strconv.ParseInt(dir[dash+1:], 10, 32)
	tp := messages.TopicPartition{Topic: dir[:dash], Partition: int32(number)}
	p := image.Partition(tp)
	if err != nil || p == nil || tp.String() != dir {
		return partition.Place{}
	}
	return partition.Place{Partition: tp, Topic: image.Topic(tp.Topic).ID, Here: slices.Contains(p.Replicas, self)}
}

func (b *Broker) backoff() *supervision.Backoff {
	return &supervision.Backoff{
		Initial: 100 * time.Millisecond, Max: 30 * time.Second, Healthy: 5 * time.Minute,
		OnFailure: func(f supervision.Failure) {
			b.log.Error().Err(f.Cause).Str("actor", f.Actor).Int("failures", f.Failures).Dur("restart_ms", f.Restart).Msg("an actor failed and will be restarted")
		},
	}
}

// defaults are the values of the settings that a topic does not set.
func (b *Broker) defaults(image *metadata.Image) topicconfig.Defaults {
	return controller.Defaults(image, b.cfg.NodeID, b.static)
}

// startPartitions opens the local replicas and waits until each serves or says why not.
func (b *Broker) startPartitions(ctx context.Context) error {
	checkpoints, clean, err := partition.LoadCheckpoints(b.files, b.self.Epoch)
	if err != nil {
		b.log.Warn().Err(err).Msg("the recovery checkpoint cannot be used; all logs are checked from their start")
	}
	if !clean && b.cell.Image().PartitionCount() > 0 {
		b.log.Info().Msg("the last run was not stopped in order; recovering the logs")
	}
	checkpoints.Settle(b.cell.Image(), b.self.ID)
	if err := checkpoints.BeginRun(); err != nil {
		return err
	}
	b.flusher = flush.New(flush.Options{Workers: int(b.cfg.Storage.FlushWorkers)})
	b.onStop("end the flusher", b.closeFlusher)
	b.segments = segment.NewFiles(b.openFiles())
	b.shared = &partition.Shared{
		Self:        replica.Member{ID: b.self.ID, Epoch: b.self.Epoch},
		FS:          b.files,
		Flush:       b.flusher,
		Files:       b.segments,
		Checkpoints: checkpoints,
		Registry:    b.replicas,
		Log:         b.log,
		Tuning: partition.Tuning{
			LagTimeMax:  b.cfg.Storage.ReplicaLagTimeMax.Milliseconds(),
			DiskTimeout: b.diskTimeout(),
			Preallocate: preallocate(b.cfg.Storage.PreallocateBytes),
		},
		Defaults: b.defaults,
		Opening:  make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
		Cluster:  b.surroundings(),
	}
	pid, err := b.tree.Spawn("partitions", partition.Props(b.shared, b.cell, b.backoff()))
	if err != nil {
		return err
	}
	b.onStop("close the partitions", func(ctx context.Context) error {
		return errors.Join(b.tree.Stop(ctx, pid), checkpoints.EndRun())
	})
	b.startKeeper()
	b.startCleaner()
	return b.awaitPartitions(ctx)
}

// diskTimeout is how long the disk may take to answer, in ms; 0: as long as it
// likes, since there is nobody who could go on in this broker's place.
func (b *Broker) diskTimeout() int64 {
	if b.node == nil {
		return 0
	}
	return b.cfg.Storage.DiskTimeout.Milliseconds()
}

// closeFlusher ends the flusher, and waits for that unless the disk hangs.
func (b *Broker) closeFlusher(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.flusher.Close()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// surroundings are what replicas have around them.
func (b *Broker) surroundings() partition.Cluster {
	if b.node != nil {
		return b.node
	}
	return alone{b}
}

// preallocate is how the log says what the configuration says: 0 is none.
func preallocate(bytes int64) int64 {
	if bytes == 0 {
		return -1
	}
	return bytes
}

// awaitPartitions waits until each local replica serves or says why not.
func (b *Broker) awaitPartitions(ctx context.Context) error {
	for _, tp := range b.localPartitions() {
		if err := b.awaitPartition(ctx, tp); err != nil {
			return err
		}
	}
	return nil
}

// awaitPartition waits for one, as long as it is to be here: its topic may be deleted
// meanwhile, or the replica moved away.
func (b *Broker) awaitPartition(ctx context.Context, tp messages.TopicPartition) error {
	wanted, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- b.replicas.AwaitReady(wanted, []messages.TopicPartition{tp}) }()
	for {
		image, changed := b.cell.Next()
		if p := image.Partition(tp); p == nil || !slices.Contains(p.Replicas, b.self.ID) {
			cancel()
			<-ready
			return ctx.Err()
		}
		select {
		case err := <-ready:
			return err
		case <-changed:
		}
	}
}

// localPartitions lists the partitions that have a replica here.
func (b *Broker) localPartitions() []messages.TopicPartition {
	var local []messages.TopicPartition
	for t := range b.cell.Image().Topics() {
		for n, p := range t.Partitions {
			if slices.Contains(p.Replicas, b.self.ID) {
				local = append(local, messages.TopicPartition{Topic: t.Name, Partition: int32(n)})
			}
		}
	}
	return local
}

func (b *Broker) startKeeper() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	keeper := &partition.Keeper{
		Shared:             b.shared,
		CheckpointInterval: b.cfg.Storage.CheckpointInterval,
		ScanInterval:       b.cfg.Storage.RetentionInterval,
		TickInterval:       tickInterval,
		ProducerExpiry: func() int64 {
			return b.defaults(b.cell.Image()).Int(topicconfig.ProducerIDExpirationMs)
		},
	}
	go func() {
		defer close(ended)
		keeper.Run(ctx)
	}()
	b.onStop("end the keeper", func(context.Context) error {
		cancel()
		<-ended
		return nil
	})
}
