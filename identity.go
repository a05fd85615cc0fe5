package understudy

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"understudy/cluster/metadata"
	"understudy/messages"
	"understudy/persistence/vfs"
)

// identityFile, in the data directory, says of which node of which cluster it is.
const identityFile = "cluster.json"

// identity is what is in it. The directory's own id tells two directories apart
// that claim to be the same node's.
type identity struct {
	Cluster   string            `json:"cluster"`
	ClusterID string            `json:"clusterId,omitempty"` // once it is known
	Node      messages.BrokerID `json:"node"`
	Directory string            `json:"directory"`
	Run       run               `json:"run,omitzero"` // that wrote to it last
}

// readIdentity reads the file, or makes an identity for a directory without one.
func readIdentity(files vfs.FS, cluster string, node messages.BrokerID) (identity, error) {
	id := identity{Cluster: cluster, Node: node, Directory: rand.Text()}
	text, err := vfs.ReadFile(files, identityFile, 64<<10)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return id, refuseAlone(files)
	case err != nil:
		return id, err
	}
	id = identity{}
	if err := json.Unmarshal(text, &id); err != nil {
		return id, messages.E("open", messages.CorruptMessage, identityFile, err)
	}
	if id.Cluster != cluster {
		return id, messages.E("open", messages.InvalidConfig, identityFile, fmt.Errorf("the data directory is of cluster %q, not %q", id.Cluster, cluster))
	}
	return id, nil
}

// refuseAlone keeps a broker that has run alone from joining a cluster, which
// does not know its topics.
func refuseAlone(files vfs.FS) error {
	alone, err := has(files, metadataDir)
	if err == nil && alone {
		err = messages.E("open", messages.InvalidConfig, metadataDir, errors.New(
			"the data directory is of a broker that ran alone. With --adopt it becomes the first node of the cluster and brings its topics along; any other node needs a data directory of its own"))
	}
	return err
}

// refuseMember keeps a node of a cluster from running alone, where it would know
// none of its topics.
func refuseMember(files vfs.FS) error {
	f, err := files.Open(identityFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = messages.E("open", messages.InvalidConfig, identityFile, errors.New("the data directory is of a node of a cluster; a broker that runs alone needs one of its own"))
		return errors.Join(err, f.Close())
	}
	return err
}

// write replaces the file.
func (id identity) write(files vfs.FS) error {
	text, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return vfs.ReplaceFile(files, identityFile, append(text, '\n'))
}

// refuseOther keeps a directory of another cluster out of this one.
func (id identity) refuseOther(image *metadata.Image) error {
	if id.ClusterID == "" || image.ClusterID == "" || image.ClusterID == id.ClusterID {
		return nil
	}
	return messages.E("open", messages.InvalidConfig, identityFile, fmt.Errorf("the data directory is of cluster %s, but this one is %s", id.ClusterID, image.ClusterID))
}
