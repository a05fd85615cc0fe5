// Package loopback has addresses of this machine for tests that stop something and start
// it again where it was: the port of an address that all tests share may be another's by
// then, as any is that asks for a free one.
package loopback

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
)

// hosts is how many have been given.
var hosts atomic.Uint32

// Host gives an address where nobody else listens, and that no connection gets by itself.
// The whole of 127/8 is the machine's own on Linux; elsewhere all share one address.
func Host() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	process, n := os.Getpid(), hosts.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 1+process%250, process/250%256, 1+n%254)
}
