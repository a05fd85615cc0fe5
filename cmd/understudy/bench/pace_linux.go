package bench

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper waits more exactly than the runtime's timers, which are good to a
// millisecond: in its own thread, with the kernel's slack taken away.
type sleeper struct{}

func newSleeper() sleeper {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // only less exact without
	return sleeper{}
}

func (sleeper) close() { runtime.UnlockOSThread() }

func (sleeper) sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // woken early: the caller looks at the clock again
}
