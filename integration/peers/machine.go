//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine says where and with what was measured.
type machine struct {
	When     time.Time         `json:"when"`
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	Memory   string            `json:"memory"`
	Kernel   string            `json:"kernel"`
	Load     string            `json:"load_before"` // of others: figures of a busy machine mean little
	Versions map[string]string `json:"versions"`
}

func thisMachine(l *lab) machine {
	m := machine{
		When: time.Now().UTC(), Cores: runtime.NumCPU(),
		CPU: field("/proc/cpuinfo", "model name"), Memory: field("/proc/meminfo", "MemTotal"),
		Versions: map[string]string{"go": runtime.Version()},
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.TrimSpace(string(b))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if strings.HasSuffix(d.Path, "franz-go") || strings.HasSuffix(d.Path, "nats.go") {
				m.Versions[filepath.Base(d.Path)] = d.Version
			}
		}
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		m.Versions["understudy"] = strings.TrimSpace(string(out))
	}
	if jars, _ := filepath.Glob(filepath.Join(l.jars, "kafka_*.jar")); len(jars) > 0 {
		m.Versions["kafka"] = regexp.MustCompile(`\d+\.\d+\.\d+`).FindString(filepath.Base(jars[0]))
	}
	if out, err := exec.Command(l.nats, "--version").Output(); err == nil {
		m.Versions["nats-server"] = strings.TrimSpace(strings.TrimPrefix(string(out), "nats-server: "))
	}
	return m
}

// touchMemory writes to so much memory and frees it. What a machine of its own host
// has freed for a while is taken back by it, and the first write to each page of it
// costs fifteen times as much: the system that comes first, or writes most, would pay
// for that. It takes no more than half of what is free.
func touchMemory(n int64) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	n = min(n, int64(info.Freeram)*int64(info.Unit)/2)
	if n <= 0 {
		return nil
	}
	memory, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("touch %d bytes of memory: %w", n, err)
	}
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1
	}
	return unix.Munmap(memory)
}

// field is the value after a name in one of the kernel's lists.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (m *machine) write(b *strings.Builder) {
	fmt.Fprintf(b, "# Understudy beside others\n\n%s: %d cores (%s), %s, Linux %s; load before: %s.", m.When.Format("2006-01-02 15:04"), m.Cores, m.CPU, m.Memory, m.Kernel, m.Load)
	for _, name := range names(m.Versions) {
		fmt.Fprintf(b, " %s %s.", name, m.Versions[name])
	}
	b.WriteString(" Medians, with minimum and maximum where there is more than one round.\n")
}
