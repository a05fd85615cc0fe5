package kafka

import (
	"errors"

	"understudy/actors/partition"
	"understudy/messages"
	"understudy/persistence/log"
)

// Local makes the broker's own replicas, as their actors keep them, what Broker
// asks for. The adapters are pointers in disguise: using them allocates nothing.
func Local(r *partition.Registry) Partitions { return registry{r} }

type registry struct{ *partition.Registry }

func (r registry) Lookup(tp messages.TopicPartition) Partition {
	if h := r.Registry.Lookup(tp); h != nil {
		return localPartition{h}
	}
	return nil
}

type localPartition struct{ *partition.Handle }

var errOpening = messages.E("partition", messages.NotLeader, "", errors.New("it is being opened"))

func (p localPartition) View() View {
	v := p.Handle.View()
	if v == nil {
		return View{TopicID: p.TopicID(), Leader: messages.NoBroker, Epoch: messages.NoEpoch, Err: errOpening}
	}
	view := View{TopicID: p.TopicID(), Leader: v.Leader, Epoch: v.Epoch, Led: v.Led, Err: v.Err, Settling: v.Settling, Isolated: v.Isolated, Epochs: v.Epochs}
	if v.Log != nil {
		view.LogStart, view.HighWatermark, view.End = v.Log.LogStart, v.Log.HighWatermark, v.Log.End
		view.Log = localLog{v.Log}
	}
	return view
}

func (p localPartition) Wait(w *Waiter) {
	if w.local == nil {
		w.local = partition.NewWaiter(w.Wake)
	}
	p.Handle.Wait(w.local)
}

func (p localPartition) Cancel(w *Waiter) {
	if w.local != nil {
		p.Handle.Cancel(w.local)
	}
}

type localLog struct{ *log.View }

func (l localLog) Read(from messages.Offset, maxBytes int, wholeFirst bool) (Slice, error) {
	s, err := l.View.Read(from, maxBytes, wholeFirst)
	if s == nil || err != nil {
		return nil, err
	}
	return s, nil
}
