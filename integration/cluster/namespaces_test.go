//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// namespaces are a network of network namespaces, each joined by a veth pair to a bridge in a namespace of its own. All rules of
// who does not hear whom are the bridge's, so that neither side notices anything
// but silence.
//
//	this process ──┐
//	node1 ─────────┤            table bridge cuts:
//	node2 ─────────┼─ bridge    ip saddr 198.18.7.11 ip daddr 198.18.7.12 drop
//	consul1 ───────┘
type namespaces struct {
	id     string // in the names of namespaces and interfaces
	prefix netip.Prefix
	hub    string // the bridge's namespace

	mu    sync.Mutex
	cuts  []cut
	loses int // of 100 packets
}

// newNamespaces makes the bridge and this process's place at it, which is removed
// with the test, or when this process ends in any way; so are disks that are mounted
// below dir.
func newNamespaces(t testing.TB, dir string) (*namespaces, *place) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root: run this suite as root, or with -network proxy")
	}
	n := &namespaces{id: fmt.Sprintf("us%d", os.Getpid())}
	n.hub = n.id + "-hub"
	var err error
	if n.prefix, err = freePrefix(); err != nil {
		t.Fatal(err)
	}
	startReaper(t, n.id, dir)
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

func (n *namespaces) address(host byte) netip.Addr {
	b := n.prefix.Addr().As4()
	b[3] = host
	return netip.AddrFrom4(b)
}

// place makes a namespace with an address, of which host is the last byte.
func (n *namespaces) place(t testing.TB, name string, host byte) *place {
	t.Helper()
	space := n.id + "-" + name
	p := &place{name: name, namespace: space, addr: n.address(host), launcher: []string{"setsid", "ip", "netns", "exec", space}}
	n.run(t, "netns", "add", p.namespace)
	n.run(t, "-n", p.namespace, "link", "set", "lo", "up")
	n.plug(t, p, host)
	return p
}

// plug joins a place to the bridge.
func (n *namespaces) plug(t testing.TB, p *place, host byte) {
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

func (n *namespaces) run(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s(this suite needs root, iproute2, and a kernel with network namespaces)", strings.Join(args, " "), err, out)
	}
}

// cut adds cuts to those there are, all at one instant.
func (n *namespaces) cut(cuts ...cut) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts = append(n.cuts, cuts...)
	return n.apply()
}

// heal ends all cuts at one instant.
func (n *namespaces) heal() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts, n.loses = nil, 0
	return n.apply()
}

// lose has so many of 100 packets between all places be lost; 0: none.
func (n *namespaces) lose(percent int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loses = percent
	return n.apply()
}

// apply replaces all rules in one transaction.
func (n *namespaces) apply() error {
	var rules strings.Builder
	rules.WriteString("table bridge cuts\ndelete table bridge cuts\ntable bridge cuts {\nchain forward { type filter hook forward priority 0; policy accept;\n")
	for _, c := range n.cuts {
		fmt.Fprintf(&rules, "ip saddr %s ip daddr %s drop\n", c.from.addr, c.to.addr)
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

// way is the place's own address: who asks is seen by where from.
func (n *namespaces) way(_ testing.TB, _, to *place, port int) string { return to.at(port) }

// thin leaves 4 Mbit/s toward a place, or all that there is.
func (n *namespaces) thin(toward *place, on bool) error {
	do, queue := "del", []string(nil)
	if on {
		do, queue = "add", []string{"tbf", "rate", "4mbit", "burst", "32kbit", "latency", "200ms"}
	}
	port := fmt.Sprint("port", toward.addr.As4()[3])
	args := append([]string{"netns", "exec", n.hub, "tc", "qdisc", do, "dev", port, "root"}, queue...)
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("tc: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (n *namespaces) delay(time.Duration) error {
	return errors.New("delays need a kernel with netem, or proxies")
}

func (n *namespaces) reset() error { return n.canReset() }

func (n *namespaces) canReset() error {
	return errors.New("what is silent between namespaces resets nothing; proxies do")
}

func (n *namespaces) passesBy(*place, *place) error { return nil }
