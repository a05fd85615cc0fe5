//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"understudy/internal/proxy"
)

// proxied is a network that needs no root: every place has an address of this
// machine's own, 127.N.0.HOST, and what places say to each other goes through proxies in
// this process, at 127.N.1.HOST and beyond. A cut holds what is said, as lost packets do
// that are sent again until they get through.
//
//	clients ──▶ proxy ──▶ node 1 ──▶ proxy, asks who calls ──▶ node 2
//	                         └─────▶ proxy ──▶ Consul
//
// Servers of Consul speak to each other past the proxies, partly by UDP.
type proxied struct {
	prefix byte
	places []*place
	done   chan struct{} // closed at the end

	mu      sync.Mutex
	ways    int
	proxies []*proxy.Proxy
	cuts    []cut
	slow    time.Duration
	narrow  *place // 4 Mbit/s toward it
	changed chan struct{}
}

func newProxied(t testing.TB, dir string) (*proxied, *place) {
	t.Helper()
	n := &proxied{prefix: byte(1 + os.Getpid()%250), done: make(chan struct{}), changed: make(chan struct{})}
	startReaper(t, "-", dir)
	t.Cleanup(func() {
		close(n.done)
		for _, p := range n.proxies {
			p.Close()
		}
	})
	return n, n.place(t, "clients", 1)
}

func (n *proxied) address(host byte) netip.Addr {
	return netip.AddrFrom4([4]byte{127, n.prefix, 0, host})
}

func (n *proxied) place(_ testing.TB, name string, host byte) *place {
	p := &place{name: name, addr: n.address(host), launcher: []string{"setsid"}}
	n.places = append(n.places, p)
	return p
}

// way opens a proxy.
func (n *proxied) way(t testing.TB, from, to *place, port int) string {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ways++
	at := fmt.Sprintf("127.%d.%d.%d:%d", n.prefix, 1+n.ways/250, 1+n.ways%250, port)
	p, err := proxy.Listen(at, to.at(port), func(near net.Conn) ([]byte, proxy.Treat, error) {
		if from != nil {
			return nil, n.treat(from, to), nil
		}
		said, caller, err := n.caller(near)
		return said, n.treat(caller, to), err
	})
	if err != nil {
		t.Fatal(err)
	}
	n.proxies = append(n.proxies, p)
	return p.Addr()
}

// caller reads what a node says first over a link, in which its id stands
// (cluster/link/hello.go).
func (n *proxied) caller(near net.Conn) (said []byte, from *place, err error) {
	const magic, id = "USLK", 8 + 7 // where the last byte of the id is
	said = make([]byte, id+1)
	if err := near.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, nil, err
	}
	if _, err := io.ReadFull(near, said); err != nil {
		return nil, nil, err
	}
	name := fmt.Sprint("node", said[id])
	i := slices.IndexFunc(n.places, func(p *place) bool { return p.name == name })
	if string(said[:len(magic)]) != magic || i < 0 {
		return nil, nil, fmt.Errorf("%q is no hello of a node's", said)
	}
	return said, n.places[i], near.SetReadDeadline(time.Time{})
}

// treat is what happens between two places.
func (n *proxied) treat(a, b *place) proxy.Treat {
	return func(piece []byte, forth bool) ([]byte, bool) {
		from, to := a, b
		if !forth {
			from, to = b, a
		}
		return piece, n.pass(from, to, len(piece))
	}
}

// thinRate is what a thin link lets through, in bytes a second.
const thinRate = 4_000_000 / 8

// pass waits until so many bytes may get from one place to another.
func (n *proxied) pass(from, to *place, bytes int) bool {
	var late time.Duration
	for {
		n.mu.Lock()
		held := slices.ContainsFunc(n.cuts, func(c cut) bool { return c.from == from && c.to == to })
		late = n.slow
		if n.narrow == to {
			late += time.Duration(bytes) * time.Second / thinRate
		}
		changed := n.changed
		n.mu.Unlock()
		if !held {
			break
		}
		select {
		case <-changed:
		case <-n.done:
			return false
		}
	}
	if late == 0 {
		return true
	}
	timer := time.NewTimer(late)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-n.done:
		return false
	}
}

// change has a new state count from one instant on.
func (n *proxied) change(do func()) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
	close(n.changed)
	n.changed = make(chan struct{})
	return nil
}

func (n *proxied) cut(cuts ...cut) error {
	return n.change(func() { n.cuts = append(n.cuts, cuts...) })
}

func (n *proxied) heal() error {
	return n.change(func() { n.cuts, n.slow, n.narrow = nil, 0, nil })
}

func (n *proxied) delay(d time.Duration) error { return n.change(func() { n.slow = d }) }

func (n *proxied) thin(toward *place, on bool) error {
	return n.change(func() {
		n.narrow = nil
		if on {
			n.narrow = toward
		}
	})
}

func (n *proxied) lose(percent int) error {
	if percent == 0 {
		return nil
	}
	return errors.New("between proxies there are streams, and no packets to lose: needs root")
}

func (n *proxied) reset() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.proxies {
		p.Reset()
	}
	return nil
}

func (n *proxied) canReset() error { return nil }

func (n *proxied) passesBy(a, b *place) error {
	if isConsul(a) && isConsul(b) {
		return errors.New("servers of Consul speak to each other past the proxies: needs root")
	}
	return nil
}
