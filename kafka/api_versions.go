package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/kafka/server"
)

// ApiVersions (key 18).
//
//	1  throttle time
//	3  flexible, but for the answer's header, which clients read before they know
//	   which versions the broker has; the client's software and version
//	4  features that begin at version 0 are named
//
// A version that is not served is answered in version 0 with UNSUPPORTED_VERSION
// and the versions of this API alone, and the client tries again.
func apiVersionsAPI() api {
	return api{
		key: 18, name: "ApiVersions", max: 4, flexible: 3,
		shape:  `3+:string 3+:string`,
		answer: answers((*Broker).apiVersions),
	}
}

func (b *Broker) apiVersions(_ context.Context, req *kmsg.ApiVersionsRequest) *kmsg.ApiVersionsResponse {
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	for _, a := range b.table {
		if a != nil {
			resp.ApiKeys = append(resp.ApiKeys, offer(a))
		}
	}
	return resp
}

func offer(a *api) kmsg.ApiVersionsResponseApiKey {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = a.key, a.min, a.max
	return k
}

// refuseApiVersions answers a version of ApiVersions that is not served.
func (b *Broker) refuseApiVersions(r *server.Request) {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	resp.ApiKeys = append(resp.ApiKeys, offer(b.table[r.Key]))
	r.Reply(encode(b.deps.Pool, resp), false)
}
