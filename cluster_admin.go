package understudy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"understudy/cluster/metadata"
	"understudy/messages"
)

// clusterView is the answer to GET /cluster: the cluster as this node knows it.
type clusterView struct {
	ClusterID       string            `json:"cluster_id"`
	Name            string            `json:"name"`             // "" for a broker that runs alone
	Controller      messages.BrokerID `json:"controller"`       // -1: none is known
	Version         string            `json:"version"`          // of the program on this node
	MetadataVersion int64             `json:"metadata_version"` // that this node has
	Rendezvous      string            `json:"rendezvous"`       // "ok", "none" for a broker that runs alone, or what is wrong
	Brokers         []brokerView      `json:"brokers"`
	Offline         []offlineView     `json:"offline"`
	UnderReplicated int               `json:"under_replicated"` // partitions of which not all replicas are in sync
	Moves           []moveView        `json:"moves"`
}

type brokerView struct {
	ID       messages.BrokerID    `json:"id"`
	Host     string               `json:"host"`
	Port     int32                `json:"port"`
	Admin    string               `json:"admin"` // host:port; "": it has none
	Rack     string               `json:"rack"`
	Epoch    messages.BrokerEpoch `json:"epoch"`
	State    string               `json:"state"`         // up, down, draining or drained
	Why      string               `json:"why,omitempty"` // it is down
	Leaders  int                  `json:"leaders"`
	Replicas int                  `json:"replicas"`
}

type offlineView struct {
	Topic     string              `json:"topic"`
	Partition int32               `json:"partition"`
	Why       string              `json:"why"`
	BackWith  []messages.BrokerID `json:"back_with"` // any of these brings it back
}

type moveView struct {
	Topic          string              `json:"topic"`
	Partition      int32               `json:"partition"`
	From           []messages.BrokerID `json:"from"`
	To             []messages.BrokerID `json:"to"`
	RemainingBytes int64               `json:"remaining_bytes"` // -1: not known at the moment
}

// partitionView is one partition in the answer to GET /cluster/partitions.
type partitionView struct {
	Partition int32                `json:"partition"`
	Leader    messages.BrokerID    `json:"leader"` // -1: none
	Epoch     messages.LeaderEpoch `json:"epoch"`
	Replicas  []messages.BrokerID  `json:"replicas"`
	ISR       []messages.BrokerID  `json:"isr"`
	Preferred messages.BrokerID    `json:"preferred"` // who leads when all is well
	Offline   string               `json:"offline,omitempty"`
	BackWith  []messages.BrokerID  `json:"back_with,omitempty"`
	Adding    []messages.BrokerID  `json:"adding,omitempty"`
	Removing  []messages.BrokerID  `json:"removing,omitempty"`
}

// routeCluster adds what there is to ask about the cluster, and to ask of it:
//
//	GET /cluster                     clusterView
//	GET /cluster/partitions?topic=T  a list of partitionView
//	POST /cluster/restore            see serveRestore
//
//	POST   /cluster/brokers/{id}/drain    its replicas go elsewhere, its leaderships at once
//	POST   /cluster/brokers/{id}/undrain  they need not any more
//	DELETE /cluster/brokers/{id}          it is forgotten, if it is down and holds nothing
func (b *Broker) routeCluster(mux *http.ServeMux) {
	mux.HandleFunc("GET /cluster", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, b.describeCluster(r.Context())) })
	mux.HandleFunc("GET /cluster/partitions", func(w http.ResponseWriter, r *http.Request) {
		list, err := describePartitions(b.cell.Image(), r.URL.Query().Get("topic"))
		if err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, list)
	})
	mux.HandleFunc("POST /cluster/restore", b.serveRestore)
	b.route(mux, "POST /cluster/brokers/{id}/drain", func(ctx context.Context, n *node, id messages.BrokerID) error {
		_, err := ask(ctx, n, draining, drainQuestion{id, true})
		return err
	})
	b.route(mux, "POST /cluster/brokers/{id}/undrain", func(ctx context.Context, n *node, id messages.BrokerID) error {
		_, err := ask(ctx, n, draining, drainQuestion{id, false})
		return err
	})
	b.route(mux, "DELETE /cluster/brokers/{id}", func(ctx context.Context, n *node, id messages.BrokerID) error {
		_, err := ask(ctx, n, removing, id)
		return err
	})
}

// drainQuestion asks that a broker be drained, or no longer.
type drainQuestion struct {
	Node messages.BrokerID
	On   bool
}

// route adds something that is asked of the controller about a broker. The answer
// shows how the broker stands then; {} when it is gone.
func (b *Broker) route(mux *http.ServeMux, pattern string, do func(context.Context, *node, messages.BrokerID) error) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 32)
		switch {
		case err != nil || id < 0:
			err = messages.E("request", messages.InvalidRequest, r.PathValue("id"), errors.New("is no node id"))
		case b.node == nil:
			err = messages.E("request", messages.PolicyViolation, "", errors.New("this broker runs alone"))
		default:
			err = do(r.Context(), b.node, messages.BrokerID(id))
		}
		if err != nil {
			writeError(w, err)
			return
		}
		list := describeBrokers(b.cell.Image())
		if i := slices.IndexFunc(list, func(v brokerView) bool { return v.ID == messages.BrokerID(id) }); i >= 0 {
			writeJSON(w, list[i])
			return
		}
		writeJSON(w, struct{}{})
	})
}

// describeCluster tells how the cluster stands.
func (b *Broker) describeCluster(ctx context.Context) clusterView {
	im := b.cell.Image()
	v := clusterView{
		ClusterID: im.ClusterID, Name: b.cfg.Cluster, Controller: im.Controller, Version: version(),
		MetadataVersion: im.Revision, Rendezvous: b.rendezvousState(),
		Brokers: describeBrokers(im), Offline: []offlineView{}, Moves: []moveView{},
	}
	for t := range im.Topics() {
		for n := range t.Partitions {
			p := &t.Partitions[n]
			if len(p.ISR) < len(p.Replicas) {
				v.UnderReplicated++
			}
			if why, with := offline(im, p); why != "" {
				v.Offline = append(v.Offline, offlineView{t.Name, int32(n), why, with})
			}
			if p.Moving() {
				from := slices.DeleteFunc(slices.Clone(p.Replicas), func(id messages.BrokerID) bool { return slices.Contains(p.Adding, id) })
				v.Moves = append(v.Moves, moveView{t.Name, int32(n), from, p.Target, -1})
			}
		}
	}
	b.measureMoves(ctx, im, v.Moves)
	return v
}

// describeBrokers tells how it stands with each broker.
func describeBrokers(im *metadata.Image) []brokerView {
	list := make([]brokerView, len(im.Brokers))
	at := make(map[messages.BrokerID]*brokerView, len(list))
	for i, b := range im.Brokers {
		list[i] = brokerView{ID: b.ID, Host: b.Host, Port: b.Port, Admin: b.Admin, Rack: b.Rack, Epoch: b.Epoch, Why: b.Down}
		at[b.ID] = &list[i]
	}
	for t := range im.Topics() {
		for _, p := range t.Partitions {
			if v := at[p.Leader]; v != nil {
				v.Leaders++
			}
			for _, id := range p.Replicas {
				if v := at[id]; v != nil {
					v.Replicas++
				}
			}
		}
	}
	for i, b := range im.Brokers {
		switch {
		case !b.Up():
			list[i].State = "down"
		case b.Draining && list[i].Replicas > 0:
			list[i].State = "draining"
		case b.Draining:
			list[i].State = "drained"
		default:
			list[i].State = "up"
		}
	}
	return list
}

// offline says why a partition has no leader, and who could bring it back; "" if
// it has one.
func offline(im *metadata.Image, p *metadata.Partition) (why string, with []messages.BrokerID) {
	if p.Leader != messages.NoBroker {
		return "", nil
	}
	var down []string
	for _, id := range p.ISR {
		if b := im.Broker(id); !b.Up() {
			with = append(with, id)
			if b != nil && b.Down != "" {
				down = append(down, fmt.Sprintf("node %d: %s", id, b.Down))
			}
		}
	}
	why = fmt.Sprintf("no in-sync replica is up; in sync were %v", p.ISR)
	if len(with) < len(p.ISR) {
		why = fmt.Sprintf("in sync are %v, and who of them is up must not lead: it has lost what was committed", p.ISR)
	}
	if len(down) > 0 {
		why += " (" + strings.Join(down, "; ") + ")"
	}
	return why, with
}

// describePartitions tells how a topic's partitions stand.
func describePartitions(im *metadata.Image, topic string) ([]partitionView, error) {
	t := im.Topic(topic)
	if t == nil {
		return nil, messages.E("describe partitions", messages.UnknownTopicOrPartition, topic, nil)
	}
	list := make([]partitionView, len(t.Partitions))
	for n := range t.Partitions {
		p := &t.Partitions[n]
		list[n] = partitionView{
			Partition: int32(n), Leader: p.Leader, Epoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR,
			Preferred: p.Replicas[0], Adding: p.Adding,
		}
		if p.Moving() {
			list[n].Preferred, list[n].Removing = p.Target[0], p.Removing()
		}
		list[n].Offline, list[n].BackWith = offline(im, p)
	}
	return list, nil
}

// rendezvousState says in words how it stands with the rendezvous.
func (b *Broker) rendezvousState() string {
	if b.node == nil {
		return "none"
	}
	return b.node.eye.rendezvous.String()
}

// version is that of the program.
var version = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
})

// measureWithin bounds how long the nodes are asked for how far moves have come.
const measureWithin = time.Second

// measureMoves finds out how much is still to be copied: what the leader has and
// those that are being added do not have.
func (b *Broker) measureMoves(ctx context.Context, im *metadata.Image, moves []moveView) {
	if len(moves) == 0 || b.node == nil {
		return
	}
	wanted := map[messages.BrokerID][]messages.TopicPartition{}
	of := func(m moveView) (messages.TopicPartition, *metadata.Partition) {
		tp := messages.TopicPartition{Topic: m.Topic, Partition: m.Partition}
		return tp, im.Partition(tp)
	}
	for _, m := range moves {
		tp, p := of(m)
		for _, id := range append(slices.Clone(p.Adding), p.Leader) {
			wanted[id] = append(wanted[id], tp)
		}
	}
	sizes := b.node.sizes(ctx, wanted)
	for i, m := range moves {
		tp, p := of(m)
		all, known := sizes[p.Leader][tp.String()]
		remaining := int64(0)
		for _, id := range p.Adding {
			has, ok := sizes[id][tp.String()]
			known = known && ok
			remaining += max(all-has, 0)
		}
		if known {
			moves[i].RemainingBytes = remaining
		}
	}
}

// sizes asks nodes for the sizes of their replicas, in bytes. Those that do not
// answer are missing.
func (n *node) sizes(ctx context.Context, wanted map[messages.BrokerID][]messages.TopicPartition) map[messages.BrokerID]map[string]int64 {
	ctx, cancel := context.WithTimeout(ctx, measureWithin)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	all := map[messages.BrokerID]map[string]int64{}
	for id, list := range wanted {
		asking.Go(func() {
			has := n.measure(list)
			if id != n.self.ID {
				has = nil
				if err := request(ctx, n, id, measuring, list, &has); err != nil && !errors.Is(err, context.DeadlineExceeded) {
					n.b.log.Debug().Err(err).Int32("node", id).Msg("a node did not say how large its replicas are")
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all[id] = has
		})
	}
	asking.Wait()
	return all
}

// measure gives the sizes of local replicas, by partition.
func (n *node) measure(list []messages.TopicPartition) map[string]int64 {
	has := map[string]int64{}
	for _, tp := range list {
		if h := n.b.replicas.Lookup(tp); h != nil {
			has[tp.String()] = h.Size()
		}
	}
	return has
}
