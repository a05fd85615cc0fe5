package understudy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"understudy/cluster/consul"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// When the rendezvous has lost the metadata, every node still has its copy. An
// operator has one of them written back, the newest: any other might say that a
// replica is in sync that is not, or that a leader's epoch has not begun that has.
//
//	POST /cluster/restore ──▶ any node ──which version have you?──▶ all others
//	                             │
//	                             └──you write it back──▶ the one with the newest ──▶ rendezvous

// restoreQuestion asks a node to write its copy back.
type restoreQuestion struct {
	Version int64 // that it has
	Replace bool  // what is there may be replaced: it was set back to something older
}

// restored is the answer to POST /cluster/restore.
type restored struct {
	Node       messages.BrokerID `json:"node"` // whose copy it was
	Version    int64             `json:"metadata_version"`
	Topics     int               `json:"topics"`
	Partitions int               `json:"partitions"`
}

const (
	// versionsWithin bounds how long the other nodes are asked for their versions.
	versionsWithin = 3 * time.Second
	// restoreWithin bounds all of it.
	restoreWithin = time.Minute
)

// serveRestore answers POST /cluster/restore?force=true&replace=true. force says
// that nodes need not be waited for that do not answer, replace that what is there
// may go.
func (b *Broker) serveRestore(w http.ResponseWriter, r *http.Request) {
	force, err1 := flag(r, "force")
	replace, err2 := flag(r, "replace")
	err := errors.Join(err1, err2)
	if err == nil && b.node == nil {
		err = refused("this broker runs alone, and has its metadata on its own disk")
	}
	if err != nil {
		writeError(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), restoreWithin)
	defer cancel()
	done, err := b.node.restore(ctx, force, replace)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, done)
}

// flag reads a parameter that is true or false.
func flag(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	is, err := strconv.ParseBool(text)
	if err != nil {
		return false, messages.E("request", messages.InvalidRequest, name, fmt.Errorf("%q is neither true nor false", text))
	}
	return is, nil
}

func refused(why string) error {
	return messages.E("restore metadata", messages.PolicyViolation, "", errors.New(why))
}

// restore has the newest copy of the metadata written back, or says why not.
func (n *node) restore(ctx context.Context, force, replace bool) (restored, error) {
	switch trouble := n.r.Trouble(); {
	case trouble == nil:
		return restored{}, refused("no metadata is lost")
	case !lost(trouble):
		return restored{}, messages.E("restore metadata", messages.StorageError, "", trouble)
	}
	best, missing := newest(n.copies(ctx))
	if len(missing) > 0 && !force {
		return restored{}, refused(fmt.Sprintf("%s cannot be asked, and may have a newer copy: without it, what it has heard of is lost, and acknowledged records may be too; bring it back, or say force",
			strings.Join(missing, " and ")))
	}
	q := restoreQuestion{Version: best.version, Replace: replace}
	if best.node == n.self.ID {
		return n.writeBack(ctx, q)
	}
	var done restored
	err := request(ctx, n, best.node, restoring, q, &done)
	return done, err
}

// copyOf is what is known of a node's copy.
type copyOf struct {
	node    messages.BrokerID
	version int64
	answers bool
	up      bool // by all that is known
}

// newest chooses the newest of several copies, of which the first wins if it is no
// older than the others, and says which nodes may have a newer one.
func newest(copies []copyOf) (best copyOf, missing []string) {
	best = copies[0]
	for _, c := range copies[1:] {
		switch {
		case c.answers && c.version > best.version:
			best = c
		case !c.answers && c.up:
			missing = append(missing, nodeName(c.node))
		}
	}
	return best, missing
}

// copies asks the other nodes for their versions. This node's own comes first.
func (n *node) copies(ctx context.Context) []copyOf {
	ctx, cancel := context.WithTimeout(ctx, versionsWithin)
	defer cancel()
	im := n.b.cell.Image()
	list := []copyOf{{n.self.ID, im.Revision, true, true}}
	for _, b := range im.Brokers {
		if b.ID != n.self.ID {
			list = append(list, copyOf{node: b.ID, up: b.Up()})
		}
	}
	var asking sync.WaitGroup
	for i := range list[1:] {
		c := &list[i+1]
		asking.Go(func() { c.answers = request(ctx, n, c.node, comparing, struct{}{}, &c.version) == nil })
	}
	asking.Wait()
	return list
}

// writeBack writes this node's copy back.
func (n *node) writeBack(ctx context.Context, q restoreQuestion) (restored, error) {
	im := n.b.cell.Image()
	if im.Revision < q.Version {
		return restored{}, refused(fmt.Sprintf("node %d has version %d of the metadata, and not %d any more", n.self.ID, im.Revision, q.Version))
	}
	state, err := consul.StateOf(im)
	if err != nil {
		return restored{}, err
	}
	if err := n.r.Restore(ctx, state, q.Replace); err != nil {
		if errors.Is(err, consul.ErrNotEmpty) {
			err = refused("there is metadata already, of another cluster or older than this one's; say replace to have it replaced")
		}
		return restored{}, err
	}
	done := restored{Node: n.self.ID, Version: im.Revision, Topics: im.TopicCount(), Partitions: im.PartitionCount()}
	n.b.happened(zerolog.WarnLevel, Event{Kind: "metadata-restored", Subject: nodeName(n.self.ID), Cause: "asked for", Text: fmt.Sprintf(
		"node %d has written back version %d of the metadata: %d topics, %d partitions", n.self.ID, im.Revision, im.TopicCount(), im.PartitionCount())})
	n.awaitImage(ctx, versionsWithin, func(now *metadata.Image) bool { return now.Revision > im.Revision })
	return done, nil
}
