package loopback

import (
	"net"
	"runtime"
	"testing"
)

func TestEachHasItsOwn(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("all share one address here")
	}
	first, err := net.Listen("tcp", net.JoinHostPort(Host(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, port, err := net.SplitHostPort(first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	second, err := net.Listen("tcp", net.JoinHostPort(Host(), port))
	if err != nil {
		t.Fatalf("the port is the other's: %v", err)
	}
	second.Close()
}
