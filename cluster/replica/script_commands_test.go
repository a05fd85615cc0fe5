package replica_test

import (
	"fmt"
	"slices"
	"strings"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

// commands are what a script can say. Nodes are numbers; a link is "1>2", or "2"
// for all links to node 2. Flushes complete at once, unless "flush hold" was said.
var commands map[string]func(*script, call)

func init() {
	commands = map[string]func(*script, call){
		"new":       cmdNew,       // new N [min= lag= window= caching=on unclean=on]: N replicas, no leader yet
		"configure": cmdConfigure, // configure min= ...: change settings on all nodes
		"elect":     cmdElect,     // elect ID [isr=1,2] [to=1,2] [unclean=yes|secret]: a new epoch, told to all, or to those of "to"
		"tell":      cmdTell,      // tell [ID...]: give nodes the newest metadata
		"grant":     cmdGrant,     // grant [to=1,2]: the controller decides what it was asked for
		"propose":   cmdPropose,   // propose ID NAME [acks=] [records=] [size=] [deadline=]
		"await":     cmdAwait,     // await ID NAME base= last=: a duplicate
		"delete":    cmdDelete,    // delete ID NAME before=
		"confirm":   cmdConfirm,   // confirm ID NAME [deadline=]: it makes sure that it leads
		"trim":      cmdTrim,      // trim ID START: retention deletes what lies before
		"compact":   cmdCompact,   // compact ID NAME...: compaction on that node removes what was so named
		"stop":      cmdStop,      // stop ID: its replica is closed
		"deliver":   cmdDeliver,   // deliver [LINK] [count=]: messages that are on their way, not those they cause
		"drop":      cmdDrop,      // drop [LINK] [count=]
		"double":    cmdDouble,    // double [LINK]: deliver the oldest, and keep it on its way
		"reverse":   cmdReverse,   // reverse [LINK]: the last on its way comes first
		"flush":     cmdFlush,     // flush hold, flush go, flush ID...
		"load":      cmdLoad,      // load [ID...] [empty=yes]: answer reads for followers that are behind
		"tick":      cmdTick,      // tick MS [ID...]: time passes
		"crash":     cmdCrash,     // crash ID: its process ends
		"power":     cmdPower,     // power ID: it loses what was not flushed
		"wipe":      cmdWipe,      // wipe ID: it loses its disk
		"tear":      cmdTear,      // tear ID batches=: it crashes, and its disk forgets the last batches, though they were flushed
		"restart":   cmdRestart,   // restart ID: its broker starts again and reads the metadata
		"fail":      cmdFail,      // fail ID: the replica fails, and tells its leader so
		"reopen":    cmdReopen,    // reopen ID: the replica fails, loses what was not flushed, and is opened again by the same broker
		"replace":   cmdReplace,   // replace ID [told=1,2]: the replica moves away, which some are told, and comes back empty at the same start of its broker
		"shuttle":   cmdShuttle,   // shuttle ID: the metadata has the replica move away and come back, and nobody is told yet
		"empty":     cmdEmpty,     // empty ID: the replica's node hears that it has moved away, and that it is back
		"down":      cmdDown,      // down ID: all others are told that the node is down
		"up":        cmdUp,        // up ID: all others are told that it can be reached
		"cut":       cmdCut,       // cut LINK: everything on it is lost
		"heal":      cmdHeal,      // heal: no link is cut any more
		"isolate":   cmdIsolate,   // isolate ID on|off
		"settle":    cmdSettle,    // settle: deliver, flush, load, grant until nothing moves; messages are not printed
		"status":    cmdStatus,    // status [ID...]
		"followers": cmdFollowers, // followers ID: what a leader knows
		"log":       cmdLog,       // log [ID...]: the batches on disk
	}
}

func cmdNew(s *script, c call) {
	settings := c.settings(replica.Settings{LagTimeMax: 1000})
	s.world = newWorldWith(int(c.number(c.arg(0))), settings, func(w *world) {
		w.allowedToBreak = true
		w.lossy = settings.WriteCaching || settings.UncleanElection
		w.wrong = func(format string, args ...any) { s.printf("WRONG: "+format, args...) }
		w.trace = func(format string, args ...any) {
			if s.talk || !isMessage(format) {
				s.printf(format, args...)
			}
		}
	})
}

func cmdConfigure(s *script, c call) {
	s.settings = c.settings(s.settings)
	s.lossy = s.lossy || s.settings.WriteCaching || s.settings.UncleanElection
	for _, n := range s.nodes {
		if n.up {
			n.r.Configure(s.settings)
			s.perform(n)
		}
	}
}

// ids reads "1,2".
func (c call) ids(key string) []messages.BrokerID {
	var ids []messages.BrokerID
	for _, w := range splitComma(c.keys[key]) {
		ids = append(ids, messages.BrokerID(c.number(w)))
	}
	return ids
}

// tellSome gives the metadata to those that "to" names, or all.
func (s *script) tellSome(c call) {
	to := c.ids("to")
	for _, n := range s.nodes {
		if _, some := c.keys["to"]; !some || slices.Contains(to, n.id) {
			s.ctl.tell(n)
		}
	}
	s.autoFlush()
}

func cmdElect(s *script, c call) {
	if isr := c.ids("isr"); isr != nil {
		s.ctl.meta.ISR = isr
	}
	if how := c.keys["unclean"]; how != "" {
		s.lossy = true
		if how != "secret" {
			s.ctl.meta.UncleanEpoch = s.ctl.meta.Epoch + 1
		}
	}
	s.ctl.elect(messages.BrokerID(c.number(c.arg(0))))
	s.tellSome(c)
}

func cmdTell(s *script, c call) {
	for _, n := range c.nodes(0) {
		s.ctl.tell(n)
	}
	s.autoFlush()
}

func cmdGrant(s *script, c call) {
	for len(s.ctl.changes) > 0 {
		s.ctl.grant()
	}
	for len(s.ctl.resigned) > 0 {
		s.ctl.resign()
	}
	s.tellSome(c)
}

func cmdPropose(s *script, c call) {
	req := s.request(c.node(0), c.arg(1))
	req.records, req.acks = int(c.key("records", 1)), messages.Acks(c.key("acks", -1))
	s.propose(c.node(0), req, int(c.key("size", 100)), c.key("deadline", 0))
	s.autoFlush()
}

func cmdAwait(s *script, c call) {
	n, req := c.node(0), s.request(c.node(0), c.arg(1))
	req.acks = messages.AcksLeader // not checked against a record of its own
	n.r.Await(c.key("base", 0), c.key("last", 0), c.key("deadline", 0), req)
	s.perform(n)
}

func cmdDelete(s *script, c call) {
	n, req := c.node(0), s.request(c.node(0), c.arg(1))
	req.deletes = true
	n.r.DeleteBefore(c.key("before", -1), req)
	s.perform(n)
}

func cmdConfirm(s *script, c call) {
	s.confirm(c.node(0), s.request(c.node(0), c.arg(1)), c.key("deadline", 0))
}

func cmdTrim(s *script, c call) {
	n, start := c.node(0), c.number(c.arg(1))
	n.disk.setStart(start)
	n.r.Trimmed(start)
	s.perform(n)
}

func cmdCompact(s *script, c call) {
	n := c.node(0)
	s.leaveOut(n, func(b batch.Batch) bool {
		return slices.ContainsFunc(c.args[1:], func(name string) bool { return s.names[name].id == recordOf(b).id })
	})
}

func cmdStop(s *script, c call) {
	c.node(0).r.Stop(messages.E("close", messages.ShuttingDown, "", nil))
	s.perform(c.node(0))
}

// packets are the indexes of the messages a command is about.
func (c call) packets() []int {
	found := c.s.matching(c.link(0))
	return found[:min(len(found), int(c.key("count", int64(len(found)))))]
}

func cmdDeliver(s *script, c call) {
	s.talk = true
	for i, at := range c.packets() {
		s.deliver(at - i)
	}
	s.autoFlush()
}

func cmdDrop(s *script, c call) {
	for i, at := range c.packets() {
		s.printf("lost: %d→%d %v", s.net[at-i].from, s.net[at-i].to, &s.net[at-i].m)
		s.net = slices.Delete(s.net, at-i, at-i+1)
	}
}

func cmdDouble(s *script, c call) {
	s.receive(s.net[c.packets()[0]])
	s.autoFlush()
}

func cmdReverse(s *script, c call) {
	at := c.packets()
	for i, j := 0, len(at)-1; i < j; i, j = i+1, j-1 {
		s.net[at[i]], s.net[at[j]] = s.net[at[j]], s.net[at[i]]
	}
}

func cmdFlush(s *script, c call) {
	switch c.arg(0) {
	case "hold":
		s.flushes = true
	case "go":
		s.flushes = false
		s.autoFlush()
	default:
		for _, n := range c.nodes(0) {
			s.flushed(n)
		}
	}
}

// autoFlush completes all flushes, unless they are held.
func (s *script) autoFlush() {
	for !s.flushes && slices.ContainsFunc(s.nodes, func(n *node) bool { return n.up && n.inSync }) {
		for _, n := range s.nodes {
			s.flushed(n)
		}
	}
}

func cmdLoad(s *script, c call) {
	for _, n := range c.nodes(0) {
		for len(n.reads) > 0 {
			if c.keys["empty"] != "" {
				n.r.Loaded(n.reads[0], nil)
				n.reads = n.reads[1:]
				s.perform(n)
				continue
			}
			s.printf("%d reads from %d for %d", n.id, n.reads[0].From, n.reads[0].Follower)
			s.load(n)
		}
	}
}

func cmdTick(s *script, c call) {
	s.now += c.number(c.arg(0))
	for _, n := range c.nodes(1) {
		if n.up {
			s.tick(n)
		}
	}
	s.autoFlush()
}

func cmdCrash(s *script, c call) { s.stop(c.node(0)) }

func cmdPower(s *script, c call) {
	n := c.node(0)
	s.cutPower(n, 0)
	s.printf("%d has log [%d,%d)", n.id, n.disk.start, n.disk.end)
}

func cmdWipe(s *script, c call) {
	s.stop(c.node(0))
	c.node(0).disk = disk{}
}

func cmdTear(s *script, c call) {
	n := c.node(0)
	s.stop(n)
	s.lossy = true
	n.disk.batches = n.disk.batches[:len(n.disk.batches)-int(c.key("batches", 1))]
	n.disk.settleEnd()
}

func cmdRestart(s *script, c call) {
	s.start(c.node(0))
	s.ctl.tell(c.node(0))
}

func cmdFail(s *script, c call) { s.fail(c.node(0)) }

func cmdReopen(s *script, c call) {
	n := c.node(0)
	led := n.r.Status().Epoch
	n.r.Stop(messages.E("flush", messages.StorageError, "disk", nil))
	s.perform(n)
	s.cutPower(n, 0)
	s.printf("%d has log [%d,%d)", n.id, n.disk.start, n.disk.end)
	s.open(n, led)
	s.ctl.tell(n)
}

func cmdReplace(s *script, c call) {
	n, meta := c.node(0), &s.ctl.meta
	s.empty(n)
	all, away := meta.Replicas, func(id messages.BrokerID) bool { return id == n.id }
	meta.Replicas, meta.ISR = slices.DeleteFunc(slices.Clone(all), away), slices.DeleteFunc(slices.Clone(meta.ISR), away)
	meta.Revision++
	for _, id := range c.ids("told") {
		s.ctl.tell(s.node(id))
	}
	meta.Replicas = all
	meta.Revision++
	s.ctl.tell(n)
}

func cmdShuttle(s *script, c call) {
	id, meta := c.node(0).id, &s.ctl.meta
	meta.ISR = slices.DeleteFunc(slices.Clone(meta.ISR), func(r messages.BrokerID) bool { return r == id })
	meta.Revision += 2
}

func cmdEmpty(s *script, c call) {
	n := c.node(0)
	s.empty(n)
	s.ctl.tell(n)
}

// empty ends a node's replica, deletes its log, and opens another in its place.
func (s *script) empty(n *node) {
	s.lossy = true // as the leader sees it, for whom it is the same replica
	n.r.Stop(messages.E("close", messages.NotLeader, "", nil))
	s.perform(n)
	n.disk = disk{}
	s.open(n, messages.NoEpoch)
}

func cmdDown(s *script, c call) {
	id := c.node(0).id
	s.ctl.down[id] = true
	for _, n := range s.nodes {
		if n.up && n.id != id {
			n.r.PeerDown(id)
			s.perform(n)
		}
	}
}

func cmdUp(s *script, c call) {
	peer := c.node(0)
	delete(s.ctl.down, peer.id)
	for _, n := range s.nodes {
		if n.up && n != peer {
			n.r.PeerUp(replica.Member{ID: peer.id, Epoch: peer.epoch})
			s.perform(n)
		}
	}
}

func cmdCut(s *script, c call) {
	from, to := c.link(0)
	s.cut[[2]messages.BrokerID{from, to}] = true
}

func cmdHeal(s *script, _ call) { clear(s.cut) }

func cmdIsolate(s *script, c call) {
	c.node(0).r.Isolate(c.arg(1) == "on")
	s.perform(c.node(0))
}

func cmdSettle(s *script, _ call) {
	s.talk = false
	defer func() { s.talk = true }()
	busy := func(n *node) bool { return n.up && (len(n.reads) > 0 || n.inSync && !s.flushes) }
	for round := 0; len(s.net)+len(s.ctl.changes)+len(s.ctl.resigned) > 0 || slices.ContainsFunc(s.nodes, busy); round++ {
		if round > 1000 {
			s.t.Fatal("settle: never comes to rest")
		}
		for len(s.net) > 0 {
			s.deliver(0)
		}
		s.autoFlush()
		for _, n := range s.nodes {
			for n.up && len(n.reads) > 0 {
				s.load(n)
			}
		}
		if len(s.ctl.changes)+len(s.ctl.resigned) > 0 {
			cmdGrant(s, call{s: s})
		}
	}
}

func cmdStatus(s *script, c call) {
	for _, n := range c.nodes(0) {
		s.printf("%d: %v", n.id, n)
	}
}

func cmdFollowers(s *script, c call) {
	for f := range c.node(0).r.Followers() {
		what := "probing"
		if f.Streaming {
			what = "streaming"
		}
		for _, flag := range []struct {
			on   bool
			word string
		}{{f.InSync, "in-sync"}, {f.Joining, "joining"}, {f.Down, "down"}, {f.Lagging, "lagging"}, {f.CatchUp, "catching up"}} {
			if flag.on {
				what += ", " + flag.word
			}
		}
		s.printf("%d: %s; appended %d, durable %d, next %d, %d bytes on their way", f.ID, what, f.Appended, f.Durable, f.Next, f.InFlight)
	}
}

func cmdLog(s *script, c call) {
	for _, n := range c.nodes(0) {
		s.out.WriteString(n.describeLog(s))
	}
}

// describeLog shows batches as [base,next) name@epoch.
func (n *node) describeLog(s *script) string {
	text := fmt.Sprintf("%d:", n.id)
	for _, b := range n.disk.batches {
		rec := recordOf(b)
		name := "?"
		if b.IsGap() {
			name = "gap"
		}
		for _, req := range s.names {
			if req.id == rec.id {
				name = req.name
			}
		}
		text += fmt.Sprintf(" [%d,%d) %s@%d", rec.base, rec.next, name, rec.epoch)
	}
	return text + "\n"
}

func splitComma(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}
