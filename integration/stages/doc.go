//go:build linux

// Command stages tells where the time of a record goes that is produced with acks=all:
// which part of it each step takes, from the system calls of running brokers. It needs
// root, perf (Debian: linux-perf), and somebody who produces one record at a time:
//
//	understudy dev &
//	understudy topic create t --partitions 1 --replicas 3
//	understudy bench latency --topic t --rate 50 --duration 20s &
//	go run ./integration/stages -partition t-0 $(pgrep -f 'understudy server')
//
// perf notes when each system call begins and ends. A write to the partition's log is
// followed from there: back to the read of the request, and on through sync, links,
// the followers' own reads, writes and syncs, to the answer.
package main
