//go:build consul

package consul

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"understudy/cluster/consul"
)

// realAgent is a process of Consul's, over all its restarts.
type realAgent struct {
	name   string
	dir    string
	addr   string // HTTP
	ports  [3]int // HTTP, RPC, Serf
	args   []string
	policy string // what a token may do without being told
	log    lockedBuffer
	cmd    *exec.Cmd
}

// lockedBuffer is what a process prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.b.String()
	return s[max(0, len(s)-4000):]
}

// awayFor is how long Consul is away where that is to be long.
const awayFor = time.Minute

// startAgent starts the only server of a cluster and waits until it leads.
func startAgent(t *testing.T) agent {
	a := newAgent(t, "-server", "-bootstrap-expect=1")
	a.start(t)
	a.ready(t)
	return a
}

// newAgent prepares an agent on free ports.
func newAgent(t *testing.T, args ...string) *realAgent {
	t.Helper()
	a := &realAgent{dir: t.TempDir(), args: args, policy: "allow"}
	for i := range a.ports {
		a.ports[i] = freePort(t)
	}
	a.addr = fmt.Sprint("127.0.0.1:", a.ports[0])
	a.name = fmt.Sprint("agent-", a.ports[0])
	t.Cleanup(func() {
		a.kill(t)
		if t.Failed() {
			t.Logf("%s:\n%s", a.name, a.log.tail())
		}
	})
	return a
}

// freePort finds a port below those that the system gives to connections, so that
// it is still free after a restart.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 12_000 + rand.IntN(18_000)
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			must(t, l.Close())
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// manager is the token that may do everything.
const manager = "00000000-0000-0000-0000-00000000aaaa"

// config is what the flags cannot say. The shortest election time-outs are what
// Consul recommends for production.
const config = `
ports { http = %d, server = %d, serf_lan = %d, serf_wan = -1, dns = -1, grpc = -1, grpc_tls = -1 }
performance { raft_multiplier = 1 }
acl {
  enabled = true
  default_policy = %q
  tokens { initial_management = %q, agent = %q }
}
leave_on_terminate = false
disable_update_check = true
`

func (a *realAgent) start(t *testing.T) {
	t.Helper()
	binary := os.Getenv("CONSUL_BINARY")
	if binary == "" {
		t.Fatal("CONSUL_BINARY names no consul: use `make test-consul`")
	}
	file := filepath.Join(a.dir, "agent.hcl")
	must(t, os.WriteFile(file, fmt.Appendf(nil, config, a.ports[0], a.ports[1], a.ports[2], a.policy, manager, manager), 0o600))
	args := append([]string{"agent", "-node", a.name, "-bind=127.0.0.1", "-client=127.0.0.1", "-data-dir", filepath.Join(a.dir, "data"), "-config-file", file, "-log-level=warn"}, a.args...)
	a.cmd = exec.Command(binary, args...)
	a.cmd.Stdout, a.cmd.Stderr = &a.log, &a.log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, a.cmd.Start())
}

func (a *realAgent) api(t *testing.T) *api.Client {
	t.Helper()
	cfg := a.client(t)
	cfg.Token = manager
	c, err := consul.Dial(cfg)
	must(t, err)
	return c.API()
}

// ready waits until writes go through.
func (a *realAgent) ready(t *testing.T) {
	t.Helper()
	wait(t, "consul to be ready", func() bool {
		if _, err := a.api(t).KV().Put(&api.KVPair{Key: "ready"}, nil); err != nil {
			return false
		}
		nodes, _, err := a.api(t).Catalog().Nodes(nil)
		return err == nil && slices.ContainsFunc(nodes, func(n *api.Node) bool { return n.Node == a.name })
	})
}

func (a *realAgent) kill(t *testing.T) {
	t.Helper()
	if a.cmd == nil {
		return
	}
	must(t, a.cmd.Process.Kill())
	var exit *exec.ExitError
	if err := a.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	a.cmd = nil
}

func (a *realAgent) client(*testing.T) consul.Config { return consul.Config{Address: a.addr} }

func (a *realAgent) restart(t *testing.T) {
	a.kill(t)
	a.start(t)
	a.ready(t)
}

// forget removes what an agent keeps on disk of the services registered with it.
func (a *realAgent) forget(t *testing.T) {
	a.kill(t)
	must(t, os.RemoveAll(filepath.Join(a.dir, "data", "services")))
	must(t, os.RemoveAll(filepath.Join(a.dir, "data", "checks")))
	a.start(t)
	a.ready(t)
}

func (a *realAgent) wipe(t *testing.T) {
	a.kill(t)
	must(t, os.RemoveAll(filepath.Join(a.dir, "data")))
	a.start(t)
	a.ready(t)
}

func (a *realAgent) pause(t *testing.T)  { must(t, a.cmd.Process.Signal(syscall.SIGSTOP)) }
func (a *realAgent) resume(t *testing.T) { must(t, a.cmd.Process.Signal(syscall.SIGCONT)) }

func (a *realAgent) token(*testing.T) string { return "00000000-0000-0000-0000-00000000dead" }

// join has agents know each other.
func (a *realAgent) join(others ...*realAgent) {
	for _, o := range others {
		a.args = append(a.args, fmt.Sprintf("-retry-join=127.0.0.1:%d", o.ports[2]))
	}
	a.args = append(a.args, "-retry-interval=1s")
}

// leads tells whether this server is the leader.
func (a *realAgent) leads(t *testing.T) bool {
	leader, err := a.api(t).Status().Leader()
	return err == nil && strings.HasSuffix(leader, fmt.Sprint(":", a.ports[1]))
}
