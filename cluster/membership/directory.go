package membership

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/consul"
	"understudy/messages"
)

// Entry is a node as it is registered.
type Entry struct {
	Node
	Passing bool   // its check
	Output  string // what its check says
	Agent   string // the Consul node that it is registered with
}

// List asks Consul for the nodes of a cluster, sorted by id.
func List(ctx context.Context, client *consul.Client, cluster string) (list []Entry, err error) {
	err = consul.NewContact(client, nil).Retry(ctx, "list nodes", cluster, func(ctx context.Context) error {
		o, cancel := client.Read(ctx)
		defer cancel()
		entries, meta, err := client.API().Health().Service(ServiceName, clusterTag(cluster), false, o)
		list = entriesOf(entries)
		return complete(meta, err)
	})
	return list, err
}

// complete makes an error of a list from which Consul has left out, without a
// word but a header, what the token may not see.
func complete(meta *api.QueryMeta, err error) error {
	if err == nil && meta.ResultsFilteredByACLs {
		return &consul.Error{Fault: consul.Refused, Err: errHidden}
	}
	return err
}

var errHidden = errors.New("it may not see all nodes, services named " + ServiceName + ", or sessions")

// entriesOf reads what Consul lists. A node that is listed twice has moved from
// one agent to another, which has not forgotten it: the one that passes is it,
// or else the one registered last. What is no node of ours is passed over.
func entriesOf(services []*api.ServiceEntry) []Entry {
	slices.SortFunc(services, func(a, b *api.ServiceEntry) int {
		if p, q := passes(a), passes(b); p != q {
			if p {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Service.CreateIndex, a.Service.CreateIndex)
	})
	byID := map[messages.BrokerID]Entry{}
	for _, s := range services {
		if e, ok := entryOf(s); ok {
			if _, double := byID[e.ID]; !double {
				byID[e.ID] = e
			}
		}
	}
	list := make([]Entry, 0, len(byID))
	for _, e := range byID {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func passes(s *api.ServiceEntry) bool {
	return !slices.ContainsFunc(s.Checks, func(c *api.HealthCheck) bool {
		return c.ServiceID == s.Service.ID && c.Status != api.HealthPassing
	})
}

func entryOf(s *api.ServiceEntry) (Entry, bool) {
	id, err := strconv.ParseInt(s.Service.Meta["node"], 10, 32)
	if err != nil || id < 0 {
		return Entry{}, false
	}
	epoch, _ := strconv.ParseInt(s.Service.Meta["epoch"], 10, 64) // 0 if it cannot be read: unknown
	e := Entry{
		Node: Node{
			ID: messages.BrokerID(id), Host: s.Service.Address, Port: int32(s.Service.Port),
			Link: s.Service.Meta["link"], Admin: s.Service.Meta["admin"], Rack: s.Service.Meta["rack"], Version: s.Service.Meta["version"],
			Epoch: messages.BrokerEpoch(epoch), Controller: slices.Contains(s.Service.Tags, "controller"),
		},
		Passing: passes(s),
	}
	if s.Node != nil {
		e.Agent = s.Node.Node
	}
	for _, c := range s.Checks {
		if c.ServiceID == s.Service.ID {
			e.Output = strings.TrimSpace(c.Output)
		}
	}
	return e, true
}

// Directory follows who is registered.
type Directory struct {
	client  *consul.Client
	cluster string
	tell    func(list []Entry, events []Event)
	contact *consul.Contact
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu   sync.Mutex
	list []Entry
}

// Follow makes a Directory. tell is given the list whenever it changes, with
// what has changed, in order and one at a time; the list must not be altered. It
// is told of Consul's troubles too, with the list as it was: a Consul that is away
// makes nobody leave. What it does delays the next news and nothing else.
func Follow(client *consul.Client, cluster string, tell func(list []Entry, events []Event)) *Directory {
	d := &Directory{client: client, cluster: cluster, tell: tell}
	d.contact = consul.NewContact(client, func(e consul.Event) { tell(d.Entries(), []Event{Agent{e}}) })
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.done.Go(func() { d.run(ctx) })
	return d
}

// Entries is who is registered, as last heard, sorted by id.
func (d *Directory) Entries() []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.list
}

// Close ends it. Afterwards nothing is told any more.
func (d *Directory) Close() {
	d.stop()
	d.done.Wait()
}

func (d *Directory) run(ctx context.Context) {
	index, b := uint64(0), consul.NewBackoff()
	for ctx.Err() == nil {
		o, cancel := d.client.Wait(ctx, index)
		services, meta, err := d.client.API().Health().Service(ServiceName, clusterTag(d.cluster), false, o)
		cancel()
		err = complete(meta, err)
		if ctx.Err() != nil {
			return
		}
		d.contact.Note(ctx, "watch nodes", err)
		var got uint64
		if err == nil {
			got = meta.LastIndex
			d.news(entriesOf(services))
		}
		if index = consul.NextIndex(index, got); index > 0 {
			b.Reset()
		} else if b.Pause(ctx) != nil {
			return
		}
	}
}

// news tells what a new list changes.
func (d *Directory) news(list []Entry) {
	d.mu.Lock()
	old := d.list
	d.list = list
	d.mu.Unlock()
	if events := compare(old, list); len(events) > 0 {
		d.tell(list, events)
	}
}

// compare says what is different between two lists, by node id.
func compare(old, now []Entry) (events []Event) {
	find := func(list []Entry, id messages.BrokerID) (Entry, bool) {
		i, ok := slices.BinarySearchFunc(list, id, func(e Entry, id messages.BrokerID) int { return cmp.Compare(e.ID, id) })
		if !ok {
			return Entry{}, false
		}
		return list[i], true
	}
	for _, e := range old {
		if _, ok := find(now, e.ID); !ok {
			events = append(events, Left{e})
		}
	}
	for _, e := range now {
		was, ok := find(old, e.ID)
		if !ok {
			events = append(events, Joined{e})
			was = Entry{Node: e.Node, Passing: true}
		}
		if was.Node != e.Node {
			events = append(events, Moved{Old: was, New: e})
		}
		switch {
		case was.Passing && !e.Passing:
			events = append(events, Failing{e})
		case !was.Passing && e.Passing:
			events = append(events, Passing{e})
		}
	}
	return events
}
