//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"

	"understudy/integration/peers/skeleton"
	"understudy/integration/reference"
)

// startKafka starts so many nodes of Kafka with its defaults, but for the replicas; on
// a machine that is busy a node may take longer to register.
func startKafka(size int) func(context.Context, *lab) (system, error) {
	return func(ctx context.Context, l *lab) (system, error) {
		return reference.Start(ctx, reference.Options{
			Jars: l.jars, Dir: l.path("kafka"), Nodes: size,
			Settings: []string{
				fmt.Sprint("default.replication.factor=", size), fmt.Sprint("min.insync.replicas=", min(2, size)),
				fmt.Sprint("transaction.state.log.replication.factor=", size), "initial.broker.registration.timeout.ms=180000",
			},
			Flags: []string{"-Xms1024m", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"},
		})
	}
}

// processes is a system of plain processes.
type processes struct {
	addrs []string
	cmds  []*exec.Cmd
}

func (p *processes) Addrs() []string { return p.addrs }

func (p *processes) PIDs() (pids []int) {
	for _, c := range p.cmds {
		pids = append(pids, c.Process.Pid)
	}
	return pids
}

// Stop ends the processes, however.
func (p *processes) Stop() error {
	for _, c := range p.cmds {
		_ = c.Process.Signal(syscall.SIGTERM) // fails only when it is gone
	}
	for _, c := range p.cmds {
		_ = c.Wait() // says that it was ended
	}
	return nil
}

func (p *processes) launch(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmds = append(p.cmds, cmd)
	return nil
}

// startNATS starts three NATS servers with JetStream.
func startNATS(synced bool) func(context.Context, *lab) (system, error) {
	return func(ctx context.Context, l *lab) (system, error) {
		p := &processes{}
		if err := p.startNATS(ctx, l, synced); err != nil {
			return nil, errors.Join(err, p.Stop())
		}
		return p, nil
	}
}

func (p *processes) startNATS(ctx context.Context, l *lab, synced bool) error {
	clients, err := freeAddrs(nodes)
	if err != nil {
		return err
	}
	routes, err := freeAddrs(nodes)
	if err != nil {
		return err
	}
	interval := "2m"
	if synced {
		interval = "always"
	}
	p.addrs = clients
	for i := range nodes {
		config := fmt.Sprintf("server_name: n%d\nlisten: %s\njetstream { store_dir: %q, sync_interval: %q }\ncluster { name: peers, listen: %s, routes: [%s] }\n",
			i, clients[i], l.path(fmt.Sprint("nats-", i)), interval, routes[i], "nats://"+strings.Join(routes, ",nats://"))
		file := l.path(fmt.Sprintf("nats-%d.conf", i))
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return err
		}
		if err := p.launch(exec.Command(l.nats, "-c", file, "-l", l.path(fmt.Sprintf("nats-%d.log", i)))); err != nil {
			return err
		}
	}
	return awaitNATS(ctx, clients)
}

// awaitNATS waits until JetStream has a leader and knows all nodes.
func awaitNATS(ctx context.Context, addrs []string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var err error
	for pause(ctx) {
		var nc *nats.Conn
		if nc, err = nats.Connect("nats://" + addrs[0]); err != nil {
			continue
		}
		err = placeable(ctx, nc)
		nc.Close()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("NATS is not ready: %w", err)
}

// startSkeleton starts the skeleton, or the sink, which are this program.
func startSkeleton(sync, sink bool) func(context.Context, *lab) (system, error) {
	return func(ctx context.Context, l *lab) (system, error) {
		p := &processes{}
		if err := p.startSkeleton(ctx, l, sync, sink); err != nil {
			return nil, errors.Join(err, p.Stop())
		}
		return p, nil
	}
}

const (
	skeletonTopic = skeleton.Topic
	skeletonEnv   = "UNDERSTUDY_PEERS_SKELETON"
)

func (p *processes) startSkeleton(_ context.Context, l *lab, sync, sink bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	clients, err := freeAddrs(nodes)
	if err != nil {
		return err
	}
	links, err := freeAddrs(nodes)
	if err != nil {
		return err
	}
	p.addrs = clients
	var ready []*os.File
	for i := range nodes {
		o := skeleton.Options{ID: i, Kafka: clients, Links: links, Dir: l.path(fmt.Sprint("skeleton-", i)), Partitions: 6, Sync: sync, Sink: sink}
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return err
		}
		text, err := json.Marshal(o)
		if err != nil {
			return err
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		defer w.Close()
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), skeletonEnv+"="+string(text))
		cmd.Stdout, cmd.Stderr = w, os.Stderr
		if err := p.launch(cmd); err != nil {
			return err
		}
		ready = append(ready, r)
	}
	for _, r := range ready {
		if _, err := r.Read(make([]byte, 16)); err != nil {
			return err
		}
	}
	return nil
}

// beSkeleton is what the program does when it is started as a node of one, until
// that cannot go on.
func beSkeleton(text string) error {
	var o skeleton.Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	return skeleton.Run(o)
}
