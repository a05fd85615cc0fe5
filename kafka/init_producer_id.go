package kafka

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/messages"
)

// InitProducerId (key 22).
//
//	2  flexible
//	3  the producer's id and epoch so far (KIP-360)
//	4  the same, with PRODUCER_FENCED understood
//	5  the same, with transactions' errors (KIP-890)
//
// A producer without a transactional id is given a fresh id at epoch 0, also when
// it names one that it had: nobody else can then have written with it. An id with
// transactions is refused until there are any.
func initProducerIDAPI() api {
	return api{
		key: 22, name: "InitProducerId", max: 5, flexible: 2,
		shape:  `string? int32 3+:int64 3+:int16`,
		answer: answers((*Broker).initProducerID),
	}
}

var errTransactionalID = messages.E("init producer id", messages.InvalidRequest, "", errors.New("transactions are not supported yet"))

func (b *Broker) initProducerID(ctx context.Context, req *kmsg.InitProducerIDRequest) *kmsg.InitProducerIDResponse {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = messages.NoProducerID, messages.NoProducerEpoch
	if req.TransactionalID != nil {
		resp.ErrorCode = errTransactionalID.Kind.Code()
		return resp
	}
	ctx, cancel := within(ctx, 30_000) // the controller may have to be waited for
	defer cancel()
	id, err := b.producers.next(ctx, b.deps.Admin)
	if err != nil {
		resp.ErrorCode = messages.Code(err)
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return resp
}

// producerIDs hands out producer ids from blocks that the controller allocates.
type producerIDs struct {
	turn chan struct{} // has room for one, who takes an id, or asks for a block first
	free messages.ProducerID
	left int
}

func newProducerIDs() producerIDs { return producerIDs{turn: make(chan struct{}, 1)} }

// producerIDBlock is how many ids are asked for at a time.
const producerIDBlock = 1000

// next gives an id that nobody else has. Those who wait for a block wait together:
// each for its own time, and not for that of those before it as well.
func (p *producerIDs) next(ctx context.Context, admin Admin) (messages.ProducerID, error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return messages.NoProducerID, messages.E("init producer id", messages.RequestTimedOut, "", ctx.Err())
	}
	defer func() { <-p.turn }()
	if p.left == 0 {
		first, err := admin.AllocateProducerIDs(ctx, producerIDBlock)
		if err != nil {
			return messages.NoProducerID, err
		}
		p.free, p.left = first, producerIDBlock
	}
	id := p.free
	p.free++
	p.left--
	return id, nil
}
