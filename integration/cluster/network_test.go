//go:build cluster

package cluster

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"
)

var networkFlag = flag.String("network", "auto", "namespaces, which need root; proxy, which does not; auto: what can be done")

// network is places that can be cut off from each other: namespaces, or proxied.
type network interface {
	place(t testing.TB, name string, host byte) *place
	address(host byte) netip.Addr
	// way is the address at which one place reaches a port of another; from nil: all
	// nodes do, and say who they are.
	way(t testing.TB, from, to *place, port int) string

	cut(cuts ...cut) error // those there are stay
	heal() error           // ends all cuts, losses and delays at one instant
	lose(percent int) error
	delay(d time.Duration) error
	thin(toward *place, on bool) error
	reset() error    // all connections
	canReset() error // says why not, or nil
	// passesBy says why two places cannot be cut off from each other, or nil.
	passesBy(a, b *place) error
}

// newNetwork makes a network, and this process's place at it. Whatever way this
// process ends, nothing is left of it, nor of what has dir in its command line or is
// mounted below it.
func newNetwork(t testing.TB, dir string) (network, *place) {
	t.Helper()
	switch networkKind() {
	case inNamespaces:
		return newNamespaces(t, dir)
	case viaProxies:
		return newProxied(t, dir)
	}
	t.Fatalf("-network %s: want %s, %s or auto", *networkFlag, inNamespaces, viaProxies)
	return nil, nil
}

// The kinds of networks.
const (
	inNamespaces = "namespaces"
	viaProxies   = "proxy"
)

func networkKind() string {
	if *networkFlag != "auto" {
		return *networkFlag
	}
	if os.Geteuid() == 0 {
		return inNamespaces
	}
	return viaProxies
}

// place is where a process runs, as far as the others see it.
type place struct {
	name      string
	namespace string // empty: this process's, or there are none
	addr      netip.Addr
	launcher  []string // what a program is started under, in a session of its own: Ctrl-C is for this process alone
}

// cut has nothing get from one place to another.
type cut struct{ from, to *place }

func (p *place) at(port int) string { return fmt.Sprint(p.addr, ":", port) }

// reaperScript waits for the end of whoever holds its standard input, however it
// comes, and takes away what is left: namespaces, processes that work in a folder, and
// what is mounted below it. A namespace goes with its last process.
const reaperScript = `
cat >/dev/null
if [ "$1" != - ]; then
	for ns in $(ip netns list | cut -d' ' -f1 | grep "^$1-"); do
		for pid in $(ip netns pids "$ns"); do kill -9 "$pid" 2>/dev/null; done
		ip netns del "$ns"
	done
	ip link del "$1-0" 2>/dev/null
fi
for p in /proc/[0-9]*; do
	pid=${p#/proc/}
	[ "$pid" = $$ ] || ! tr '\\0' ' ' 2>/dev/null <$p/cmdline | grep -qF "$2/" || kill -9 "$pid" 2>/dev/null
done
grep -o " $2/[^ ]*" /proc/self/mounts | while read -r disk; do umount -l "$disk"; done
grep -q " $2 " /proc/self/mounts && umount -l "$2"
exit 0`

// startReaper starts it; id is in the names of namespaces, - when there are none.
func startReaper(t testing.TB, id, dir string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("setsid", "sh", "-c", reaperScript, "reaper", id, dir)
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = r.Close() // the reaper has it
	reaped := make(chan error, 1)
	go func() { reaped <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = w.Close() // which it waits for
		if err := <-reaped; err != nil {
			t.Errorf("the network was not taken away: %v", err)
		}
	})
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
