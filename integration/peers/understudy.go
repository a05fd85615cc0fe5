//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"understudy/integration/process"
)

// nodes is how many each system has.
const nodes = 3

// startLimit is how long anything may take to become ready.
const startLimit = 2 * time.Minute

// cluster is Understudy's three brokers and, unless one was there, their Consul.
type cluster struct {
	consul  *exec.Cmd
	brokers []*process.Broker
}

// startUnderstudy starts so many nodes: one of them alone, without Consul.
func startUnderstudy(size int) func(context.Context, *lab) (system, error) {
	return func(ctx context.Context, l *lab) (system, error) {
		c := &cluster{}
		if err := c.start(ctx, l, size); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
		return c, nil
	}
}

func (c *cluster) start(ctx context.Context, l *lab, size int) error {
	var args []string
	if size > 1 {
		agent, err := c.findConsul(ctx, l.consul)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("peers-%d", time.Now().UnixNano()) // an agent may remember earlier ones
		args = []string{"--cluster", name, "--consul", agent, "--link-listen", "127.0.0.1:0"}
	}
	for i := range size {
		b, err := process.Start(ctx, process.Options{DataDir: l.path(fmt.Sprint("understudy-", i)), Ready: startLimit, Args: args})
		if err != nil {
			return err
		}
		c.brokers = append(c.brokers, b)
	}
	return nil
}

// findConsul gives the address of an agent that is ready: the one that runs, or one
// that is started from the binary.
func (c *cluster) findConsul(ctx context.Context, agent string) (string, error) {
	if strings.Contains(agent, "/") {
		c.consul = exec.Command(agent, "agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-log-level", "error")
		c.consul.Stdout, c.consul.Stderr = io.Discard, os.Stderr
		if err := c.consul.Start(); err != nil {
			return "", err
		}
		agent = "127.0.0.1:8500"
	}
	return agent, awaitConsul(ctx, agent)
}

// awaitConsul waits until the agent knows a leader.
func awaitConsul(ctx context.Context, agent string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+agent+"/v1/kv/understudy?keys&recurse", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotFound {
				return nil
			}
		}
		if !pause(ctx) {
			return fmt.Errorf("the agent of Consul at %s is not ready: %w", agent, err)
		}
	}
}

// pause waits a moment before something is tried again; false: it is too late.
func pause(ctx context.Context) bool {
	select {
	case <-time.After(50 * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *cluster) Addrs() (addrs []string) {
	for _, b := range c.brokers {
		addrs = append(addrs, b.Addr())
	}
	return addrs
}

func (c *cluster) PIDs() (pids []int) {
	for _, b := range c.brokers {
		pids = append(pids, b.PID())
	}
	return pids
}

func (c *cluster) StopNode(i int) error { return c.brokers[i].Stop(startLimit) }

func (c *cluster) StartNode(ctx context.Context, i int) error { return c.brokers[i].Restart(ctx) }

func (c *cluster) Stop() error {
	ended := make(chan error, len(c.brokers))
	for _, b := range c.brokers {
		go func() { ended <- b.Stop(startLimit) }()
	}
	var err error
	for range c.brokers {
		err = errors.Join(err, <-ended)
	}
	if c.consul != nil && c.consul.Process != nil {
		_ = c.consul.Process.Kill() // it keeps nothing
		_ = c.consul.Wait()
	}
	return err
}

// freeAddrs are addresses on which nothing listens.
func freeAddrs(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
