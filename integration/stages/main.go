//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "stages:", err)
		os.Exit(1)
	}
}

func run() error {
	partition := flag.String("partition", "t-0", "TOPIC-PARTITION to which single records are produced meanwhile")
	duration := flag.Duration("duration", 5*time.Second, "for how long to look")
	flag.Parse()
	var pids []int
	for _, arg := range flag.Args() {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("%q is no process id", arg)
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		return errors.New("name the brokers' process ids")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	calls, err := trace(ctx, pids, *duration)
	if err != nil {
		return err
	}
	files, err := openFiles(pids)
	if err != nil {
		return err
	}
	records := follow(calls, files, *partition)
	if len(records) == 0 {
		return fmt.Errorf("no record to %s was seen from its request to its answer", *partition)
	}
	show(records)
	return nil
}

// trace has perf note the system calls of some processes.
func trace(ctx context.Context, pids []int, d time.Duration) (calls []call, err error) {
	dir, err := os.MkdirTemp("", "stages-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var list []string
	for _, pid := range pids {
		list = append(list, strconv.Itoa(pid))
	}
	data := filepath.Join(dir, "perf.data")
	record := exec.CommandContext(ctx, "perf", "record", "-q", "-e", "raw_syscalls:sys_enter,raw_syscalls:sys_exit", "-o", data,
		"-p", strings.Join(list, ","), "--", "sleep", fmt.Sprint(d.Seconds()))
	record.Stderr = os.Stderr
	if err := record.Run(); err != nil {
		return nil, fmt.Errorf("perf record: %w", err)
	}
	script := exec.CommandContext(ctx, "perf", "script", "-i", data, "-F", "pid,tid,time,event,trace")
	var said strings.Builder // mostly of what it passes over
	script.Stderr = &said
	out, err := script.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := script.Start(); err != nil {
		return nil, fmt.Errorf("perf script: %w", err)
	}
	calls, err = parse(out)
	if err := errors.Join(err, script.Wait()); err != nil {
		return nil, fmt.Errorf("perf script: %w\n%s", err, said.String())
	}
	return calls, nil
}

func show(records []record) {
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 1, Align: text.AlignLeft}})
	t.AppendHeader(table.Row{"stage", "median µs", "p90 µs"})
	for s := range stages {
		t.AppendRow(table.Row{s, micros(records, s, 0.5), micros(records, s, 0.9)})
	}
	t.Render()
	own := 0
	for i := range records {
		if records[i].ownSyncLast {
			own++
		}
	}
	fmt.Printf("%d records; the leader's own sync was the last to end for %d of them\n", len(records), own)
}
