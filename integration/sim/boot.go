package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"understudy/actors/controller"
	"understudy/actors/partition"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/messages"
	"understudy/persistence/flush"
	"understudy/persistence/segment"
)

// boot is how a node starts, in the order of the root package's openCluster and
// startPartitions.
func (p *process) boot(r *routine) {
	if !r.sleep(p.s.rnd.node.Int64N(200*millisecond)) || !p.enterStore(r) {
		return
	}
	image := p.read(r)
	if image == nil {
		return
	}
	p.self = metadata.Broker{ID: p.m.id, Epoch: image.NextEpoch(p.m.id), Host: "node", Port: 9092 + p.m.id, Rack: p.m.rack, Directory: p.m.disk.name}
	if err := controller.CheckDirectory(image, p.self, p.s.cfg.static); err != nil {
		p.s.say("node %d cannot start: %v", p.m.id, err)
		p.m.refused = true
		p.s.after(0, p.exit)
		return
	}
	p.m.refused = false
	p.doubtful = !p.keptAll()
	p.cell.Publish(metadata.Change{New: image})
	if !p.spawnController(r) {
		return
	}
	p.s.links.joined(p)
	p.begin(p.attend)
	p.begin(p.learn)
	p.begin(p.govern)
	p.begin(p.watch)
	p.begin(p.wish)
	if !p.register(r) || !p.openPartitions(r) || !p.openGroups(r) {
		return
	}
	p.serving = true
	p.s.say("node %d serves, broker epoch %d", p.m.id, p.self.Epoch)
	p.begin(p.keepTime)
	p.begin(p.keepCheckpoints)
	p.begin(p.keepClean)
}

func (p *process) spawnController(r *routine) bool {
	c := controller.New(controller.Options{
		Store: seat{p}, Cell: p.cell, Static: p.s.cfg.static,
		Events:    func(e controller.Event) { p.decided(e) },
		Committed: p.committed,
		Returned:  func(id messages.BrokerID) bool { return !p.s.machines[id-1].steady() },
		Trouble:   p.trouble,
		Entropy:   entropy{p.s.rnd.node},
		Portion:   p.s.cfg.portion,
		Stage:     controller.Stage{Start: p.callStore, Pause: p.s.pause},
	})
	var pid *actor.PID
	ok := p.inTree(r, func(a actor.Context) {
		var err error
		pid, err = a.SpawnNamed(c.Props(actor.WithDispatcher(p.turns("controller", nil))), "controller")
		if err != nil {
			panic(err)
		}
	})
	if ok {
		p.ctl = c.Client(p.s.system.Root, pid)
		p.endController = func(r *routine) {
			if p.stop(r, pid) {
				c.Close()
			}
		}
	}
	return ok
}

var errStoreAway = errors.New("the store cannot be reached")

// trouble says what keeps the controller from deciding.
func (p *process) trouble() error {
	if p.s.store.open(p) {
		return nil
	}
	return errStoreAway
}

// decided takes note of what the node's controller decided.
func (p *process) decided(e controller.Event) {
	for _, record := range e.Records() {
		p.s.count("controller: " + string(record.Kind))
	}
	p.s.say("controller %d: %v", p.m.id, e)
}

// register has the controller enter this start of the broker, however often it
// has to be asked.
func (p *process) register(r *routine) bool {
	for !p.registered() {
		if p.overtaken() {
			p.s.after(0, p.exit)
			return false
		}
		_, err := p.ask(r, 5*second, func(q *process, _ *routine) (any, error) {
			b, err := q.ctl.RegisterBroker(q.ctx, p.self, p.doubtful)
			return b, err
		})
		if !r.alive() {
			return false
		}
		if err != nil && messages.KindOf(err) != messages.NotController {
			p.s.count("registration failed")
		}
		if messages.KindOf(err) == messages.InvalidConfig {
			p.m.refused = true
			p.s.after(0, p.exit)
			return false
		}
		r.await(50*millisecond, p.registered)
		if !r.alive() {
			return false
		}
	}
	return true
}

// registered reports whether the node's image has this start of it.
func (p *process) registered() bool {
	b := p.cell.Image().Broker(p.m.id)
	return b != nil && b.Epoch == p.self.Epoch
}

// overtaken reports whether this start can never be registered, as in the root package.
func (p *process) overtaken() bool {
	if p.registered() || p.cell.Image().NextEpoch(p.m.id) <= p.self.Epoch {
		return false
	}
	p.s.count("start overtaken by the removal of nodes")
	return true
}

// keptAll reports whether everything is there that the last run wrote, as the root
// package's lastrun.go does.
func (p *process) keptAll() bool {
	last := p.m.disk.last
	if last.boot == p.m.boot && last.epoch == p.self.Epoch-1 {
		return true
	}
	_, inOrder, err := partition.LoadCheckpoints(p.fs, p.self.Epoch)
	return err == nil && inOrder
}

// openPartitions starts the local replicas.
func (p *process) openPartitions(r *routine) bool {
	p.m.disk.last = run{p.m.boot, p.self.Epoch}
	points, _, err := partition.LoadCheckpoints(p.fs, p.self.Epoch)
	if err != nil {
		p.s.count("checkpoint file not used")
	}
	image := p.cell.Image()
	if _, err := partition.SweepDirectories(p.fs, func(dir string) partition.Place { return p.placeOf(image, dir) }); err != nil {
		p.s.count("directories not swept")
	}
	points.Settle(image, p.m.id)
	if err := points.BeginRun(); err != nil {
		p.s.say("node %d cannot start: %v", p.m.id, err)
		p.s.after(0, p.exit)
		return false
	}
	p.points = points
	shared := &partition.Shared{
		Self: p.member(), FS: p.fs, Flush: flusher{p}, Files: segment.NewFiles(p.s.cfg.openFiles), Checkpoints: points,
		Registry: p.replicas, Log: quiet,
		Tuning:   partition.Tuning{LagTimeMax: p.s.cfg.lagTimeMax, Preallocate: -1, DiskTimeout: p.s.cfg.diskTimeout},
		Defaults: func(im *metadata.Image) topicconfig.Defaults { return controller.Defaults(im, p.m.id, p.s.cfg.static) },
		Opening:  make(chan struct{}, 1),
		Cluster:  around{p},
		Stage: partition.Stage{
			Now: p.m.wallClock, Clock: p.clock, Pause: p.s.pause,
			Beside: func(f func()) { p.later(p.s.rnd.disk.Int64N(2*second), f) },
			Yield:  func() { p.cleaning.resume(p.cleaning.gen) },
			Look:   func(tp messages.TopicPartition, m *partition.Machine) { p.s.model.look(p, tp, m) },
			Dispatcher: func(tp messages.TopicPartition) actor.Dispatcher {
				return p.turns(tp.String(), func() { p.s.model.observe(p, tp) })
			},
		},
	}
	p.cleaner = &partition.Cleaner{
		Shared: shared, Memory: func() int64 { return 1 << 14 }, Rate: func() int64 { return 0 },
	}
	p.keeper = &partition.Keeper{
		Shared: shared, CheckpointInterval: time.Hour,
		ProducerExpiry: func() int64 { return shared.Defaults(p.cell.Image()).Int(topicconfig.ProducerIDExpirationMs) },
	}
	props := partition.Props(shared, p.cell, p.restarts("partitions")).Configure(actor.WithDispatcher(p.turns("partitions", nil)))
	return p.inTree(r, func(a actor.Context) {
		pid, err := a.SpawnNamed(props, "partitions")
		if err != nil {
			panic(err)
		}
		p.tree = pid
	})
}

// placeOf finds the partition that a directory is called after.
func (p *process) placeOf(image *metadata.Image, dir string) partition.Place {
	for t := range image.Topics() {
		for n := range t.Partitions {
			tp := messages.TopicPartition{Topic: t.Name, Partition: int32(n)}
			if tp.String() == dir {
				return partition.Place{Partition: tp, Topic: t.ID, Here: slices.Contains(t.Partitions[n].Replicas, p.m.id)}
			}
		}
	}
	return partition.Place{}
}

// exit ends a process that cannot go on; it is started again after a while, as by
// an init system.
func (p *process) exit() {
	if p.dead {
		return
	}
	p.s.count("process gave up")
	m := p.m
	p.kill()
	p.s.after(second, m.start)
}

// keepTime tells the replicas the time, and when to look after themselves.
func (p *process) keepTime(r *routine) {
	scan := p.s.now + p.s.cfg.scanEvery
	for r.sleep(100 * millisecond) {
		p.keeper.Tick()
		if p.s.now >= scan {
			p.keeper.Scan()
			scan = p.s.now + p.s.cfg.scanEvery
		}
	}
}

// keepCheckpoints writes the checkpoint file now and then.
func (p *process) keepCheckpoints(r *routine) {
	for r.sleep(p.s.cfg.checkpointEvery) {
		if err := p.keeper.Checkpoint(p.ctx); err != nil {
			p.s.count("checkpoint not written")
		}
	}
}

// keepClean compacts logs now and then.
func (p *process) keepClean(r *routine) {
	p.cleaning = r
	for r.sleep(p.s.cfg.cleanEvery/2 + p.s.rnd.node.Int64N(p.s.cfg.cleanEvery)) {
		if p.s.compacts() {
			p.s.counts["logs compacted"] += p.cleaner.Round(p.ctx)
		}
	}
}

// flusher syncs the logs of a node in the simulation's time.
type flusher struct{ p *process }

// Flush syncs a file now or a little later, and tells of it later still.
func (f flusher) Flush(file flush.File, done func(error)) {
	s, d := f.p.s, f.p.m.disk
	took := d.syncTime()
	begin := s.rnd.disk.Int64N(took + 1)
	f.p.later(begin, func() {
		file.StartWriteback(0, 1<<40)
		err := file.Sync()
		f.p.later(took-begin, func() { done(err) })
	})
}

// around is what a node's replicas have around them.
type around struct{ p *process }

var _ partition.Cluster = around{}

// Send passes a message to another node, or loses it.
func (a around) Send(to messages.BrokerID, id messages.TopicID, tp messages.TopicPartition, m *replica.Message, owner partition.Payload) error {
	return a.p.s.links.send(a.p, to, id, tp, m, owner)
}

// Room is how much may be read for a follower that is behind.
func (a around) Room(c partition.CatchUp) int64 {
	if !c.Urgent && a.p.s.links.crowded(a.p, c.Follower) {
		a.p.s.count("reads for a follower held back")
		return 0
	}
	return a.p.s.cfg.room
}

// Spend is told what was read.
func (a around) Spend(partition.CatchUp, int64) {}

// Event takes note of what a replica decided.
func (a around) Event(tp messages.TopicPartition, e replica.Event) { a.p.s.model.event(a.p, tp, e) }

// closePartitions stops the groups and the local replicas in order and writes the
// checkpoints.
func (p *process) closePartitions(r *routine) {
	if p.groupTree != nil && !p.stop(r, p.groupTree) || !p.stop(r, p.tree) {
		return
	}
	if err := p.points.EndRun(); err != nil {
		p.s.count("checkpoint not written")
	}
}

// stop stops a part of the node's actors, and reports whether it has ended in time.
func (p *process) stop(r *routine, part *actor.PID) bool {
	ended := false
	p.ended = func(who *actor.PID) { ended = ended || who.Id == part.Id }
	p.s.system.Root.Send(p.root, func(a actor.Context) { a.Stop(part) })
	return r.await(10*second, func() bool { return ended })
}
