package commands

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

// adminOffset lies between a node's port for Kafka and that of its admin
// endpoint, as it does for the defaults.
const adminOffset = 9644 - 9092

func newDev(streams Streams) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Start a whole local cluster in this terminal",
		Long: `Start a whole local cluster in this terminal: a Consul agent, unless
CONSUL_HTTP_ADDR says where one is, and so many brokers, each a process of its own.
Ctrl-C ends them all; what they keep stays in the data directory, and the next
start goes on with it.

While it runs, lines on standard input do things to single nodes:

  kill 2     end node 2 with kill -9, as a crash would
  stop 2     end it in order
  start 2    start it again
  quit       end everything`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return runDev(cmd.Context(), streams, o)
		},
	}
	cmd.Flags().IntVar(&o.brokers, "brokers", 3, "how many brokers")
	cmd.Flags().IntVar(&o.basePort, "base-port", 9092, fmt.Sprintf("port of the first broker; the others follow, and the admin endpoints are %d above", adminOffset))
	cmd.Flags().StringVar(&o.dataDir, "data-dir", "./understudy-dev", "where everything is kept")
	return cmd
}

type devOptions struct {
	brokers  int
	basePort int
	dataDir  string
}

func (o devOptions) check(cmd *cobra.Command) error {
	if o.brokers < 1 || o.brokers > 20 {
		return wrongUsage(cmd, "--brokers %d: it is from 1 to 20", o.brokers)
	}
	if highest := o.basePort + o.brokers - 1 + adminOffset; o.basePort < 1 || highest > 65535 {
		return wrongUsage(cmd, "--base-port %d: the ports would end at %d; they must be from 1 to 65535", o.basePort, highest)
	}
	return nil
}

// portsFree makes sure that no other cluster, or broker, has the ports.
func (o devOptions) portsFree() error {
	for i := range o.brokers {
		for _, port := range []int{o.basePort + i, o.basePort + i + adminOffset} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return hint(err, "something else is there; take other ports with --base-port N")
			}
			l.Close()
		}
	}
	return nil
}

// dev is a local cluster.
type dev struct {
	streams Streams
	nodes   []*devProcess
	consul  *devProcess // nil: somebody else's is used
}

func runDev(ctx context.Context, streams Streams, o devOptions) error {
	dir, err := filepath.Abs(o.dataDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return hint(err, "another place: --data-dir DIR")
	}
	if err := o.portsFree(); err != nil {
		return err
	}
	d := &dev{streams: streams}
	defer d.end()
	consul, err := d.findConsul(ctx, dir)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	for i := range o.brokers {
		d.nodes = append(d.nodes, devNode(program, consul, dir, o, i))
	}
	if err := d.startNodes(ctx); err != nil {
		return err
	}
	d.introduce(o, consul)
	return d.obey(ctx)
}

// devNode is the process of one broker. Topics have copies on three nodes unless
// more or fewer are asked for, so that one may be killed.
func devNode(program, consul, dir string, o devOptions, i int) *devProcess {
	port := o.basePort + i
	data := filepath.Join(dir, fmt.Sprintf("node-%d", i+1))
	return &devProcess{
		name: fmt.Sprintf("node %d", i+1), log: data + ".log", ready: "ready:",
		command: []string{
			program, "server", "--cluster", "dev", "--consul", consul, "--node-id", itoa(i + 1),
			"--listen", fmt.Sprintf("127.0.0.1:%d", port), "--admin-listen", fmt.Sprintf("127.0.0.1:%d", port+adminOffset), "--data-dir", data,
			"--default-replication-factor", itoa(min(3, o.brokers)),
		},
		details: []any{i + 1, fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", port+adminOffset), data, data + ".log"},
	}
}

// startNodes starts all brokers at once.
func (d *dev) startNodes(ctx context.Context) error {
	errs := make([]error, len(d.nodes))
	var starting sync.WaitGroup
	for i, n := range d.nodes {
		starting.Go(func() { errs[i] = n.start(ctx, d.ended) })
	}
	starting.Wait()
	return errors.Join(errs...)
}

// introduce says what there is.
func (d *dev) introduce(o devOptions, consul string) {
	rows := make([][]any, len(d.nodes))
	seeds := make([]string, len(d.nodes))
	for i, n := range d.nodes {
		rows[i] = n.details
		seeds[i] = n.details[1].(string)
	}
	out := d.streams.Out
	_ = writeTable(out, []column{{"node", true}, {name: "kafka"}, {name: "admin"}, {name: "data"}, {name: "log"}}, rows) // a terminal that has gone is noticed soon
	fmt.Fprintf(out, "\nready: %s\n", strings.Join(seeds, ","))
	if d.consul != nil {
		fmt.Fprintf(out, "to look into consul: export CONSUL_HTTP_ADDR=%s, and then consul kv get -recurse understudy/\n", consul)
	}
	fmt.Fprintf(out, "kill N, stop N, start N and quit do what they say; Ctrl-C ends everything\n")
	if o.basePort != 9092 {
		fmt.Fprintf(out, "for the other commands: export %s=%s %s=%v\n", brokersEnv, seeds[0], adminEnv, d.nodes[0].details[2])
	}
}

// ended tells that a process is no longer there.
func (d *dev) ended(p *devProcess, how string) {
	d.streams.note("%s has ended (%s)", p.name, how)
}

// obey carries out the lines of standard input until ctx ends.
func (d *dev) obey(ctx context.Context) error {
	lines := make(chan string)
	go func() {
		for scan := bufio.NewScanner(d.streams.In); scan.Scan(); {
			select {
			case lines <- scan.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			if strings.TrimSpace(line) == "quit" {
				return nil
			}
			if err := d.do(ctx, line); err != nil {
				d.streams.note("%v", err)
			}
		}
	}
}

// do carries out one line.
func (d *dev) do(ctx context.Context, line string) error {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	var number int
	if len(words) == 2 {
		fmt.Sscan(words[1], &number) // 0 is no node's number
	}
	if number < 1 || number > len(d.nodes) {
		return fmt.Errorf("%q: write kill N, stop N, start N or quit, with N from 1 to %d", line, len(d.nodes))
	}
	n := d.nodes[number-1]
	switch words[0] {
	case "kill":
		return n.signal(os.Kill)
	case "stop":
		return n.stop()
	case "start":
		if err := n.start(ctx, d.ended); err != nil {
			return err
		}
		d.streams.note("%s is back", n.name)
		return nil
	}
	return fmt.Errorf("%q: write kill N, stop N, start N or quit", line)
}

// end ends everything, Consul last.
func (d *dev) end() {
	var ending sync.WaitGroup
	for _, n := range d.nodes {
		ending.Go(func() { _ = n.stop() }) // one that has ended already
	}
	ending.Wait()
	if d.consul != nil {
		_ = d.consul.stop()
	}
}
