// Package skeleton is the least that a replicated log with Kafka's protocol can
// be: it receives batches, checks them, writes them to a file, has two other
// processes do the same, and answers. There are no elections, no in-sync set, no
// retention, no reads; a node that fails takes the log with it. It is the measure
// of what everything else costs, and written as plainly as can be.
//
//	client ──▶ leader: check, stamp, write ──▶ fsync ─────────────┐
//	                     │                                        ├─▶ answer
//	                     └─▶ two followers: write ──▶ fsync ──▶ ack ┘
package skeleton

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Options of a node.
type Options struct {
	ID         int      // from 0
	Kafka      []string // where clients connect, node by node
	Links      []string // where nodes connect, node by node
	Dir        string
	Partitions int
	Sync       bool // fdatasync before every answer
	Sink       bool // neither write nor copy: answer at once
}

// Node is one process of a skeleton.
type Node struct {
	options Options
	parts   []*part
	links   []chan frame // to each node; nil to itself
}

// part is one partition's replica. Node ID%nodes leads partition ID.
type part struct {
	node  *Node
	index int
	file  *os.File
	queue chan *entry // to be written
	dirty chan *entry // written, not synced

	mu      sync.Mutex
	next    int64   // offset
	acked   []int64 // by node, this one among them: the offset up to which it has everything
	waiting []*entry
}

// entry is one batch under way.
type entry struct {
	batch []byte
	end   int64  // the offset after it; set when it is written
	done  func() // called when all have it; nil at a follower
	base  int64
}

// frame goes from node to node: a batch, or, without one, an acknowledgement.
type frame struct {
	part  int
	end   int64
	batch []byte
}

const queued = 1024 // entries of a queue

// Run is a node's life. It ends with an error, or with the process.
func Run(o Options) error {
	n := &Node{options: o, links: make([]chan frame, len(o.Kafka))}
	for i := range o.Partitions {
		file, err := os.Create(filepath.Join(o.Dir, fmt.Sprintf("%d.log", i)))
		if err != nil {
			return err
		}
		p := &part{node: n, index: i, file: file, queue: make(chan *entry, queued), dirty: make(chan *entry, queued), acked: make([]int64, len(o.Kafka))}
		n.parts = append(n.parts, p)
		go p.write()
		go p.sync()
	}
	if err := n.connect(); err != nil {
		return err
	}
	clients, err := net.Listen("tcp", o.Kafka[o.ID])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		nc, err := clients.Accept()
		if err != nil {
			return err
		}
		go n.serve(nc)
	}
}

// connect links this node with all others: each dials those after it.
func (n *Node) connect() error {
	o := &n.options
	l, err := net.Listen("tcp", o.Links[o.ID])
	if err != nil {
		return err
	}
	for i := range n.links {
		if i != o.ID {
			n.links[i] = make(chan frame, queued)
		}
	}
	for i := o.ID + 1; i < len(o.Links); i++ {
		nc, err := dial(o.Links[i])
		if err != nil {
			return err
		}
		if _, err := nc.Write([]byte{byte(o.ID)}); err != nil {
			return err
		}
		n.link(i, nc)
	}
	for range o.ID {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		var from [1]byte
		if _, err := io.ReadFull(nc, from[:]); err != nil {
			return err
		}
		n.link(int(from[0]), nc)
	}
	return nil
}

// dial waits for the other process to listen.
func dial(addr string) (net.Conn, error) {
	for {
		nc, err := net.Dial("tcp", addr)
		if err == nil || !isRefused(err) {
			return nc, err
		}
	}
}

// link sends and receives frames: part, end and size in 16 bytes, and the batch.
func (n *Node) link(to int, nc net.Conn) {
	go func() {
		for f := range n.links[to] {
			vector := net.Buffers{head(f), f.batch}
			size := len(f.batch)
			for more := true; more && size < 1<<20; { // what has gathered goes out at once
				select {
				case f = <-n.links[to]:
					vector = append(vector, head(f), f.batch)
					size += len(f.batch)
				default:
					more = false
				}
			}
			if _, err := vector.WriteTo(nc); err != nil {
				os.Exit(1)
			}
		}
	}()
	go func() {
		in := newReader(nc)
		for {
			h, err := in.take(16)
			if err != nil {
				os.Exit(0) // the other node has been stopped
			}
			f := frame{part: int(binary.BigEndian.Uint32(h)), end: int64(binary.BigEndian.Uint64(h[4:]))}
			if size := binary.BigEndian.Uint32(h[12:]); size > 0 {
				if f.batch, err = in.copy(int(size)); err != nil {
					os.Exit(0)
				}
				n.parts[f.part].follow(f)
			} else {
				n.parts[f.part].ack(to, f.end)
			}
		}
	}()
}

func head(f frame) []byte {
	h := binary.BigEndian.AppendUint32(make([]byte, 0, 16), uint32(f.part))
	h = binary.BigEndian.AppendUint64(h, uint64(f.end))
	return binary.BigEndian.AppendUint32(h, uint32(len(f.batch)))
}

// write is the only one to write to the file: all that has gathered at once.
func (p *part) write() {
	for e := range p.queue {
		entries := gather(p.queue, e)
		var size int
		for _, e := range entries {
			size += len(e.batch)
		}
		if err := p.append(entries, size); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, e := range entries {
			p.dirty <- e
		}
	}
}

// gather takes what waits, up to about a megabyte.
func gather(queue <-chan *entry, first *entry) []*entry {
	entries, size := []*entry{first}, len(first.batch)
	for size < 1<<20 && len(entries) < 256 {
		select {
		case e := <-queue:
			entries, size = append(entries, e), size+len(e.batch)
		default:
			return entries
		}
	}
	return entries
}

// append stamps a leader's entries and passes them on, and writes.
func (p *part) append(entries []*entry, size int) error {
	o := &p.node.options
	vector := make([][]byte, 0, len(entries))
	for _, e := range entries {
		if e.done != nil {
			e.base = p.next
			e.end = e.base + int64(binary.BigEndian.Uint32(e.batch[23:])) + 1
			binary.BigEndian.PutUint64(e.batch, uint64(e.base))
		}
		p.next = e.end
		vector = append(vector, e.batch)
	}
	if entries[0].done != nil {
		p.mu.Lock()
		p.waiting = append(p.waiting, entries...)
		p.mu.Unlock()
		for to, link := range p.node.links {
			for _, e := range entries {
				if link != nil && to != o.ID {
					link <- frame{p.index, e.end, e.batch}
				}
			}
		}
	}
	return writeAll(p.file, vector, size)
}

// sync makes durable what was written, as much as has gathered at a time.
func (p *part) sync() {
	for e := range p.dirty {
		for more := true; more; {
			select {
			case e = <-p.dirty:
			default:
				more = false
			}
		}
		if p.node.options.Sync {
			if err := syscall.Fdatasync(int(p.file.Fd())); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		if e.done == nil {
			leader := p.index % len(p.node.links)
			p.node.links[leader] <- frame{part: p.index, end: e.end}
			continue
		}
		p.ack(p.node.options.ID, e.end)
	}
}

func (p *part) follow(f frame) { p.queue <- &entry{batch: f.batch, end: f.end} }

// ack notes that a node has everything up to an offset, and answers what all have.
func (p *part) ack(from int, end int64) {
	p.mu.Lock()
	p.acked[from] = max(p.acked[from], end)
	all := p.acked[0]
	for _, a := range p.acked {
		all = min(all, a)
	}
	var ready []*entry
	for len(p.waiting) > 0 && p.waiting[0].end <= all {
		ready, p.waiting = append(ready, p.waiting[0]), p.waiting[1:]
	}
	p.mu.Unlock()
	for _, e := range ready {
		e.done()
	}
}
