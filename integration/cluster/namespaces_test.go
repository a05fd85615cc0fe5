//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// network is places that can be cut off from each other: network namespaces,
// each joined by a veth pair to a bridge in a namespace of its own. All rules of
// who does not hear whom are the bridge's, so that neither side notices anything
// but silence.
//
//	this process ──┐
//	node1 ─────────┤            table bridge cuts:
//	node2 ─────────┼─ bridge    ip saddr 198.18.7.11 ip daddr 198.18.7.12 drop
//	consul1 ───────┘
type network struct {
	id     string // in the names of namespaces and interfaces
	prefix netip.Prefix
	hub    string // the bridge's namespace
	reaper io.Closer
	reaped <-chan error

	mu    sync.Mutex
	cuts  []cut
	loses int // of 100 packets
}

// place is where a process runs: a namespace, or this process's own.
type place struct {
	name      string
	namespace string // empty: this process's
	addr      netip.Addr
}

// cut has no packet get from one place to another, or only those to or from a port.
type cut struct {
	from, to *place
	port     int // 0: all
}

// reaperScript waits for the end of whoever holds its standard input, however it
// comes, unmounts what is mounted below a folder, and takes away what is left. A namespace goes with its last process.
const reaperScript = `
cat >/dev/null
for ns in $(ip netns list | cut -d' ' -f1 | grep "^$1-"); do
	for pid in $(ip netns pids "$ns"); do kill -9 "$pid" 2>/dev/null; done
	ip netns del "$ns"
done
ip link del "$1-0" 2>/dev/null
grep -o " $2/[^ ]*" /proc/self/mounts | while read -r disk; do umount -l "$disk"; done
grep -q " $2 " /proc/self/mounts && umount -l "$2"
exit 0`

// newNetwork makes the bridge and this process's place at it, which is removed
// with the test, or when this process ends in any way; so are disks that are mounted
// below dir.
func newNetwork(t testing.TB, dir string) (*network, *place) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root: run this suite as root")
	}
	n := &network{id: fmt.Sprintf("us%d", os.Getpid())}
	n.hub = n.id + "-hub"
	var err error
	if n.prefix, err = freePrefix(); err != nil {
		t.Fatal(err)
	}
	n.startReaper(t, dir)
	n.run(t, "netns", "add", n.hub)
	n.run(t, "-n", n.hub, "link", "add", "bridge", "type", "bridge")
	n.run(t, "-n", n.hub, "link", "set", "bridge", "up")
	here := &place{name: "clients", addr: n.address(1)}
	n.plug(t, here, 0)
	return n, here
}

// freePrefix finds a network among those set aside for tests of networks (RFC
// 2544) that this machine has no address in.
func freePrefix() (netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Prefix{}, err
	}
	taken := map[netip.Prefix]bool{}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			taken[netip.PrefixFrom(p.Addr(), 24).Masked()] = true
		}
	}
	for i := range 256 {
		// Two processes that look at once should not find the same.
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(os.Getpid() + i), 0}), 24)
		if !taken[p] {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("all of 198.18.0.0/16 is taken")
}

func (n *network) startReaper(t testing.TB, dir string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("setsid", "sh", "-c", reaperScript, "reaper", n.id, dir)
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	n.reaper, n.reaped = w, done
	t.Cleanup(func() {
		_ = n.reaper.Close()
		if err := <-n.reaped; err != nil {
			t.Errorf("the network was not taken away: %v", err)
		}
	})
}

func (n *network) address(host byte) netip.Addr {
	b := n.prefix.Addr().As4()
	b[3] = host
	return netip.AddrFrom4(b)
}

// place makes a namespace with an address, of which host is the last byte.
func (n *network) place(t testing.TB, name string, host byte) *place {
	t.Helper()
	p := &place{name: name, namespace: n.id + "-" + name, addr: n.address(host)}
	n.run(t, "netns", "add", p.namespace)
	n.run(t, "-n", p.namespace, "link", "set", "lo", "up")
	n.plug(t, p, host)
	return p
}

// plug joins a place to the bridge.
func (n *network) plug(t testing.TB, p *place, host byte) {
	t.Helper()
	outside, inside := fmt.Sprint("port", host), fmt.Sprint(n.id, "-", host)
	n.run(t, "link", "add", inside, "type", "veth", "peer", "name", outside, "netns", n.hub)
	n.run(t, "-n", n.hub, "link", "set", outside, "master", "bridge", "up")
	var in []string
	if p.namespace != "" {
		n.run(t, "link", "set", inside, "netns", p.namespace)
		in = []string{"-n", p.namespace}
	}
	n.run(t, append(in, "addr", "add", fmt.Sprint(p.addr, "/24"), "dev", inside)...)
	n.run(t, append(in, "link", "set", inside, "up")...)
}

func (n *network) run(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s(this suite needs root, iproute2, and a kernel with network namespaces)", strings.Join(args, " "), err, out)
	}
}

// launcher is what a program is started under so that it runs in the place, in a
// session of its own: Ctrl-C is for this process alone.
func (p *place) launcher() []string {
	if p.namespace == "" {
		return nil
	}
	return []string{"setsid", "ip", "netns", "exec", p.namespace}
}

func (p *place) at(port int) string { return fmt.Sprint(p.addr, ":", port) }

// cut adds cuts to those there are, all at one instant.
func (n *network) cut(cuts ...cut) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts = append(n.cuts, cuts...)
	return n.apply()
}

// heal ends all cuts at one instant.
func (n *network) heal() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts, n.loses = nil, 0
	return n.apply()
}

// lose has so many of 100 packets between all places be lost; 0: none.
func (n *network) lose(percent int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loses = percent
	return n.apply()
}

// apply replaces all rules in one transaction.
func (n *network) apply() error {
	var rules strings.Builder
	rules.WriteString("table bridge cuts\ndelete table bridge cuts\ntable bridge cuts {\nchain forward { type filter hook forward priority 0; policy accept;\n")
	for _, c := range n.cuts {
		way := fmt.Sprintf("ip saddr %s ip daddr %s", c.from.addr, c.to.addr)
		if c.port == 0 {
			fmt.Fprintf(&rules, "%s drop\n", way)
			continue
		}
		fmt.Fprintf(&rules, "%s tcp dport %d drop\n%s tcp sport %d drop\n", way, c.port, way, c.port)
	}
	if n.loses > 0 {
		fmt.Fprintf(&rules, "ip saddr %s numgen random mod 100 < %d drop\n", n.prefix, n.loses)
	}
	rules.WriteString("}\n}\n")
	cmd := exec.Command("ip", "netns", "exec", n.hub, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s(this suite needs nftables, and a kernel that filters on bridges)", err, out)
	}
	return nil
}

// between are the cuts of both ways between a place and others.
func between(a *place, others ...*place) (cuts []cut) {
	return append(oneWay(a, others...), toward(a, others...)...)
}

// oneWay cuts what a place says to others.
func oneWay(from *place, others ...*place) (cuts []cut) {
	for _, o := range others {
		cuts = append(cuts, cut{from: from, to: o})
	}
	return cuts
}

// toward cuts what others say to a place.
func toward(to *place, others ...*place) (cuts []cut) {
	for _, o := range others {
		cuts = append(cuts, cut{from: o, to: to})
	}
	return cuts
}
