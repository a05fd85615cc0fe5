package commands

import (
	"net"
	"os"
	"syscall"
	"testing"
)

// TestOnlyOurOwnPipesMayBreak tells output that nobody reads any more from a connection
// to a broker that broke.
func TestOnlyOurOwnPipesMayBreak(t *testing.T) {
	broken := os.NewSyscallError("write", syscall.EPIPE)
	if !brokenPipe(&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}) {
		t.Error("output that nobody reads is an error")
	}
	if brokenPipe(unreachable([]string{"127.0.0.1:9092"}, &net.OpError{Op: "write", Net: "tcp", Err: broken}, "")) {
		t.Error("a connection that broke is none")
	}
}
