package understudy

import (
	"context"
	"errors"

	"understudy/cluster/local"
)

// errNotHere is what Kill says of a node whose end it cannot make look like the
// process's.
var errNotHere = errors.New("kill: only a broker that is alone, or in a cluster within this process, can be killed; end the process instead")

// Kill ends the broker as SIGKILL would end its process: connections are reset,
// nothing is handed over or answered, and a file system that can be stopped, such
// as one in memory, keeps nothing of what is written from now on. It is for tests
// and demonstrations of what a cluster within one process does then. It returns
// when the memory is free. The broker can be started again on what its file system
// holds.
func (b *Broker) Kill(ctx context.Context) error {
	if b.node != nil {
		seat, ok := b.node.r.(*local.Seat)
		if !ok {
			return errNotHere
		}
		b.node.dead.Store(true)
		b.listener.Close() // before the others dial again, so that they are refused
		b.stopDisk()
		b.node.link.Sever()
		seat.Die()
	}
	b.stopDisk()
	b.listener.Close()
	b.server.Close()
	_ = b.Stop(ctx) // only frees memory: what it wants to write is refused
	return nil
}

func (b *Broker) stopDisk() {
	if disk, ok := b.files.(interface{ Stop() }); ok {
		disk.Stop()
	}
}
