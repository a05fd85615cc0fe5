// Package reference runs Apache Kafka, for tests that compare with it: one node
// or a cluster of several, each a Java process that is broker and controller.
//
// The jars are not part of this project: make targets fetch them from Maven.
package reference

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say which Kafka to start.
type Options struct {
	Jars     string   // the folder of Kafka's jars
	Dir      string   // for configuration and data
	Nodes    int      // 0 counts as 1
	Settings []string // further lines of server.properties
	HeapMiB  int      // of each node; 0 is 1024
	Flags    []string // of the JVM
}

// Kafka is a cluster that runs. Stop ends it.
type Kafka struct {
	options Options
	nodes   []*node
}

// node is one process.
type node struct {
	addr, data string
	cmd        *exec.Cmd
	out        *Output
	exited     chan struct{}
}

// startLimit is how long a start may take.
const startLimit = 3 * time.Minute

//go:embed log4j2.properties
var log4j []byte

// clusterID is what the data directories are formatted for.
const clusterID = "MkU3OEVBNTcwNTJENDM2Qg"

// Start formats data directories, starts the nodes and waits until they serve.
func Start(ctx context.Context, o Options) (*Kafka, error) {
	o.Nodes = max(1, o.Nodes)
	if o.HeapMiB == 0 {
		o.HeapMiB = 1024
	}
	k := &Kafka{options: o}
	if err := k.start(ctx); err != nil {
		return nil, errors.Join(err, k.Stop())
	}
	return k, nil
}

func (k *Kafka) start(ctx context.Context) error {
	if err := os.MkdirAll(k.options.Dir, 0o700); err != nil {
		return err
	}
	ports, err := freePorts(2 * k.options.Nodes)
	if err != nil {
		return err
	}
	voters := make([]string, k.options.Nodes)
	for i := range voters {
		voters[i] = fmt.Sprintf("%d@127.0.0.1:%d", i+1, ports[2*i+1])
	}
	for i := range k.options.Nodes {
		if err := k.launch(ctx, i+1, ports[2*i], ports[2*i+1], strings.Join(voters, ",")); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, n := range k.nodes {
		if err := n.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// launch formats one node's directory and starts its process.
func (k *Kafka) launch(ctx context.Context, id, port, controller int, voters string) error {
	name := filepath.Join(k.options.Dir, fmt.Sprint("node", id))
	n := &node{addr: fmt.Sprintf("127.0.0.1:%d", port), data: name + "-logs"}
	lines := append([]string{
		"process.roles=broker,controller",
		fmt.Sprint("node.id=", id),
		"controller.quorum.voters=" + voters,
		fmt.Sprintf("listeners=PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d", n.addr, controller),
		"advertised.listeners=PLAINTEXT://" + n.addr,
		"controller.listener.names=CONTROLLER",
		"log.dirs=" + n.data,
		fmt.Sprint("offsets.topic.replication.factor=", k.options.Nodes),
		"group.initial.rebalance.delay.ms=0",
	}, k.options.Settings...)
	file := name + ".properties"
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	format, err := Java(ctx, k.options.Jars, nil, "kafka.tools.StorageTool", "format", "-t", clusterID, "-c", file)
	if err != nil {
		return err
	}
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("format: %w\n%s", err, out)
	}
	flags := append([]string{fmt.Sprintf("-Xmx%dm", k.options.HeapMiB), "-Dlog.level=info"}, k.options.Flags...)
	if n.cmd, err = Java(context.WithoutCancel(ctx), k.options.Jars, flags, "kafka.Kafka", file); err != nil {
		return err
	}
	if err := n.run(); err != nil {
		return err
	}
	k.nodes = append(k.nodes, n)
	return nil
}

// run starts the node's process.
func (n *node) run() error {
	cmd, exited := n.cmd, make(chan struct{})
	n.out = &Output{seen: make(chan struct{}), want: "Kafka Server started"}
	n.exited = exited
	cmd.Stdout, cmd.Stderr = n.out, n.out
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait() // 143, which says that it was stopped
		close(exited)
	}()
	return nil
}

// await waits until the node serves.
func (n *node) await(ctx context.Context) error {
	select {
	case <-n.out.seen:
		return nil
	case <-n.exited:
		return fmt.Errorf("Kafka ended:\n%s", n.out.String())
	case <-ctx.Done():
		return fmt.Errorf("Kafka did not start (%w):\n%s", ctx.Err(), n.out.String())
	}
}

// StopNode ends one node in order.
func (k *Kafka) StopNode(i int) error {
	n := k.nodes[i]
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.NewTimer(stopLimit)
	defer late.Stop()
	select {
	case <-n.exited:
		return nil
	case <-late.C:
		return fmt.Errorf("node %d of Kafka did not end within %v", i, stopLimit)
	}
}

// StartNode starts a node that was stopped, and waits until it serves.
func (k *Kafka) StartNode(ctx context.Context, i int) error {
	n, before := k.nodes[i], k.nodes[i].cmd
	n.cmd = exec.Command(before.Path, before.Args[1:]...)
	if err := n.run(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return n.await(ctx)
}

// Addrs is where clients connect, node by node.
func (k *Kafka) Addrs() (addrs []string) {
	for _, n := range k.nodes {
		addrs = append(addrs, n.addr)
	}
	return addrs
}

// Data are the nodes' log directories.
func (k *Kafka) Data() (dirs []string) {
	for _, n := range k.nodes {
		dirs = append(dirs, n.data)
	}
	return dirs
}

// PIDs are the nodes' processes.
func (k *Kafka) PIDs() (pids []int) {
	for _, n := range k.nodes {
		pids = append(pids, n.cmd.Process.Pid)
	}
	return pids
}

// Log is what a node has printed.
func (k *Kafka) Log(node int) string { return k.nodes[node].out.String() }

// stopLimit is how long an orderly end may take before the process is killed.
const stopLimit = time.Minute

// Stop ends all nodes.
func (k *Kafka) Stop() error {
	for _, n := range k.nodes {
		_ = n.cmd.Process.Signal(syscall.SIGTERM) // fails only when it is gone
	}
	late := time.NewTimer(stopLimit)
	defer late.Stop()
	for _, n := range k.nodes {
		select {
		case <-n.exited:
		case <-late.C:
			late.Reset(0)
			_ = n.cmd.Process.Kill() // fails only when it is gone
			<-n.exited
		}
	}
	return nil
}

// Java is a command of one of Kafka's classes. Without flags it is one of the
// tools, which are to start quickly.
func Java(ctx context.Context, jars string, flags []string, class string, args ...string) (*exec.Cmd, error) {
	if flags == nil {
		flags = []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"}
	}
	config, err := logging()
	if err != nil {
		return nil, err
	}
	line := append([]string{}, flags...)
	line = append(line, "-Dlog4j2.configurationFile="+config, "-cp", filepath.Join(jars, "*"), class)
	return exec.CommandContext(ctx, "java", append(line, args...)...), nil
}

// logging is a file that says how Kafka logs. It stays in the folder for temporary files.
var logging = sync.OnceValues(func() (string, error) {
	file := filepath.Join(os.TempDir(), fmt.Sprintf("understudy-log4j2-%d.properties", os.Getuid()))
	return file, os.WriteFile(file, log4j, 0o600)
})

func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// Output keeps what a process prints; the zero value is ready. It can be used
// from several goroutines.
type Output struct {
	want string
	seen chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
	once sync.Once
}

// Write keeps p, and notices a line that is waited for.
func (l *Output) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	for scan := bufio.NewScanner(bytes.NewReader(p)); scan.Scan(); {
		if l.seen != nil && strings.Contains(scan.Text(), l.want) {
			l.once.Do(func() { close(l.seen) })
		}
	}
	return len(p), nil
}

// String is all that was printed.
func (l *Output) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
