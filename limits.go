package understudy

import (
	"golang.org/x/sys/unix"
)

// openFiles is how many files the logs may keep open: what the configuration
// says, but at most half of what the process may have, since connections and
// whatever is opened for a moment need the rest.
func (b *Broker) openFiles() int {
	wanted := int(b.cfg.Storage.OpenFiles)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return wanted
	}
	if need := uint64(wanted) + uint64(b.cfg.Limits.Connections); limit.Cur < need {
		b.log.Warn().Uint64("limit", limit.Cur).Int("open.files.max", wanted).Int32("max.connections", b.cfg.Limits.Connections).
			Msg("the process may open fewer files than the configuration allows for: raise its limit (ulimit -n), or lower the settings")
	}
	return int(min(uint64(wanted), max(limit.Cur/2, 16)))
}
