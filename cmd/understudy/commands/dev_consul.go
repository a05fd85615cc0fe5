package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// consulPatience is how long a Consul agent may take to be ready.
const consulPatience = time.Minute

// findConsul gives the address of a Consul agent, one of ours if there is none.
func (d *dev) findConsul(ctx context.Context, dir string) (address string, err error) {
	if address = os.Getenv("CONSUL_HTTP_ADDR"); address != "" {
		return address, nil
	}
	program, err := exec.LookPath("consul")
	if err != nil {
		return "", hint(errors.New("the nodes of a cluster find each other in Consul, and there is no consul program here"),
			"get one from https://developer.hashicorp.com/consul/install, or, in a clone, with `make consul`, as build/consul/consul, and put it on the PATH;\nor say where an agent is with CONSUL_HTTP_ADDR")
	}
	if d.consul, address, err = devConsul(program, filepath.Join(dir, "consul")); err != nil {
		return "", err
	}
	d.streams.note("starting consul, which takes some seconds (log: %s)", d.consul.log)
	if err := d.consul.start(ctx, d.ended); err != nil {
		return "", err
	}
	return address, awaitConsul(ctx, address, d.consul.log)
}

// devConsul is an agent that is a server by itself, keeps its data, and takes
// ports that are free.
func devConsul(program, dir string) (*devProcess, string, error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, "", err
	}
	return &devProcess{
		name: "consul", log: dir + ".log",
		command: []string{
			program, "agent", "-server", "-bootstrap-expect=1", "-node=dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-data-dir", dir,
			"-http-port", itoa(ports[0]), "-server-port", itoa(ports[1]), "-serf-lan-port", itoa(ports[2]),
			"-serf-wan-port=-1", "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-log-level=warn",
			// A single server elects itself at once, and hears of its ports having changed.
			"-hcl", `performance { raft_multiplier = 1 } connect { enabled = false } disable_update_check = true`,
		},
	}, fmt.Sprintf("127.0.0.1:%d", ports[0]), nil
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // all are held until all are found
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// awaitConsul waits until the agent knows of a leader.
func awaitConsul(ctx context.Context, address, log string) error {
	ctx, cancel := context.WithTimeout(ctx, consulPatience)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		if consulHasLeader(ctx, address) {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return errInterrupted
			}
			return hint(fmt.Errorf("consul at %s has no leader after %v", address, consulPatience), "its log: %s", log)
		}
	}
}

// consulHasLeader asks an agent; "" in quotes is how it says that there is none.
func consulHasLeader(ctx context.Context, address string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/status/leader", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return err == nil && resp.StatusCode == http.StatusOK && len(body) > len(`""`)
}
