//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"understudy/integration/process"
)

func main() {
	if text := os.Getenv(skeletonEnv); text != "" {
		fmt.Fprintln(os.Stderr, "skeleton:", beSkeleton(text))
		os.Exit(1)
	}
	err := run()
	process.Cleanup()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// note tells the person who waits.
func note(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// session is one run of the command.
type session struct {
	lab       lab
	systems   []kind
	scenarios []scenario
	rounds    int
	duration  time.Duration
	warmup    time.Duration
	settle    time.Duration // of systems that get better with time
	touch     int64         // bytes of memory that are written to before each measurement
	out       string
	results   results
	failed    int // what could not be measured
}

func run() error {
	s, err := parse()
	if err != nil || s == nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(s.lab.dir)
	s.results.Machine = thisMachine(&s.lab)
	for round := 1; round <= s.rounds && ctx.Err() == nil; round++ {
		order := slices.Clone(s.systems)
		if round%2 == 0 {
			slices.Reverse(order) // who comes first in one round comes last in the next
		}
		for _, k := range order {
			if err := s.visit(ctx, round, k); err != nil {
				return err
			}
		}
	}
	fmt.Print(s.results.markdown())
	if s.failed > 0 && ctx.Err() == nil {
		return fmt.Errorf("%d measurements failed, see above", s.failed)
	}
	return ctx.Err()
}

// length is how long a session takes.
type length struct {
	rounds                   int
	duration, warmup, settle time.Duration
	touchMiB                 int64
}

var (
	fullLength  = length{3, 10 * time.Second, 2 * time.Second, 90 * time.Second, 8192}
	quickLength = length{1, 5 * time.Second, time.Second, 20 * time.Second, 4096}
)

func parse() (*session, error) {
	s := &session{}
	quick := flag.Bool("quick", false, "a useful part; short loads and one round, unless other flags say more")
	usual := fullLength
	if slices.ContainsFunc(os.Args[1:], func(a string) bool { return strings.TrimLeft(a, "-") == "quick" }) {
		usual = quickLength
	}
	only := flag.String("only", "", "scenarios to run, a regular expression; empty: all")
	systems := flag.String("systems", "", "systems to run, separated by commas; empty: all")
	list := flag.Bool("list", false, "name what there is")
	flag.IntVar(&s.rounds, "rounds", usual.rounds, "how often everything is measured")
	flag.DurationVar(&s.duration, "duration", usual.duration, "of each load")
	flag.DurationVar(&s.warmup, "warmup", usual.warmup, "before each load")
	flag.DurationVar(&s.settle, "settle", usual.settle, "load that Kafka gets before its first figures, for its compiler")
	touch := flag.Int64("touch-mib", usual.touchMiB, "MiB of memory written to and freed before each measurement, so that all find it alike")
	flag.StringVar(&s.out, "out", "../../build/peers", "where the results go")
	flag.StringVar(&s.lab.dir, "dir", "", "where data is kept meanwhile; empty: a folder in that for results")
	flag.StringVar(&s.lab.consul, "consul", os.Getenv("CONSUL_BINARY"), "Consul's binary, or HOST:PORT of an agent that runs")
	flag.StringVar(&s.lab.jars, "kafka", "../../build/kafka-peer", "the folder of Kafka's jars")
	flag.StringVar(&s.lab.nats, "nats", "../../build/nats/nats-server", "NATS's binary")
	flag.Parse()
	if *list {
		for _, x := range scenarios {
			fmt.Printf("%-18s %s (%s)\n", x.name, x.about, strings.Join(x.on, ", "))
		}
		return nil, nil
	}
	s.touch = *touch << 20
	if s.lab.dir == "" {
		s.lab.dir = filepath.Join(s.out, "data")
	}
	return s, s.choose(*only, *systems, *quick && *only == "")
}

// choose picks scenarios and systems.
func (s *session) choose(only, systems string, quick bool) error {
	wanted, err := regexp.Compile("^(" + only + ")$")
	if err != nil {
		return err
	}
	for _, x := range scenarios {
		if (only == "" || wanted.MatchString(x.name)) && (x.quick || !quick) {
			s.scenarios = append(s.scenarios, x)
		}
	}
	if len(s.scenarios) == 0 {
		return fmt.Errorf("no scenario is called %q; -list names them", only)
	}
	if systems == "" {
		s.systems = kinds
		return nil
	}
	for name := range strings.SplitSeq(systems, ",") {
		k, err := kindOf(name)
		if err != nil {
			return err
		}
		s.systems = append(s.systems, k)
	}
	return nil
}

// visit runs one system and measures everything on it.
func (s *session) visit(ctx context.Context, round int, k kind) (err error) {
	var todo []scenario
	for _, x := range s.scenarios {
		if slices.Contains(x.on, k.name) {
			todo = append(todo, x)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	if err := s.lab.fresh(); err != nil {
		return err
	}
	note("round %d: %s", round, k.name)
	began := time.Now()
	sys, err := k.start(ctx, &s.lab)
	if err != nil { // the others' figures are worth having
		note("   %s did not start: %v", k.name, err)
		s.failed++
		return ctx.Err()
	}
	note("   started in %.2f s", time.Since(began).Seconds())
	defer func() {
		if stopErr := sys.Stop(); stopErr != nil && !todo[len(todo)-1].ruins {
			note("   %s did not stop well: %v", k.name, stopErr)
		}
	}()
	if k.warm {
		s.warm(ctx, k, sys)
	}
	for i, x := range todo {
		if i > 0 && todo[i-1].ruins {
			if sys, err = s.renew(ctx, k, sys); err != nil {
				return err
			}
		}
		if err := s.measure(ctx, round, k, sys, x); err != nil {
			return err
		}
	}
	return nil
}

// renew starts a system anew that has lost nodes.
func (s *session) renew(ctx context.Context, k kind, sys system) (system, error) {
	_ = sys.Stop() // some of its nodes did not stop well, as was asked
	if err := s.lab.fresh(); err != nil {
		return sys, err
	}
	renewed, err := k.start(ctx, &s.lab)
	if err != nil {
		return sys, fmt.Errorf("%s did not start anew: %w", k.name, err)
	}
	return renewed, nil
}

// measure runs one scenario on a system and keeps its figures.
func (s *session) measure(ctx context.Context, round int, k kind, sys system, x scenario) error {
	if err := touchMemory(s.touch); err != nil {
		return err
	}
	t := &trial{kind: k, system: sys, lab: &s.lab, load: x.load, duration: s.duration, warmup: s.warmup}
	f, err := x.run(ctx, t)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		note("   %-18s failed: %v", x.name, err)
		s.failed++
		return nil
	}
	note("   %-18s %s", x.name, f)
	s.results.Samples = append(s.results.Samples, sample{round, x.name, k.name, f})
	return s.results.write(s.out)
}

// warm loads a system in the ways in which it will be measured.
func (s *session) warm(ctx context.Context, k kind, sys system) {
	for _, l := range []load{{size: 1 << 10, batch: 16 << 10}, {size: 100}, {size: 1 << 10}} {
		t := &trial{kind: k, system: sys, lab: &s.lab, load: l, duration: s.settle / 3}
		if _, err := produce(ctx, t); err != nil {
			note("   warm-up failed: %v", err)
		}
	}
}

// String lists figures in the order of tables.
func (f figures) String() string {
	var parts []string
	for _, c := range columns {
		if v, ok := f[c]; ok {
			parts = append(parts, number(v)+" "+c)
		}
	}
	return strings.Join(parts, ", ")
}
