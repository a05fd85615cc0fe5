package kafka

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/kafka/server"
	"understudy/kafka/wire"
)

// encoded is an answer that was encoded when it was made.
type encoded struct {
	body   []byte
	buffer *wire.Buffer // body's memory, unless it outgrew it
	grown  int64        // bytes charged to the budget for memory that outgrew buffer
	budget *wire.Budget
}

var encodings = sync.Pool{New: func() any { return new(encoded) }}

// encode encodes an answer into memory that is charged to the budget.
func encode(pool *wire.Pool, resp kmsg.Response) *encoded {
	e := encodings.Get().(*encoded)
	e.budget = pool.Budget()
	e.buffer = pool.Force(4 << 10)
	e.body = resp.AppendTo(e.buffer.B)
	if cap(e.body) > cap(e.buffer.B) {
		e.buffer.Release()
		e.buffer = nil
		e.grown = int64(cap(e.body))
		e.budget.Force(e.grown)
	}
	return e
}

// AppendTo implements server.Reply.
func (e *encoded) AppendTo(w *server.Writer) { w.Bytes(e.body) }

// Release implements server.Reply.
func (e *encoded) Release() {
	if e.buffer != nil {
		e.buffer.Release()
	}
	if e.grown > 0 {
		e.budget.Release(e.grown)
	}
	*e = encoded{}
	encodings.Put(e)
}
