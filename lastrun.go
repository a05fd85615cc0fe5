package understudy

import (
	"os"
	"strings"

	"understudy/actors/partition"
	"understudy/messages"
)

// run is one run of a broker: what it wrote and did not sync is in the memory of
// its machine, and outlives the process, but not the machine's.
//
//	stopped in order          everything is on disk              nothing is missing
//	killed, or has crashed    the machine runs on                nothing is missing
//	the machine went down     what was not synced may be lost    doubtful
//	not known                 a copy was brought back, say       doubtful
//
// That tells what a start may be trusted with: a broker that lost nothing stays in
// sync where it was, and when all have been killed the first to return goes on,
// without the others. One that is doubtful leaves that to those who are not.
type run struct {
	Boot  string               `json:"boot,omitempty"` // of the machine; "": not known
	Epoch messages.BrokerEpoch `json:"epoch"`          // of the broker
}

// bootFile is where Linux tells one run of the system from the next.
const bootFile = "/proc/sys/kernel/random/boot_id"

// machineBoot names this run of the machine's system; "": it cannot be told.
func machineBoot() string {
	text, err := os.ReadFile(bootFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// thisRun is written down once the broker is registered, and before it writes to
// any log: until then what is there is the last run's, with all doubts about it.
func (b *Broker) thisRun() run { return run{Boot: b.boot, Epoch: b.node.self.Epoch} }

// keptAll reports whether everything is there that the last run wrote, for a start
// with a broker epoch. What is there must be of the start before: a data directory
// that was brought back from a copy is of an earlier one.
func (b *Broker) keptAll(epoch messages.BrokerEpoch) bool {
	last := b.identity.Run
	if last.Boot != "" && last.Boot == b.boot && last.Epoch == epoch-1 {
		return true
	}
	_, inOrder, err := partition.LoadCheckpoints(b.files, epoch)
	return err == nil && inOrder
}
