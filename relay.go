package understudy

import (
	"context"
	"encoding/json"
	"errors"

	"understudy/cluster/link"
	"understudy/messages"
)

// A node that the network has parted from the controller, but not from everybody,
// reaches it through another node. Otherwise a leader would have to wait for a
// follower that is out of its reach until the network is mended: it could not ask
// for an in-sync set without it.
//
//	leader ──✗── controller
//	     └──▶ other ──▶┘

// relaying is the kind of a request that holds one for another node.
const relaying = 26

// relayed is its body.
type relayed struct {
	To   messages.BrokerID
	Kind byte
	Body json.RawMessage
}

// reach asks a node, through another if it is not heard and the other one is.
func (n *node) reach(ctx context.Context, to messages.BrokerID, kind byte, body []byte) ([]byte, error) {
	via := n.route(to)
	if via == to {
		return n.link.Request(ctx, to, kind, body)
	}
	body, err := json.Marshal(relayed{to, kind, body})
	if err != nil {
		return nil, messages.E("request", messages.InvalidRequest, "", err)
	}
	return n.link.Request(ctx, via, relaying, body)
}

// route is through whom a node is to be reached.
func (n *node) route(to messages.BrokerID) messages.BrokerID {
	via := to
	for _, p := range n.link.Peers() {
		heard := p.State == link.Connected && p.Silence < silentTime
		if p.Peer.ID == to && heard {
			return to
		}
		if heard {
			via = p.Peer.ID
		}
	}
	return via
}

// relay answers a request with another node's answer, or with this one's. It goes
// no further than that.
func (n *node) relay(ctx context.Context, body []byte) ([]byte, error) {
	var q relayed
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, messages.E("request", messages.InvalidRequest, "", err)
	}
	if q.To == n.self.ID {
		return n.answerHere(ctx, q.Kind, q.Body)
	}
	answer, err := n.link.Request(ctx, q.To, q.Kind, q.Body)
	if errors.Is(err, link.ErrNotConnected) { // nothing was sent: who asks may look for another way
		err = messages.E("request", messages.NotController, "", err)
	}
	return answer, err
}
