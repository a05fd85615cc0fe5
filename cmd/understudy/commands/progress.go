package commands

import (
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar on standard error while a person is looking; else nothing.
// The zero value shows nothing.
type progress struct {
	bar *progressbar.ProgressBar
	n   atomic.Int64
}

// newProgress shows progress towards total; -1 when the end is not known. With
// bytes, counts are shown as sizes.
func newProgress(streams Streams, total int64, what string, bytes bool) *progress {
	p := &progress{}
	if !streams.watched() {
		return p
	}
	p.bar = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(streams.Err),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionFullWidth(),
		progressbar.OptionSetPredictTime(total > 0),
	)
	return p
}

// add counts n more. It may be called from many goroutines.
func (p *progress) add(n int64) {
	if p.bar != nil {
		_ = p.bar.Set64(p.n.Add(n)) // a bar that cannot be drawn is no reason to stop
	}
}

// set says how far the work has come.
func (p *progress) set(n int64) {
	p.n.Store(n)
	p.add(0)
}

// done takes the bar away.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Clear()
		_ = p.bar.Exit()
	}
}
