//go:build cluster

package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"golang.org/x/sys/unix"
)

// ill is a fault that chaos may choose: one of TestFaults, or of those below.
type ill struct {
	fault
	// can says why this machine cannot do it, or nil; it leaves nothing behind.
	can func(context.Context, *chaos) error
}

// impossible is what of the list of faults cannot be done to processes that share
// one kernel, whatever the machine.
var impossible = []string{
	"clock steps: all processes share the kernel's clock (the simulator does them)",
	"lying disks: a disk that acknowledges what it has not written cannot be told from a good one by its broker (the simulator does them)",
}

// ills are all faults that there are.
func ills() (list []ill) {
	for _, f := range faults {
		switch f.name {
		case "nothing":
		case "cut-consul-agent", "cut-machine":
			list = append(list, ill{fault: f, can: canCutConsul})
		default:
			list = append(list, ill{fault: f})
		}
	}
	return append(list,
		ill{fault: fault{name: "freeze-15s", victim: leading, happen: freeze, heal: thaw, lasts: true, hold: 15 * time.Second}},
		ill{fault: fault{name: "roll", happen: roll}},
		ill{fault: fault{name: "restart-storm", victim: leading, happen: storm}},
		ill{fault: fault{name: "kill-two", happen: killTwo, heal: restartDown}},
		ill{fault: fault{name: "consul-frozen", lasts: true, happen: freezeConsuls, heal: thawConsuls}},
		ill{fault: fault{name: "consul-killed", lasts: true, happen: killConsuls, heal: startConsuls}},
		ill{fault: fault{name: "lossy-network", lasts: true, happen: lose, heal: keepAll}, can: canLose},
		ill{fault: fault{name: "thin-link", victim: leading, lasts: true, happen: thin, heal: widen}, can: canThin},
		ill{fault: fault{name: "slow-links", lasts: true, happen: slowDown, heal: hurry}, can: canSlowDown},
		ill{fault: fault{name: "resets", happen: resets}, can: canReset},
		ill{fault: fault{name: "slow-syncs", victim: leading, lasts: true, happen: inject("delay_enter=200000"), heal: stopTracing}, can: canTrace},
		ill{fault: fault{name: "failing-sync", victim: leading, lasts: true, happen: inject("error=EIO:when=5+50"), heal: stopTracing}, can: canTrace},
		ill{fault: fault{name: "flipped-bit", victim: following, happen: flipBit, heal: repair}},
		ill{fault: fault{name: "torn-tail", victim: following, happen: tearTail, heal: repair}},
		ill{fault: fault{name: "index-lost", victim: leadOnly, happen: loseIndexes, heal: restart}},
		ill{fault: fault{name: "checkpoints-lost", victim: leadOnly, happen: loseCheckpoints, heal: restart}},
		ill{fault: fault{name: "power-cut", victim: leading, happen: cutPower, heal: restart}, can: canCutPower},
		ill{fault: fault{name: "power-cut-of-all", happen: cutPowerOfAll, heal: restartDown}, can: canCutPower},
		ill{fault: fault{name: "full-disk", victim: leading, lasts: true, happen: fillDisk, heal: emptySome}, can: canCutPower},
		ill{fault: fault{name: "few-files", victim: leading, lasts: true, happen: fewFiles, heal: manyFiles}},
		ill{fault: fault{name: "empty-disk", victim: following, happen: emptyDisk, heal: restart}},
	)
}

// tryOut finds out what can be done here.
func (c *chaos) tryOut(ctx context.Context) {
	c.unable = append(c.unable, impossible...)
	for _, i := range ills() {
		if *chaosOnly != "" && !slices.Contains(strings.Split(*chaosOnly, ","), i.name) {
			continue
		}
		if i.can != nil {
			if err := i.can(ctx, c); err != nil {
				c.unable = append(c.unable, fmt.Sprintf("%s: %v", i.name, err))
				continue
			}
		}
		c.able = append(c.able, i)
	}
	for _, why := range c.unable {
		c.t.Log("cannot be done here: ", why)
	}
	if len(c.able) == 0 {
		c.t.Fatalf("no fault is called %s, or this machine can do none", *chaosOnly)
	}
}

// roll stops every node in order and starts it again, one after the other.
func roll(ctx context.Context, r *round) error {
	for _, i := range r.rand.Perm(len(r.nodes)) {
		n := r.nodes[i]
		if err := errors.Join(n.end(), n.Restart(ctx)); err != nil {
			return err
		}
		if err := r.awaitInSync(ctx, r.loads.topic); err != nil {
			return err
		}
	}
	return nil
}

// storm kills a node again and again as soon as it is back.
func storm(ctx context.Context, r *round) error {
	for range 3 + r.rand.IntN(3) {
		r.victim.Kill()
		if err := r.victim.Restart(ctx); err != nil {
			return err
		}
		sleep(ctx, chance(r.rand, 0, time.Second))
	}
	return nil
}

func killTwo(ctx context.Context, r *round) error {
	for _, i := range r.rand.Perm(len(r.nodes))[:2] {
		r.nodes[i].Kill()
		sleep(ctx, chance(r.rand, 0, time.Second))
	}
	return nil
}

// restartDown starts the nodes that do not run.
func restartDown(ctx context.Context, r *round) error {
	return every(r.nodes, func(n *node) error {
		select {
		case <-n.Exited():
			return n.Restart(ctx)
		default:
			return nil
		}
	})
}

func freezeConsuls(_ context.Context, r *round) error {
	return every(r.consuls, (*agent).freeze)
}

func thawConsuls(_ context.Context, r *round) error { return every(r.consuls, (*agent).thaw) }

func killConsuls(_ context.Context, r *round) error {
	for _, a := range r.consuls {
		a.kill()
	}
	return nil
}

func lose(_ context.Context, r *round) error {
	return r.net.lose(1 + r.rand.IntN(10))
}

func keepAll(_ context.Context, r *round) error { return r.net.lose(0) }

func canLose(_ context.Context, c *chaos) error {
	return errors.Join(c.net.lose(1), c.net.lose(0))
}

func thin(_ context.Context, r *round) error  { return r.net.thin(r.victim.place, true) }
func widen(_ context.Context, r *round) error { return r.net.thin(r.victim.place, false) }

func canThin(_ context.Context, c *chaos) error {
	if err := c.net.thin(c.nodes[0].place, true); err != nil {
		return err
	}
	return c.net.thin(c.nodes[0].place, false)
}

// slowDown has everything that is said take longer.
func slowDown(_ context.Context, r *round) error {
	return r.net.delay(chance(r.rand, 10*time.Millisecond, 150*time.Millisecond))
}

func hurry(_ context.Context, r *round) error { return r.net.delay(0) }

func canSlowDown(_ context.Context, c *chaos) error { return c.net.delay(0) }

// resets ends all connections, a few times.
func resets(ctx context.Context, r *round) error {
	for range 1 + r.rand.IntN(5) {
		if err := r.net.reset(); err != nil {
			return err
		}
		sleep(ctx, chance(r.rand, 0, time.Second))
	}
	return nil
}

func canReset(_ context.Context, c *chaos) error { return c.net.canReset() }

// canCutConsul says why servers of Consul's cannot be cut off from each other.
func canCutConsul(_ context.Context, c *chaos) error {
	return c.net.passesBy(c.consuls[0].place, c.consuls[1].place)
}

// inject has strace do something to the victim's syncs.
func inject(what string) func(context.Context, *round) error {
	return func(_ context.Context, r *round) error {
		cmd := exec.Command("strace", "-f", "-qq", "-o", os.DevNull, "-p", strconv.Itoa(r.victim.PID()),
			"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:"+what)
		if err := cmd.Start(); err != nil {
			return err
		}
		r.cluster.tracer = cmd
		return nil
	}
}

// stopTracing has strace let go; a process that it leaves stopped is woken.
func stopTracing(ctx context.Context, r *round) error {
	cmd := r.cluster.tracer
	r.cluster.tracer = nil
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait() // by that signal
	if err := r.victim.thaw(); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return restartDown(ctx, r)
}

func canTrace(ctx context.Context, c *chaos) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return err
	}
	idle := exec.Command("sleep", "60")
	if err := idle.Start(); err != nil {
		return err
	}
	defer func() { _ = idle.Wait() }() // it was killed
	defer func() { _ = idle.Process.Kill() }()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "strace", "-f", "-p", strconv.Itoa(idle.Process.Pid), "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=1")
	said, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	first, _ := bufio.NewReader(said).ReadString('\n')
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait() // by that signal
	if !strings.Contains(first, "attached") {
		return fmt.Errorf("strace says %q", first)
	}
	return nil
}

// files finds files of the victim's partitions, which must not run any more.
func (r *round) files(suffix string) []string {
	list, _ := filepath.Glob(filepath.Join(r.victim.DataDir(), r.loads.topic+"-*", "*"+suffix)) // the pattern is right
	return list
}

// flipBit turns a bit of a log at rest.
func flipBit(_ context.Context, r *round) error {
	r.victim.Kill()
	logs := r.files(".log")
	if len(logs) == 0 {
		return nil
	}
	return change(logs[r.rand.IntN(len(logs))], func(f *os.File, size int64) error {
		at, b := r.rand.Int64N(size), []byte{0}
		if _, err := f.ReadAt(b, at); err != nil {
			return err
		}
		b[0] ^= 1 << r.rand.IntN(8)
		_, err := f.WriteAt(b, at)
		return err
	})
}

// tearTail cuts the end off a log at rest.
func tearTail(_ context.Context, r *round) error {
	r.victim.Kill()
	logs := r.files(".log")
	if len(logs) == 0 {
		return nil
	}
	return change(logs[r.rand.IntN(len(logs))], func(f *os.File, size int64) error {
		return f.Truncate(size - 1 - r.rand.Int64N(min(size, 10_000)))
	})
}

func change(name string, do func(f *os.File, size int64) error) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	return do(f, info.Size())
}

func loseIndexes(_ context.Context, r *round) error {
	r.victim.Kill()
	return remove(append(r.files(".index"), r.files(".timeindex")...))
}

func loseCheckpoints(_ context.Context, r *round) error {
	r.victim.Kill()
	list, _ := filepath.Glob(filepath.Join(r.victim.DataDir(), "*checkpoint*"))
	return remove(append(list, r.files("leader-epoch-checkpoint")...))
}

func remove(names []string) error { return every(names, os.Remove) }

// cutPower takes from a node what it has not synced.
func cutPower(_ context.Context, r *round) error {
	r.victim.Kill()
	return r.victim.disk.Cut(r.rand)
}

// cutPowerOfAll takes it from all of them at about one time.
func cutPowerOfAll(_ context.Context, r *round) error {
	for _, i := range r.rand.Perm(len(r.nodes)) {
		r.nodes[i].Kill()
	}
	for _, n := range r.nodes {
		if err := n.disk.Cut(r.rand); err != nil {
			return err
		}
	}
	return nil
}

// fillDisk leaves the victim no room on its disk.
func fillDisk(_ context.Context, r *round) error {
	r.victim.disk.Fill(true)
	return nil
}

func emptySome(ctx context.Context, r *round) error {
	r.victim.disk.Fill(false)
	return restartDown(ctx, r)
}

// fewFiles leaves the victim hardly any file or connection more than it has open.
func fewFiles(_ context.Context, r *round) error {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.victim.PID()))
	if err != nil {
		return err
	}
	return limitFiles(r.victim, uint64(len(open)+r.rand.IntN(3)))
}

func manyFiles(ctx context.Context, r *round) error {
	if err := limitFiles(r.victim, math.MaxUint64); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return restartDown(ctx, r)
}

// limitFiles sets how many files a node may have open; those beyond stay open.
func limitFiles(n *node, most uint64) error {
	var limit unix.Rlimit
	if err := unix.Prlimit(n.PID(), unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		return err
	}
	limit.Cur = min(most, limit.Max)
	return unix.Prlimit(n.PID(), unix.RLIMIT_NOFILE, &limit, nil)
}

func canCutPower(_ context.Context, c *chaos) error {
	if !c.power {
		return errors.New("the brokers' disks are the machine's own: give -power, which needs root and /dev/fuse")
	}
	return nil
}

// repair lets the victim run for a while with what was damaged, which it must not
// serve, and then does what an operator does: it gets an empty disk.
func repair(ctx context.Context, r *round) error {
	if err := r.victim.Restart(ctx); err != nil {
		return err
	}
	sleep(ctx, chance(r.rand, time.Second, 5*time.Second))
	if err := emptyDisk(ctx, r); err != nil {
		return err
	}
	return r.victim.Restart(ctx)
}

// missed waits until no partition counts on a node that is down, and reports
// whether that came about: of some it may be the last in sync.
func (r *round) missed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return await(ctx, "others to be in sync", func(ctx context.Context) error {
		topics, err := kadm.NewClient(r.admin).ListTopicsWithInternal(ctx)
		if err != nil {
			return err
		}
		for name, t := range topics {
			for _, p := range t.Partitions {
				if slices.Contains(p.ISR, r.victim.id) || len(p.ISR) == 0 {
					return fmt.Errorf("%s-%d counts on node %d", name, p.Partition, r.victim.id)
				}
			}
		}
		return nil
	}) == nil
}

// emptyDisk gives the victim a new data directory in the place of its own, unless
// it has the last copy of anything.
func emptyDisk(ctx context.Context, r *round) error {
	r.victim.Kill()
	if !r.missed(ctx) {
		return nil
	}
	list, err := filepath.Glob(filepath.Join(r.victim.DataDir(), "*"))
	if err != nil {
		return err
	}
	return every(list, os.RemoveAll)
}
