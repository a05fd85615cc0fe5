//go:build cluster

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// agent is a Consul server in a place of its own, over all its restarts.
type agent struct {
	place *place
	args  []string
	log   *os.File
	cmd   *exec.Cmd
	dir   string
}

// isConsul reports whether a server of Consul's is at a place.
func isConsul(p *place) bool { return strings.HasPrefix(p.name, "consul") }

// Consul's ports.
const (
	consulHTTP = 8500
	consulSerf = 8301
)

// consulConfig has the servers elect as quickly as Consul recommends for
// production. One that was cut off for a moment stays one of them.
const consulConfig = `
ports { serf_wan = -1, dns = -1, grpc = -1, grpc_tls = -1 }
performance { raft_multiplier = 1 }
autopilot { cleanup_dead_servers = false, server_stabilization_time = "1s" }
disable_update_check = true
leave_on_terminate = false
`

// startConsul starts servers and waits until they serve.
func startConsul(t testing.TB, n network, dir string, servers int) []*agent {
	t.Helper()
	var all []*agent
	for i := range servers {
		name := fmt.Sprint("consul", i+1)
		a := &agent{place: n.place(t, name, byte(21+i)), dir: filepath.Join(dir, name)}
		if err := os.MkdirAll(a.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(a.dir, "agent.hcl"), []byte(consulConfig), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		if a.log, err = os.Create(filepath.Join(dir, name+".log")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.log.Close() })
		a.args = []string{"agent", "-server", fmt.Sprint("-bootstrap-expect=", servers), "-node=" + name,
			"-bind=" + a.place.addr.String(), "-client=" + a.place.addr.String(), "-data-dir=" + filepath.Join(a.dir, "data"),
			"-config-file=" + filepath.Join(a.dir, "agent.hcl"), "-log-level=info", "-retry-interval=1s"}
		for j := range servers {
			if j != i {
				a.args = append(a.args, fmt.Sprintf("-retry-join=%s:%d", n.address(byte(21+j)), consulSerf))
			}
		}
		all = append(all, a)
	}
	for _, a := range all {
		if err := a.start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.kill)
	}
	for _, a := range all {
		if err := a.awaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func (a *agent) start() error {
	binary := os.Getenv("CONSUL_BINARY")
	if binary == "" {
		return fmt.Errorf("CONSUL_BINARY names no consul: use `make cluster`")
	}
	line := slices.Concat(a.place.launcher, []string{binary}, a.args)
	a.cmd = exec.Command(line[0], line[1:]...)
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	return a.cmd.Start()
}

func (a *agent) url(path string) string { return "http://" + a.place.at(consulHTTP) + path }

// awaitReady waits until writes go through, and this server is in the catalog.
func (a *agent) awaitReady(ctx context.Context) error {
	return await(ctx, "consul to be ready", func(ctx context.Context) error {
		if err := a.call(ctx, http.MethodPut, "/v1/kv/ready", nil); err != nil {
			return err
		}
		var nodes []struct{ Node string }
		if err := a.call(ctx, http.MethodGet, "/v1/catalog/nodes", &nodes); err != nil {
			return err
		}
		for _, n := range nodes {
			if n.Node == a.place.name {
				return nil
			}
		}
		return fmt.Errorf("%s is not listed", a.place.name)
	})
}

func (a *agent) call(ctx context.Context, method, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.url(path), strings.NewReader("x"))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, body)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(body, answer)
}

// awaitWhole waits until all servers have found together, so that any one can be
// lost without the others losing their majority.
func (a *agent) awaitWhole(ctx context.Context, servers int) error {
	return await(ctx, "all servers of Consul's", func(ctx context.Context) error {
		var health struct {
			Healthy          bool
			FailureTolerance int
		}
		err := a.call(ctx, http.MethodGet, "/v1/operator/autopilot/health", &health)
		if err == nil && (!health.Healthy || health.FailureTolerance < (servers-1)/2) {
			err = fmt.Errorf("consul says %+v", health)
		}
		return err
	})
}

// leads reports whether this server is the leader of its peers, as they say.
func (a *agent) leads(ctx context.Context) bool {
	var leader string
	err := a.call(ctx, http.MethodGet, "/v1/status/leader", &leader)
	return err == nil && strings.HasPrefix(leader, a.place.addr.String()+":")
}

func (a *agent) kill() {
	if a.cmd != nil {
		_ = a.cmd.Process.Kill() // fails only when it is gone
		_ = a.cmd.Wait()         // it was killed
		a.cmd = nil
	}
}

func (a *agent) freeze() error { return a.cmd.Process.Signal(syscall.SIGSTOP) }
func (a *agent) thaw() error   { return a.cmd.Process.Signal(syscall.SIGCONT) }
