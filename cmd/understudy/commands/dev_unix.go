//go:build unix

package commands

import "syscall"

// ownGroup keeps the terminal's Ctrl-C from a process.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
