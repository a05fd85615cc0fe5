package understudy_test

import (
	"cmp"
	"io"
	"net/http"
	"strings"
	"testing"

	"understudy"
	"understudy/cluster/consul/fake"
	"understudy/config"
	"understudy/persistence/vfs"
)

// TestConsulLosesItsDataWhileNoNodeRuns stops all nodes, two of them in order, wipes
// Consul, and starts them again: none serves before an operator has had the newest
// copy written back, and then all is as it was.
func TestConsulLosesItsDataWhileNoNodeRuns(t *testing.T) {
	t.Parallel()
	server := fake.New()
	var admin [3]string
	c := newClusterOn(t, server, func(i int, cfg *config.Config) []understudy.Option {
		cfg.AdminListen = cmp.Or(admin[i], cfg.AdminListen)
		return nil
	})
	c.createTopic("orders", 6, nil)
	c.awaitInSync("orders", 3)
	id := c.standing(0, "all is well", func(s standing) bool { return s.UnderReplicated == 0 }).ClusterID
	l := c.load("orders", 6)
	l.await(300)
	for i, b := range c.brokers {
		admin[i] = b.AdminAddr().String()
	}
	c.stop(2)
	c.stop(1)
	c.stop(0)
	server.LoseData()

	served := make(chan struct{})
	go func() {
		defer close(served)
		c.startAll()
	}()
	post := func(path string) (status int, text string) {
		request, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+admin[1]+path, nil)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err.Error() // not yet
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return 0, err.Error()
		}
		return response.StatusCode, string(body)
	}
	why, answered := "", false
	c.until("written back", func() bool {
		select {
		case <-served: // the answer that said so was lost, perhaps
			if !answered {
				t.Error("the nodes serve though the metadata is lost")
			}
			return true
		default:
		}
		var status int
		status, why = post("/cluster/restore")
		answered = answered || status != 0
		return status == http.StatusOK
	}, func() string { return why })
	<-served
	c.awaitInSync("orders", 3)
	l.await(100)
	l.end()
	c.compare("orders", 6)
	if s := c.standing(0, "all is well", func(s standing) bool { return s.UnderReplicated == 0 }); s.ClusterID != id || s.Rendezvous != "ok" {
		t.Errorf("afterwards %+v", s)
	}
}

// TestADamagedCopyIsNoHindrance starts a node whose copy of the metadata cannot be
// read, in a cluster that has its metadata.
func TestADamagedCopyIsNoHindrance(t *testing.T) {
	t.Parallel()
	c := newClusterOn(t, fake.New(), nil)
	c.createTopic("orders", 3, nil)
	c.awaitInSync("orders", 3)
	c.stop(2)
	f, err := c.disks[2].Open("metadata-copy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("nonsense"), 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := understudy.LoadCopy(c.disks[2]); err == nil || !strings.Contains(err.Error(), "metadata-copy") {
		t.Errorf("it is read all the same: %v", err)
	}
	c.start(2)
	c.awaitInSync("orders", 3)
}

// TestACopyIsWhatWasSaved compares copies with what is known.
func TestACopyIsWhatWasSaved(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	week := "604800000"
	c.createTopic("orders", 3, map[string]*string{"retention.ms": &week})
	c.awaitInSync("orders", 3)
	im := c.brokers[0].Image()
	disk := vfs.NewMem(vfs.MemOptions{})
	if err := understudy.SaveCopy(disk, im); err != nil {
		t.Fatal(err)
	}
	copied, err := understudy.LoadCopy(disk)
	if err != nil {
		t.Fatal(err)
	}
	if copied.Revision != im.Revision || copied.ClusterID != im.ClusterID || understudy.Differ(im, copied) {
		t.Errorf("saved revision %d of %s, read %d of %s", im.Revision, im.ClusterID, copied.Revision, copied.ClusterID)
	}
}
