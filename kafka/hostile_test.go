package kafka

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/actors/group"
	"understudy/kafka/server"
	"understudy/messages"
	"understudy/messages/batch"
)

// hostileFrame makes a frame that is wrong in one of many ways, or right.
func hostileFrame(h *harness, list []api, r *rand.Rand) []byte {
	a := list[r.IntN(len(list))]
	version := min(a.min, a.accepts) + int16(r.IntN(int(a.max-min(a.min, a.accepts))+1))
	req := randomRequest(a.key, version, r)
	if r.IntN(3) == 0 {
		req = example(h, a.key, version)
	}
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("hostile")).AppendRequest(nil, req, int32(r.Uint32()))
	switch r.IntN(8) {
	case 0: // as it is
	case 1: // a lie somewhere
		at := 12 + r.IntN(max(len(frame)-12, 1))
		frame = append(append(frame[:min(at, len(frame)):min(at, len(frame))], lies[r.IntN(len(lies))]...), frame[min(at, len(frame)):]...)
	case 2: // flipped bits
		for range 1 + r.IntN(8) {
			frame[4+r.IntN(len(frame)-4)] ^= 1 << r.IntN(8)
		}
	case 3: // another key or version
		binary.BigEndian.PutUint16(frame[4+2*r.IntN(2):], uint16(r.Uint32()))
	case 4: // noise
		for i := 12; i < len(frame); i++ {
			frame[i] = byte(r.Uint32())
		}
	case 5: // cut off or with something behind
		frame = frame[:max(len(frame)-r.IntN(20), 12)]
		frame = append(frame, make([]byte, r.IntN(10))...)
	case 6: // a wrong length
		binary.BigEndian.PutUint32(frame, r.Uint32()>>r.IntN(32))
		return frame
	case 7: // half a frame
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		return frame[:4+r.IntN(len(frame)-4)]
	}
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame
}

func TestRandomFrames(t *testing.T) {
	h := newOrders(t)
	f := h.fakeCluster
	f.static["auto.create.topics.enable"] = "false" // or the fake drowns in topics
	list := parsedAPIs()
	bystander := h.dial(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if p := producePart(bystander, produceReq(9, -1, "old", 0, makeBatch(1, 10))); p.ErrorCode != 0 && p.ErrorCode != 3 {
					t.Errorf("the bystander is disturbed: error %d", p.ErrorCode)
					return
				}
			}
		}
	})
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var attackers sync.WaitGroup
	for worker := range uint64(4) {
		attackers.Go(func() {
			r := rand.New(rand.NewPCG(42, worker))
			for range hostileFrames / 4 / 4 {
				near, far := net.Pipe()
				h.server.Take(far)
				go func() { _, _ = io.Copy(io.Discard, near) }()
				for range 4 {
					if _, err := near.Write(hostileFrame(h, list, r)); err != nil {
						break
					}
				}
				near.Close()
			}
		})
	}
	attackers.Wait()
	close(stop)
	wg.Wait()
	for h.server.Connections() > 1 {
		runtime.Gosched()
	}
	runtime.GC()
	runtime.GC() // the first only takes notice of what is in pools
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if p := ask[*kmsg.ApiVersionsResponse](bystander, kmsg.NewPtrApiVersionsRequest()); p.ErrorCode != 0 {
		t.Errorf("error %d", p.ErrorCode)
	}
}

// A batch that would unpack to gigabytes is refused where the broker has to
// unpack it, and passes through where it has not.
func TestABombIsNotUnpacked(t *testing.T) {
	f := newFakeCluster(t)
	f.create("lz4", 1, map[string]string{"compression.type": "lz4"})
	list := bombs(t) // before the connection, which ends when it is idle for long
	c := serve(t, f, nil).dial(t)
	for _, b := range list {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p := producePart(c, produceReq(9, -1, "lz4", 0, b))
		runtime.ReadMemStats(&after)
		if p.ErrorCode == 0 {
			t.Errorf("%v: a bomb was taken", b.Codec())
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 6*MaxUnpacked {
			t.Errorf("%v: %d bytes were allocated", b.Codec(), took)
		}
	}
}

// bombs are batches of a few hundred kilobytes that unpack to a gigabyte.
func bombs(t *testing.T) []batch.Batch {
	t.Helper()
	var list []batch.Batch
	for _, c := range []batch.Codec{batch.Gzip, batch.Zstd} {
		f := makeBatch(1, 1).Fields().WithCodec(c)
		list = append(list, batch.Assemble(nil, f, packZeros(t, c, 1<<30)))
	}
	return list
}

// Naming the same thing often must not make the answer large.
func TestAnswersDoNotGrowByRepetition(t *testing.T) {
	f := newFakeCluster(t)
	f.create("wide", 1000, nil)
	h := serve(t, f, nil)
	c := h.dial(t)
	size := func(req kmsg.Request) int {
		c.send(req)
		body, err := c.readFrame()
		if err != nil {
			t.Fatal(err)
		}
		return len(body)
	}
	meta := kmsg.NewPtrMetadataRequest()
	meta.Version = 9
	configs := kmsg.NewPtrDescribeConfigsRequest()
	configs.Version = 4
	configs.IncludeDocumentation = true
	pages := kmsg.NewPtrDescribeTopicPartitionsRequest()
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "wide"}}
	dirs := kmsg.NewPtrDescribeLogDirsRequest()
	dirs.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "wide"}}
	for i := range int32(1000) {
		f.groups.offsets[messages.TopicPartition{Topic: "wide", Partition: i}] = group.Committed{Offset: 1}
	}
	coordinators, offsets := kmsg.NewPtrFindCoordinatorRequest(), kmsg.NewPtrOffsetFetchRequest()
	coordinators.Version, offsets.Version = 4, 8
	described, deleted := kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrDeleteGroupsRequest()
	f.groups.offsets[messages.TopicPartition{Topic: "wide"}] = group.Committed{Offset: 1, Metadata: strings.Repeat("x", 4096)}
	again, old := kmsg.NewPtrOffsetFetchRequest(), kmsg.NewPtrOffsetFetchRequest()
	again.Version, old.Version = 8, 7
	again.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "group", Topics: []kmsg.OffsetFetchRequestGroupTopic{}}}
	for range 100 {
		again.Groups[0].Topics = append(again.Groups[0].Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: "wide", Partitions: make([]int32, 100)})
		old.Topics = append(old.Topics, kmsg.OffsetFetchRequestTopic{Topic: "wide", Partitions: make([]int32, 100)})
	}
	for range 10_000 {
		coordinators.CoordinatorKeys = append(coordinators.CoordinatorKeys, "group")
		offsets.Groups = append(offsets.Groups, kmsg.OffsetFetchRequestGroup{Group: "group"})
		described.Groups = append(described.Groups, "group")
		deleted.Groups = append(deleted.Groups, "group")
		meta.Topics = append(meta.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("wide")})
		configs.Resources = append(configs.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "wide"})
		pages.Topics = append(pages.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: "wide"})
		producers.Topics[0].Partitions = append(producers.Topics[0].Partitions, 1)
		dirs.Topics[0].Partitions = append(dirs.Topics[0].Partitions, 1)
	}
	for _, req := range []kmsg.Request{meta, configs, pages, producers, dirs, coordinators, offsets, again, old, described, deleted} {
		if n := size(req); n > 128<<10 {
			t.Errorf("%T: an answer of %d bytes", req, n)
		}
	}
}

// packZeros compresses n zeros.
func packZeros(t *testing.T, c batch.Codec, n int64) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := packer(t, c, &packed)
	if _, err := io.CopyN(w, zeros{}, n); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func packer(t *testing.T, c batch.Codec, w io.Writer) io.WriteCloser {
	t.Helper()
	if c == batch.Gzip {
		return gzip.NewWriter(w)
	}
	z, err := zstd.NewWriter(w)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// counted counts how often partitions are looked up.
type counted struct {
	Partitions
	n *atomic.Int64
}

func (c counted) Lookup(tp messages.TopicPartition) Partition {
	c.n.Add(1)
	return c.Partitions.Lookup(tp)
}

// TestNamingATopicOftenCostsNothing: each of its partitions is looked at.
func TestNamingATopicOftenCostsNothing(t *testing.T) {
	f := newFakeCluster(t)
	f.create("wide", 1000, nil)
	var lookups atomic.Int64
	h := serve(t, f, func(d *Deps, _ *server.Options) { d.Partitions = counted{d.Partitions, &lookups} })
	req := metadataReq()
	for range 1000 {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("wide")})
	}
	ask[*kmsg.MetadataResponse](h.dial(t), req)
	if n := lookups.Load(); n > 10_000 {
		t.Errorf("partitions were looked at %d times", n)
	}
}

// Nor may writing the number of a broker in many ways.
func TestABrokersNameIsItsNumber(t *testing.T) {
	c := newOrders(t).dial(t)
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeDocumentation = 4, true
	for i := range 300 {
		req.Resources = append(req.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: strings.Repeat("0", i) + "1"})
	}
	c.send(req)
	body, err := c.readFrame()
	if err != nil || len(body) > 256<<10 {
		t.Errorf("an answer of %d bytes, %v", len(body), err)
	}
}

// TestAPartitionNamedOftenIsSearchedOnce: a search by time may unpack batches.
func TestAPartitionNamedOftenIsSearchedOnce(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 2, nil)
	var lookups atomic.Int64
	h := serve(t, f, func(d *Deps, _ *server.Options) { d.Partitions = counted{d.Partitions, &lookups} })
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 4, -1
	topic := kmsg.ListOffsetsRequestTopic{Topic: "orders"}
	for i := range int32(1000) {
		topic.Partitions = append(topic.Partitions, kmsg.ListOffsetsRequestTopicPartition{Partition: min(i, 1), Timestamp: startTime, CurrentLeaderEpoch: -1})
	}
	req.Topics = append(req.Topics, topic)
	parts := ask[*kmsg.ListOffsetsResponse](h.dial(t), req).Topics[0].Partitions
	if len(parts) != 1000 || parts[0].ErrorCode != 0 || parts[1].ErrorCode != kerr.InvalidRequest.Code || parts[999].ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("errors %d, %d and %d", parts[0].ErrorCode, parts[1].ErrorCode, parts[999].ErrorCode)
	}
	if n := lookups.Load(); n > 2 {
		t.Errorf("partitions were looked at %d times", n)
	}
}

// unpacking counts the searches by time that are under way, as each may unpack a batch.
type unpacking struct {
	*fakePartition
	now, most *atomic.Int64
	done      chan struct{}
}

func (u unpacking) View() View {
	v := u.fakePartition.View()
	v.Log = unpackingLog{v.Log, u}
	return v
}

type unpackingLog struct {
	Reader
	u unpacking
}

func (l unpackingLog) OffsetForTime(int64) (messages.Offset, int64, messages.LeaderEpoch, error) {
	if n := l.u.now.Add(1); n > l.u.most.Load() {
		l.u.most.Store(n)
	}
	<-l.u.done
	l.u.now.Add(-1)
	return 0, startTime, 3, nil
}

type onePartition struct{ p Partition }

func (o onePartition) Lookup(messages.TopicPartition) Partition { return o.p }

// TestSearchesByTimeAreBounded: together they unpack no more than there is memory for.
func TestSearchesByTimeAreBounded(t *testing.T) {
	const clients = 20
	f := newFakeCluster(t)
	f.create("orders", 1, nil)
	synctest.Test(t, func(t *testing.T) {
		u := unpacking{f.at("orders", 0), new(atomic.Int64), new(atomic.Int64), make(chan struct{})}
		h := servePipeWith(t, f, func(d *Deps) { d.Partitions = onePartition{u} })
		defer h.close()
		var all sync.WaitGroup
		for range clients {
			c := h.dial()
			all.Go(func() {
				req := kmsg.NewPtrListOffsetsRequest()
				req.Version, req.ReplicaID = 4, -1
				req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "orders", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: startTime, CurrentLeaderEpoch: -1}}}}
				ask[*kmsg.ListOffsetsResponse](c, req)
			})
		}
		room := h.broker.unpacking.Limit() / MaxUnpacked
		synctest.Wait()
		if now := u.now.Load(); now != room {
			t.Errorf("%d searches at a time, where there is room for %d", now, room)
		}
		close(u.done)
		all.Wait()
		if most := u.most.Load(); most > room {
			t.Errorf("%d searches at a time later, where there is room for %d", most, room)
		}
	})
}
