//go:build linux

package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// call is one system call of a broker.
type call struct {
	pid        int
	kind       kind
	fd         int
	begin, end float64 // seconds, on perf's clock
	result     int     // bytes, mostly
}

type kind uint8

const (
	reads kind = iota + 1
	writes
	syncs
)

var kinds = map[int]kind{
	unix.SYS_READ: reads, unix.SYS_READV: reads, unix.SYS_RECVFROM: reads,
	unix.SYS_WRITE: writes, unix.SYS_WRITEV: writes, unix.SYS_PWRITE64: writes, unix.SYS_PWRITEV: writes, unix.SYS_SENDTO: writes, unix.SYS_SENDMSG: writes,
	unix.SYS_FDATASYNC: syncs, unix.SYS_FSYNC: syncs,
}

// perfLine is a line of perf script:
//
//	18823/18839 13251.101019: raw_syscalls:sys_enter: NR 281 (6, 7fea1fffe584, 80, 0, 0, 0)
//	18823/18839 13251.101020: raw_syscalls:sys_exit: NR 281 = 0
var perfLine = regexp.MustCompile(`^\s*(\d+)/(\d+)\s+([\d.]+):\s+raw_syscalls:sys_(?:enter: NR (\d+) \(([0-9a-f]+)|exit: NR (\d+) = (-?\d+))`)

// parse reads what perf script prints, and gives the calls that matter in the order
// in which they began.
func parse(from io.Reader) ([]call, error) {
	var calls []call
	open := map[string]call{} // by thread
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		m := perfLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		at, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, err
		}
		if thread := m[2]; m[4] != "" {
			pid, _ := strconv.Atoi(m[1])
			nr, _ := strconv.Atoi(m[4])
			fd, err := strconv.ParseUint(m[5], 16, 64)
			if k := kinds[nr]; k != 0 && err == nil {
				open[thread] = call{pid: pid, kind: k, fd: int(int32(fd)), begin: at}
			}
		} else if c, began := open[thread]; began {
			nr, _ := strconv.Atoi(m[6])
			if delete(open, thread); kinds[nr] == c.kind {
				c.end = at
				c.result, _ = strconv.Atoi(m[7])
				calls = append(calls, c)
			}
		}
	}
	slices.SortStableFunc(calls, func(a, b call) int { return cmp.Compare(a.begin, b.begin) })
	return calls, lines.Err()
}

// file is a file that a process has open.
type file struct{ pid, fd int }

// files are what the brokers have open.
type files struct {
	names map[file]string // paths, and socket:[INODE]
	links map[file]bool   // sockets whose other end another of the brokers has
}

// openFiles looks at what processes have open.
func openFiles(pids []int) (files, error) {
	all := files{names: map[file]string{}, links: map[file]bool{}}
	ends := map[string]file{} // "local remote": who has it
	for _, pid := range pids {
		inodes, err := sockets(pid)
		if err != nil {
			return all, err
		}
		list, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			return all, err
		}
		for _, path := range list {
			fd, err := strconv.Atoi(filepath.Base(path))
			name, gone := os.Readlink(path)
			if err != nil || gone != nil {
				continue // it was closed meanwhile
			}
			all.names[file{pid, fd}] = name
			if end, ok := inodes[strings.TrimSuffix(strings.TrimPrefix(name, "socket:["), "]")]; ok {
				ends[end] = file{pid, fd}
			}
		}
	}
	for end, f := range ends {
		local, remote, _ := strings.Cut(end, " ")
		if other, ok := ends[remote+" "+local]; ok && other.pid != f.pid {
			all.links[f] = true
		}
	}
	return all, nil
}

// sockets gives the two ends of each connection in a process's network, by inode.
func sockets(pid int) (map[string]string, error) {
	found := map[string]string{}
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && strings.Contains(f[1], ":") {
				found[f[9]] = f[1] + " " + f[2]
			}
		}
	}
	return found, nil
}
