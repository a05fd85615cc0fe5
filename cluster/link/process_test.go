package link

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
)

const childEnv = "UNDERSTUDY_LINK_TEST_CHILD"

// TestMain makes of the test binary a node, when it is started as one: a process
// that can be killed and frozen.
func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		if err := child(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child is node id of the role "id parent-id parent-address". It says where it
// listens, and runs until its input ends.
func child(role string) error {
	fields := strings.Fields(role)
	id, err := strconv.Atoi(fields[0])
	if err != nil {
		return err
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l, err := New(Options{
		Self: replica.Member{ID: int32(id), Epoch: 1}, ClusterID: "test", Listener: ln,
		OnMessage: func(in *Incoming) { in.Release() },
	})
	if err != nil {
		return err
	}
	defer l.Close()
	l.SetPeers(map[messages.BrokerID]Peer{int32(parent): {Addr: fields[2]}})
	fmt.Println(ln.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// start starts a child of n.
func (n *node) start(id messages.BrokerID) *os.Process {
	n.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %s", childEnv, id, n.options.Self.ID, n.Addr()))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		n.t.Fatal(err)
	}
	n.SetPeers(map[messages.BrokerID]Peer{id: {Addr: strings.TrimSpace(addr)}})
	n.until(Up)
	return cmd.Process
}

// TestARealProcess kills and freezes one, that is to be dialed and that dials.
func TestARealProcess(t *testing.T) {
	for _, id := range []messages.BrokerID{1, 3} {
		t.Run(fmt.Sprintf("killed, node %d", id), func(t *testing.T) {
			n := newNode(t, 2, 1, nil)
			process := n.start(id)
			start := time.Now()
			if err := process.Kill(); err != nil {
				t.Fatal(err)
			}
			n.want(Lost)
			if e := n.want(Gone); !errors.Is(e.Cause, syscall.ECONNREFUSED) {
				t.Errorf("%v", e)
			}
			t.Logf("gone after %v", time.Since(start))
		})
		t.Run(fmt.Sprintf("frozen, node %d", id), func(t *testing.T) {
			n := newNode(t, 2, 1, func(o *Options) {
				o.Heartbeat, o.SilentAfter, o.GiveUpAfter = 20*time.Millisecond, 150*time.Millisecond, 300*time.Millisecond
			})
			process := n.start(id)
			if err := process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			n.until(Silent)
			if e := n.until(Lost); !errors.Is(e.Cause, ErrSilent) { // it may have been silent before, and back once more
				t.Errorf("%v", e)
			}
			if err := process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			n.want(Up)
		})
	}
}
