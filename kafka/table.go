package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/kafka/server"
	"understudy/kafka/wire"
)

// api is one kind of request: which versions are served, and how. Each API's
// file makes one.
type api struct {
	key      int16
	name     string
	min, max int16 // versions that clients are told of
	accepts  int16 // the least version that is answered, if less than min
	flexible int16 // the first version with compact lengths and tags

	// shape is checked before kmsg decodes a request.
	shape string
	// answer makes the answer to a decoded request. It may wait. What the answer
	// is to outlive must be copied: byte slices in req share the frame's memory.
	// nil: it is answered by the end of the connection.
	answer func(ctx context.Context, b *Broker, c *call, req kmsg.Request) kmsg.Response
	// patient says that answer may wait for other clients, and keeps nothing of
	// the request meanwhile, nor of what was decoded of it.
	patient bool

	// direct takes requests that are decoded by hand, in place of shape and
	// answer. It must not wait, and ends the request itself.
	direct func(b *Broker, c call)

	// trailing says that bytes behind a request are passed over, as Kafka does
	// with every request: some client leaves some.
	trailing bool

	parsed *wire.Shape
}

// scan checks the shape of a request and cuts off what may stand behind it.
func (a *api) scan(version int16, body []byte) ([]byte, error) {
	if !a.trailing {
		return body, a.parsed.Scan(version, body)
	}
	rest, err := a.parsed.ScanPrefix(version, body)
	return body[:len(body)-len(rest)], err
}

// call is a request on its way through its API.
type call struct {
	r        *server.Request
	api      *api
	version  int16
	flexible bool
	clientID string // shares the request's memory
	body     []byte
}

// apis is the table: every API that is served, by key.
func apis() []api {
	return []api{
		produceAPI(), fetchAPI(), listOffsetsAPI(), metadataAPI(),
		offsetCommitAPI(), offsetFetchAPI(), findCoordinatorAPI(), joinGroupAPI(), heartbeatAPI(), leaveGroupAPI(),
		syncGroupAPI(), describeGroupsAPI(), listGroupsAPI(), deleteGroupsAPI(), offsetDeleteAPI(), apiVersionsAPI(),
		createTopicsAPI(), deleteTopicsAPI(), deleteRecordsAPI(),
		initProducerIDAPI(), offsetForLeaderEpochAPI(),
		describeConfigsAPI(), alterConfigsAPI(), describeLogDirsAPI(), createPartitionsAPI(),
		electLeadersAPI(), incrementalAlterConfigsAPI(), alterReassignmentsAPI(), listReassignmentsAPI(), describeClusterAPI(), describeProducersAPI(), describeTopicPartitionsAPI(),
	}
}

// APINames are the names of the APIs that are served, by key.
func APINames() map[int16]string {
	names := make(map[int16]string)
	for _, a := range apis() {
		names[a.key] = a.name
	}
	return names
}

// answers fits a function of a request's and an answer's own types to api.answer.
func answers[Q kmsg.Request, A kmsg.Response](f func(*Broker, context.Context, Q) A) func(context.Context, *Broker, *call, kmsg.Request) kmsg.Response {
	return func(ctx context.Context, b *Broker, _ *call, req kmsg.Request) kmsg.Response {
		return f(b, ctx, req.(Q))
	}
}

// answersCall is answers for a function that wants to know who asks.
func answersCall[Q kmsg.Request, A kmsg.Response](f func(*Broker, context.Context, *call, Q) A) func(context.Context, *Broker, *call, kmsg.Request) kmsg.Response {
	return func(ctx context.Context, b *Broker, c *call, req kmsg.Request) kmsg.Response {
		return f(b, ctx, c, req.(Q))
	}
}
