package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used, as the kernel of Linux tells it.
type Usage struct {
	CPU      time.Duration // user and system, since the process began
	Resident int64         // bytes now
	Anon     int64         // of which not backed by files, bytes
	Peak     int64         // the most that was ever resident, bytes
}

// clockTick is the unit of CPU time in /proc; Linux has used it on every
// architecture for decades.
const clockTick = time.Second / 100

// Usage reads what the broker's present process has used.
func (b *Broker) Usage() (Usage, error) { return UsageOf(b.PID()) }

// UsageOf reads what a process has used. It works on Linux only.
func UsageOf(pid int) (Usage, error) {
	var u Usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The command's name is in parentheses and may hold anything; state is the
	// first field after it, utime and stime are the 12th and 13th.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(ticks) * clockTick
	}
	return u, u.readMemory(pid)
}

func (u *Usage) readMemory(pid int) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	wanted := map[string]*int64{"VmRSS": &u.Resident, "RssAnon": &u.Anon, "VmHWM": &u.Peak}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		into, ok := wanted[name]
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return err
		}
		*into = kib << 10
	}
	return nil
}
