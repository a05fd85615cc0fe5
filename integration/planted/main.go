package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	var (
		only  = flag.String("bug", "", "look for the bugs alone whose names this regular expression matches")
		seeds = flag.Int("seeds", 0, "look through so many seeds, and not through as many as the table says")
		from  = flag.Uint64("from", 1, "the first seed")
		blind = flag.Bool("blind", false, "let the simulator know no more than clients see")
	)
	rows := flag.Bool("rows", false, "only print the rows of the table in docs/reliability.md")
	flag.Parse()
	if *rows {
		for _, b := range bugs {
			fmt.Println(b.row())
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only, *from, *seeds, *blind); err != nil {
		fmt.Fprintln(os.Stderr, "planted:", err)
		os.Exit(1)
	}
}

// run looks for the bugs and prints what was found; the error says which were not,
// or as something else than the table says.
func run(ctx context.Context, only string, from uint64, seeds int, blind bool) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "planted-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	simulator, err := build(ctx, dir)
	if err != nil {
		return err
	}
	var wrong []error
	if found, err := look(ctx, simulator, "none", from, 20, false); err != nil || found.seed != 0 {
		return fmt.Errorf("without a bug, seed %d: %s (%w)", found.seed, found.text, err)
	}
	for _, b := range bugs {
		if !match.MatchString(b.name) {
			continue
		}
		found, err := look(ctx, simulator, b.name, from, cmp.Or(seeds, b.within), blind)
		if err != nil {
			return err
		}
		fmt.Printf("%-40s seed %4d  %s\n", b.name, found.seed, found.text)
		switch {
		case found.seed == 0:
			wrong = append(wrong, fmt.Errorf("%s is not found in %d seeds", b.name, cmp.Or(seeds, b.within)))
		case !blind && !slices.Contains(b.as, found.name):
			wrong = append(wrong, fmt.Errorf("%s is found as %q, and the table says %q", b.name, found.name, b.as))
		}
	}
	return errors.Join(wrong...)
}

// build builds the simulator with all bugs in it.
func build(ctx context.Context, dir string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	files, err := plant(root, bugs)
	if err != nil {
		return "", err
	}
	overlay, err := writeOverlay(root, dir, files)
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "simulate")
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", out, "./integration/sim/simulate")
	cmd.Dir = root
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, text)
	}
	return out, nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
}

// finding is the first seed that failed.
type finding struct {
	seed uint64 // 0: none did
	name string
	text string
}

// look runs seeds with a bug switched on until one fails.
func look(ctx context.Context, simulator, bug string, from uint64, seeds int, blind bool) (finding, error) {
	cmd := exec.CommandContext(ctx, simulator, "-first", "-from", strconv.FormatUint(from, 10), "-seeds", strconv.Itoa(seeds), "-blind="+strconv.FormatBool(blind))
	cmd.Env = append(os.Environ(), "PLANTED="+bug)
	out, err := cmd.Output()
	if err == nil {
		return finding{text: strings.TrimSpace(string(out))}, nil
	}
	line := strings.TrimSpace(string(out))
	number, text, _ := strings.Cut(line, " ")
	seed, bad := strconv.ParseUint(number, 10, 64)
	if bad != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s%s", err, line, exit.Stderr)
		}
		return finding{}, fmt.Errorf("%s: %w", bug, err)
	}
	name, _, _ := strings.Cut(text, " at ")
	return finding{seed, name, text}, nil
}

// row is a bug in the documentation's table.
func (b *bug) row() string {
	var files []string
	for _, c := range b.changes {
		if name := filepath.Base(c.file); !slices.Contains(files, name) {
			files = append(files, name)
		}
	}
	return fmt.Sprintf("| %s | %s | %d | %s |", b.what, strings.Join(files, ", "), b.within, strings.Join(b.as, ", "))
}
