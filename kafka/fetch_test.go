package kafka

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/cluster/metadata"
	"understudy/messages"
)

func fetchParts(c *client, req *kmsg.FetchRequest) []kmsg.FetchResponseTopicPartition {
	c.t.Helper()
	resp := ask[*kmsg.FetchResponse](c, req)
	if resp.ErrorCode != 0 || len(resp.Topics) == 0 {
		return nil
	}
	return resp.Topics[0].Partitions
}

func TestFetchReads(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	first := h.at("orders", 0).batches[0]
	for _, offset := range []int64{0, 7, 19} { // also from the middle of a batch
		p := fetchParts(c, h.fetchReq(17, "orders", offset, 0))[0]
		if p.ErrorCode != 0 || p.HighWatermark != 20 || p.LastStableOffset != 20 || p.LogStartOffset != 0 || !bytes.Equal(p.RecordBatches, first) {
			t.Errorf("offset %d: error %d, high watermark %d, %d bytes", offset, p.ErrorCode, p.HighWatermark, len(p.RecordBatches))
		}
	}
	if p := fetchParts(c, h.fetchReq(17, "orders", 20, 0))[0]; p.ErrorCode != 0 || len(p.RecordBatches) != 0 {
		t.Errorf("at the end: error %d, %d bytes", p.ErrorCode, len(p.RecordBatches))
	}
	if n := liveSlices.Load(); n != 0 {
		t.Errorf("%d slices were not released", n)
	}
}

func TestFetchErrors(t *testing.T) {
	h := newOrders(t)
	h.at("orders", 0).change(func(p *fakePartition) { p.start = 5 })
	c := h.dial(t)
	with := func(topic string, part int32, change func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)) *kmsg.FetchRequest {
		req := h.fetchReq(12, topic, 10, part)
		if change != nil {
			change(req, &req.Topics[0].Partitions[0])
		}
		return req
	}
	type part = kmsg.FetchRequestTopicPartition
	for name, w := range map[string]struct {
		req  *kmsg.FetchRequest
		code int16
	}{
		"fine":            {with("orders", 0, nil), 0},
		"below the start": {with("orders", 0, func(_ *kmsg.FetchRequest, p *part) { p.FetchOffset = 4 }), kerr.OffsetOutOfRange.Code},
		"above the end":   {with("orders", 0, func(_ *kmsg.FetchRequest, p *part) { p.FetchOffset = 21 }), kerr.OffsetOutOfRange.Code},
		"negative offset": {with("orders", 0, func(_ *kmsg.FetchRequest, p *part) { p.FetchOffset = -1 }), kerr.OffsetOutOfRange.Code},
		"unknown topic":   {with("missing", 0, nil), kerr.UnknownTopicOrPartition.Code},
		"no partition":    {with("orders", 2, nil), kerr.UnknownTopicOrPartition.Code},
		"fenced epoch":    {with("orders", 0, func(_ *kmsg.FetchRequest, p *part) { p.CurrentLeaderEpoch = 2 }), kerr.FencedLeaderEpoch.Code},
		"unknown epoch":   {with("orders", 0, func(_ *kmsg.FetchRequest, p *part) { p.CurrentLeaderEpoch = 4 }), kerr.UnknownLeaderEpoch.Code},
		"right epoch":     {with("orders", 0, func(_ *kmsg.FetchRequest, p *part) { p.CurrentLeaderEpoch = 3 }), 0},
		"a follower":      {with("orders", 0, func(r *kmsg.FetchRequest, _ *part) { r.ReplicaID = 2 }), kerr.InvalidRequest.Code},
	} {
		if p := fetchParts(c, w.req)[0]; p.ErrorCode != w.code {
			t.Errorf("%s: error %v, want %v", name, kerr.ErrorForCode(p.ErrorCode), kerr.ErrorForCode(w.code))
		}
	}
	byID := h.fetchReq(13, "missing", 0, 0)
	byID.Topics[0].TopicID = messages.TopicID{77}
	if p := fetchParts(c, byID)[0]; p.ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("unknown id: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	follower := h.fetchReq(15, "orders", 10, 0)
	follower.ReplicaState.ID = 2
	if p := fetchParts(c, follower)[0]; p.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("a follower in version 15: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	h.at("orders", 0).change(func(p *fakePartition) { p.topicID = messages.TopicID{88} })
	if p := fetchParts(c, h.fetchReq(13, "orders", 10, 0))[0]; p.ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("a replica of an earlier topic: %v", kerr.ErrorForCode(p.ErrorCode))
	}
}

// TestFetchWaitsForTheNewLeadersName has a partition know that it does not lead any
// more before the metadata does.
func TestFetchWaitsForTheNewLeadersName(t *testing.T) {
	deposed(t, func(t *testing.T, f *fakeCluster, elections *fakeElections, c *client) {
		req := f.fetchReq(17, "orders", 0, 1)
		corr := c.send(req)
		synctest.Wait()
		elections.publish(succeed)
		resp := c.receive(req, corr).(*kmsg.FetchResponse)
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != 3 || p.CurrentLeader.LeaderEpoch != 7 || len(resp.Brokers) != 1 || resp.Brokers[0].Host != "three" {
			t.Errorf("%+v, %+v", p, resp.Brokers)
		}
	})
}

func TestFetchNamesTheNewLeader(t *testing.T) {
	h := newOrders(t)
	h.edit(func(e *metadata.Edit) {
		e.SetBroker(metadata.Broker{ID: 2, Epoch: 1, Host: "elsewhere", Port: 9999})
		e.SetPartition(messages.TopicPartition{Topic: "orders"}, metadata.Partition{Replicas: []int32{1, 2}, ISR: []int32{1, 2}, Leader: 2, LeaderEpoch: 4})
	})
	h.at("orders", 0).change(func(p *fakePartition) { p.err = messages.E("", messages.NotLeader, "", nil) })
	c := h.dial(t)
	for version := int16(12); version <= 17; version++ {
		resp := ask[*kmsg.FetchResponse](c, h.fetchReq(version, "orders", 0, 0))
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != 2 || p.CurrentLeader.LeaderEpoch != 4 {
			t.Errorf("version %d: %+v", version, p)
		}
		if version >= 16 && (len(resp.Brokers) != 1 || resp.Brokers[0].Host != "elsewhere") {
			t.Errorf("version %d: %+v", version, resp.Brokers)
		}
	}
}

func TestFetchTellsWhereLogsDiverge(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := h.fetchReq(12, "orders", 15, 0)
	req.Topics[0].Partitions[0].LastFetchedEpoch = 2
	p := fetchParts(c, req)[0]
	if p.ErrorCode != 0 || p.DivergingEpoch.Epoch != 1 || p.DivergingEpoch.EndOffset != 10 || len(p.RecordBatches) != 0 {
		t.Fatalf("%+v", p)
	}
}

func TestFetchKeepsItsBounds(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 3, nil)
	for part := range int32(3) {
		for range 4 {
			p := f.at("orders", part)
			p.add(stamped(makeBatch(1, 1000), p.end))
		}
	}
	h := serve(t, f, nil)
	c := h.dial(t)
	size := len(f.at("orders", 0).batches[0])
	got := func(version int16, maxBytes, partBytes int32) (n []int) {
		req := h.fetchReq(version, "orders", 0, 0, 1, 2)
		req.MaxBytes = maxBytes
		for i := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[i].PartitionMaxBytes = partBytes
		}
		for _, p := range fetchParts(c, req) {
			n = append(n, len(p.RecordBatches))
		}
		return n
	}
	for _, w := range []struct {
		version             int16
		maxBytes, partBytes int32
		want                [3]int
	}{
		{17, 1 << 30, 1 << 20, [3]int{4 * size, 4 * size, 4 * size}},
		{17, 1 << 30, int32(2 * size), [3]int{2 * size, 2 * size, 2 * size}},
		{17, int32(5 * size), 1 << 20, [3]int{4 * size, size, 0}},
		{17, 10, 1 << 20, [3]int{size, 0, 0}},                         // the first batch is whole
		{17, 1 << 30, 10, [3]int{size, 0, 0}},                         // later ones that do not fit are left out
		{17, 0, 0, [3]int{size, 0, 0}},                                //
		{2, 0, int32(size / 2), [3]int{size / 2, size / 2, size / 2}}, // old clients take what is cut off
	} {
		if n := got(w.version, w.maxBytes, w.partBytes); [3]int(n) != w.want {
			t.Errorf("version %d, %d bytes, %d for each partition: have %v, want %v", w.version, w.maxBytes, w.partBytes, n, w.want)
		}
	}
}

func TestFetchWaitsForRecords(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := h.fetchReq(17, "orders", 5, 1)
	req.MaxWaitMillis = 60_000
	corr := c.send(req)
	for h.at("orders", 1).waiting() == 0 {
		runtime.Gosched()
	}
	if used := h.broker.deps.Pool.Budget().Used(); used > 1<<10 {
		t.Errorf("a waiting fetch holds %d bytes", used)
	}
	producer := h.dial(t)
	producePart(producer, produceReq(9, -1, "orders", 1, makeBatch(2, 10)))
	p := c.receive(req, corr).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if batchOf(p.RecordBatches).NumRecords() != 2 || p.HighWatermark != 7 {
		t.Fatalf("%+v", p)
	}
	if n := h.at("orders", 1).waiting(); n != 0 {
		t.Errorf("%d registrations are left over", n)
	}
}

func TestFetchWaitsForEnoughRecords(t *testing.T) {
	h := newOrders(t)
	c, producer := h.dial(t), h.dial(t)
	req := h.fetchReq(17, "orders", 5, 0, 1)
	req.Topics[0].Partitions[0].FetchOffset = 20
	req.MaxWaitMillis, req.MinBytes = 60_000, 300
	corr := c.send(req)
	for _, part := range []int32{0, 1} { // 100 bytes each time
		for h.at("orders", part).waiting() == 0 {
			runtime.Gosched()
		}
		producePart(producer, produceReq(9, -1, "orders", part, makeBatch(1, 30)))
	}
	producePart(producer, produceReq(9, -1, "orders", 1, makeBatch(1, 100)))
	parts := c.receive(req, corr).(*kmsg.FetchResponse).Topics[0].Partitions
	if n := len(parts[0].RecordBatches) + len(parts[1].RecordBatches); n < 300 {
		t.Errorf("only %d bytes", n)
	}
}

func TestAWaitingFetchIsToldOfErrors(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := h.fetchReq(17, "orders", 5, 1)
	req.MaxWaitMillis = 60_000
	corr := c.send(req)
	for h.at("orders", 1).waiting() == 0 {
		runtime.Gosched()
	}
	h.at("orders", 1).change(func(p *fakePartition) { p.err = messages.E("", messages.StorageError, "", nil) })
	if p := c.receive(req, corr).(*kmsg.FetchResponse).Topics[0].Partitions[0]; p.ErrorCode != kerr.KafkaStorageError.Code {
		t.Fatalf("%+v", p)
	}
}

// TestAnIsolatedLeaderSendsThoseAwayWhoWait: what it has can be read, what comes
// next comes from another leader, if there is one.
func TestAnIsolatedLeaderSendsThoseAwayWhoWait(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := h.fetchReq(17, "orders", 5, 1)
	req.MaxWaitMillis = 60_000
	corr := c.send(req)
	for h.at("orders", 1).waiting() == 0 {
		runtime.Gosched()
	}
	h.at("orders", 1).change(func(p *fakePartition) { p.alone = true })
	p := c.receive(req, corr).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != -1 {
		t.Errorf("at the end: %+v", p)
	}
	if p := fetchParts(c, h.fetchReq(17, "orders", 0, 1))[0]; p.ErrorCode != 0 || len(p.RecordBatches) == 0 {
		t.Errorf("below the end: %+v", p)
	}
	meta := kmsg.NewPtrMetadataRequest() // of all topics
	meta.Version = 12
	for _, p := range ask[*kmsg.MetadataResponse](c, meta).Topics[0].Partitions {
		if alone := p.Partition == 1; alone != (p.Leader == -1) || alone != (p.ErrorCode == kerr.LeaderNotAvailable.Code) {
			t.Errorf("clients are told of partition %d: leader %d, error %d", p.Partition, p.Leader, p.ErrorCode)
		}
	}
}

func TestAFetchWhoseClientLeavesIsForgotten(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := h.fetchReq(17, "orders", 5, 1)
	req.MaxWaitMillis = 1 << 30
	c.send(req)
	for h.at("orders", 1).waiting() == 0 {
		runtime.Gosched()
	}
	c.conn.Close()
	for h.at("orders", 1).waiting() > 0 || h.server.Connections() > 0 {
		runtime.Gosched()
	}
}

func TestRequestsBehindAWaitingFetchAreHandled(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	fetch := h.fetchReq(17, "orders", 5, 1)
	fetch.MaxWaitMillis = 60_000
	produce := produceReq(9, -1, "orders", 1, makeBatch(2, 10))
	first, second := c.send(fetch), c.send(produce)
	if p := c.receive(fetch, first).(*kmsg.FetchResponse).Topics[0].Partitions[0]; len(p.RecordBatches) == 0 {
		t.Error("the produce behind the fetch did not end its wait")
	}
	c.receive(produce, second)
}

// The wait is timed on a clock of its own.
func TestFetchWaitsNoLongerThanAllowed(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, nil)
	synctest.Test(t, func(t *testing.T) {
		h := servePipe(t, f)
		defer h.close()
		req := h.fetchReq(17, "orders", 0, 0)
		req.MaxWaitMillis = 700
		begin := time.Now()
		if p := fetchParts(h.client, req)[0]; p.ErrorCode != 0 || len(p.RecordBatches) != 0 {
			t.Errorf("%+v", p)
		}
		if waited := time.Since(begin); waited != 700*time.Millisecond {
			t.Errorf("waited for %v", waited)
		}
	})
}

func TestFetchSession(t *testing.T) {
	h := newOrders(t)
	c, producer := h.dial(t), h.dial(t)
	full := h.fetchReq(17, "orders", 5, 1, 0)
	full.Topics[0].Partitions[1].FetchOffset = 20
	full.SessionEpoch = 0
	resp := ask[*kmsg.FetchResponse](c, full)
	if resp.SessionID == 0 || len(resp.Topics[0].Partitions) != 2 {
		t.Fatalf("%+v", resp)
	}
	next := func(epoch int32, change func(*kmsg.FetchRequest)) *kmsg.FetchRequest {
		req := h.fetchReq(17, "orders", 0)
		req.Topics = nil
		req.SessionID, req.SessionEpoch = resp.SessionID, epoch
		if change != nil {
			change(req)
		}
		return req
	}
	if r := ask[*kmsg.FetchResponse](c, next(1, nil)); r.ErrorCode != 0 || len(r.Topics) != 0 || r.SessionID != resp.SessionID {
		t.Fatalf("nothing new: %+v", r)
	}
	producePart(producer, produceReq(9, -1, "orders", 1, makeBatch(2, 10)))
	if r := ask[*kmsg.FetchResponse](c, next(2, nil)); len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 || r.Topics[0].Partitions[0].Partition != 1 {
		t.Fatalf("one partition has news: %+v", r)
	}
	moved := next(3, func(r *kmsg.FetchRequest) {
		r.Topics = h.fetchReq(17, "orders", 7, 1).Topics
		r.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{TopicID: h.image.Load().Topic("orders").ID, Partitions: []int32{0}}}
	})
	if r := ask[*kmsg.FetchResponse](c, moved); r.ErrorCode != 0 || len(r.Topics) != 0 {
		t.Fatalf("moved on: %+v", r)
	}
	producePart(producer, produceReq(9, -1, "orders", 0, makeBatch(2, 10)))
	if r := ask[*kmsg.FetchResponse](c, next(4, nil)); len(r.Topics) != 0 {
		t.Fatalf("a forgotten partition is answered: %+v", r)
	}
	if r := ask[*kmsg.FetchResponse](c, next(4, nil)); r.ErrorCode != kerr.InvalidFetchSessionEpoch.Code {
		t.Fatalf("an epoch that was used: %+v", r)
	}
	if r := ask[*kmsg.FetchResponse](c, next(-1, nil)); r.ErrorCode != 0 || r.SessionID != 0 {
		t.Fatalf("the session's end: %+v", r)
	}
	if r := ask[*kmsg.FetchResponse](c, next(5, nil)); r.ErrorCode != kerr.FetchSessionIDNotFound.Code {
		t.Fatalf("after its end: %+v", r)
	}
}

func TestErrorsStayInASessionsAnswers(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := h.fetchReq(12, "orders", 5, 1, 9)
	req.SessionEpoch = 0
	id := ask[*kmsg.FetchResponse](c, req).SessionID
	for epoch := range int32(3) {
		req := h.fetchReq(12, "orders", 0)
		req.Topics, req.SessionID, req.SessionEpoch = nil, id, epoch+1
		r := ask[*kmsg.FetchResponse](c, req)
		if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 || r.Topics[0].Partitions[0].ErrorCode != 3 {
			t.Fatalf("epoch %d: %+v", epoch+1, r)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s := newSessions(2, 10)
	open := func(parts int, now int64) *session {
		f := &fetching{}
		for i := range parts {
			f.parts = append(f.parts, fetchPart{partKey: partKey{name: "t", index: int32(i)}})
		}
		return s.open(f, now)
	}
	a, b := open(4, 0), open(4, 10)
	if a == nil || b == nil || a.id == b.id {
		t.Fatal("there was room")
	}
	if open(1, 20) != nil {
		t.Error("a third session was opened")
	}
	if c := open(1, sessionIdle+5); c == nil || s.byID[a.id] != nil || s.byID[b.id] == nil {
		t.Error("the oldest session was not evicted for a new one")
	}
	if open(11, 1<<40) != nil {
		t.Error("a session has more partitions than all may have")
	}
	if s.parts != 0 || len(s.byID) != 0 {
		t.Errorf("%d partitions of %d sessions", s.parts, len(s.byID))
	}
}

func TestFullAnswersDoNotStarvePartitionsOfASession(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 3, nil)
	for part := range int32(3) {
		for range 50 {
			p := f.at("orders", part)
			p.add(stamped(makeBatch(1, 1000), p.end))
		}
	}
	h := serve(t, f, nil)
	c := h.dial(t)
	req := h.fetchReq(17, "orders", 0, 0, 1, 2)
	req.SessionEpoch, req.MaxBytes = 0, 1500
	resp := ask[*kmsg.FetchResponse](c, req)
	id, served := resp.SessionID, map[int32]int{}
	for epoch := range int32(9) {
		next := h.fetchReq(17, "orders", 0)
		next.Topics, next.SessionID, next.SessionEpoch, next.MaxBytes = nil, id, epoch+1, 1500
		for _, topic := range ask[*kmsg.FetchResponse](c, next).Topics {
			for _, p := range topic.Partitions {
				if len(p.RecordBatches) > 0 {
					served[p.Partition]++
				}
			}
		}
	}
	if served[0] != 3 || served[1] != 3 || served[2] != 3 {
		t.Errorf("served: %v", served)
	}
}

func TestEpochsOutsideOfTheLogs(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	h.at("orders", 0).change(func(p *fakePartition) { p.epoch, p.start = 5, 5 })
	for asked, want := range map[int32][2]int64{-1: {-1, -1}, 0: {0, 5}, 4: {3, 20}, 5: {5, 20}, 9: {-1, -1}} {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.Version, req.ReplicaID = 4, -1
		req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "orders", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: 0, CurrentLeaderEpoch: -1, LeaderEpoch: asked}}}}
		p := ask[*kmsg.OffsetForLeaderEpochResponse](c, req).Topics[0].Partitions[0]
		if got := [2]int64{int64(p.LeaderEpoch), p.EndOffset}; got != want || p.ErrorCode != 0 {
			t.Errorf("epoch %d: %v, error %d; want %v", asked, got, p.ErrorCode, want)
		}
	}
	for _, w := range []struct {
		last   int32
		offset int64
		code   int16
		at     int64 // where the log diverges; -1: it does not
	}{
		{0, 4, kerr.OffsetOutOfRange.Code, -1}, // the records have been deleted
		{0, 5, 0, -1},
		{0, 15, 0, 5},
		{9, 15, kerr.OffsetOutOfRange.Code, -1}, // nobody has led in that epoch
	} {
		req := h.fetchReq(12, "orders", w.offset, 0)
		req.Topics[0].Partitions[0].LastFetchedEpoch = w.last
		if p := fetchParts(c, req)[0]; p.ErrorCode != w.code || p.DivergingEpoch.EndOffset != w.at {
			t.Errorf("epoch %d, offset %d: error %v, diverging at %d", w.last, w.offset, kerr.ErrorForCode(p.ErrorCode), p.DivergingEpoch.EndOffset)
		}
	}
}

// TestAnAnswerThatIsFullDoesNotWait asks for more bytes than it allows to be answered.
func TestAnAnswerThatIsFullDoesNotWait(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 2, nil)
	for range 4 {
		p := f.at("orders", 0)
		p.add(stamped(makeBatch(1, 1000), p.end))
	}
	size := len(f.at("orders", 0).batches[0])
	for name, b := range map[string]struct{ min, max, part int }{
		"of the whole answer": {1 << 20, size + size/2, 1 << 20},
		"of a partition":      {size + size/2, 1 << 20, size + size/2},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := servePipe(t, f)
			defer h.close()
			req := h.fetchReq(17, "orders", 0, 0, 1)
			req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 60_000, int32(b.min), int32(b.max)
			for i := range req.Topics[0].Partitions {
				req.Topics[0].Partitions[i].PartitionMaxBytes = int32(b.part)
			}
			began := time.Now()
			fetchParts(h.client, req)
			if waited := time.Since(began); waited != 0 {
				t.Errorf("the bound %s: answered after %v", name, waited)
			}
		})
	}
}

// TestAWaitingFetchOfASessionIsCharged: the request names no partition, and holds all
// of the session's.
func TestAWaitingFetchOfASessionIsCharged(t *testing.T) {
	const parts = 1000
	f := newFakeCluster(t)
	f.create("wide", parts, nil)
	h := serve(t, f, nil)
	c := h.dial(t)
	var all []int32
	for i := range int32(parts) {
		all = append(all, i)
	}
	req := h.fetchReq(12, "wide", 0, all...)
	req.SessionEpoch = 0
	next := h.fetchReq(12, "wide", 0)
	next.Topics, next.SessionEpoch, next.MaxWaitMillis = nil, 1, 60_000
	next.SessionID = ask[*kmsg.FetchResponse](c, req).SessionID
	c.send(next)
	for h.at("wide", parts-1).waiting() == 0 {
		runtime.Gosched()
	}
	if used, least := h.broker.deps.Pool.Budget().Used(), int64(parts*unsafe.Sizeof(fetchPart{})); used < least {
		t.Errorf("a fetch that holds %d bytes is charged for %d", least, used)
	}
}

// TestAWaitingFetchForgetsWhatItForgot has fetches wait that name many partitions of
// which they want to hear no more.
func TestAWaitingFetchForgetsWhatItForgot(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := h.fetchReq(12, "orders", 5, 1)
	req.MaxWaitMillis = 60_000
	req.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "orders", Partitions: make([]int32, 200_000)}}
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	const fetches = 16
	for range fetches {
		c.send(req)
	}
	for h.at("orders", 1).waiting() < fetches {
		runtime.Gosched()
	}
	if grown := heap() - before; grown > 32<<20 {
		t.Errorf("%d fetches that wait hold %d bytes", fetches, grown)
	}
}

// TestSessionsKeepNoEndlessNames: what a session remembers is bounded by its
// partitions, whose names must be bounded for that.
func TestSessionsKeepNoEndlessNames(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	long := h.fetchReq(12, strings.Repeat("x", 100_000), 0, 0)
	long.SessionEpoch = 0
	if resp := ask[*kmsg.FetchResponse](c, long); resp.ErrorCode != 0 || resp.SessionID != 0 || len(resp.Topics) != 1 {
		t.Errorf("a session remembers a name of 100 kB: session %d", resp.SessionID)
	}
	short := h.fetchReq(12, "orders", 5, 1)
	short.SessionEpoch = 0
	long.SessionID, long.SessionEpoch = ask[*kmsg.FetchResponse](c, short).SessionID, 1
	if resp := ask[*kmsg.FetchResponse](c, long); resp.ErrorCode != kerr.FetchSessionIDNotFound.Code {
		t.Errorf("a session takes up a name of 100 kB: %v", kerr.ErrorForCode(resp.ErrorCode))
	}
}

// TestAPartitionNamedOftenIsFetchedOnce: it would be waited for as often.
func TestAPartitionNamedOftenIsFetchedOnce(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 2, nil)
	synctest.Test(t, func(t *testing.T) {
		h := servePipe(t, f)
		defer h.close()
		req := h.fetchReq(12, "orders", 0, make([]int32, 1000)...)
		for i := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[i].Partition = 1
		}
		req.MaxWaitMillis = 60_000
		corr := h.client.send(req)
		synctest.Wait()
		if n := h.at("orders", 1).waiting(); n != 1 {
			t.Errorf("the partition is waited for %d times", n)
		}
		producePart(h.dial(), produceReq(9, -1, "orders", 1, makeBatch(2, 10)))
		if parts := h.client.receive(req, corr).(*kmsg.FetchResponse).Topics[0].Partitions; len(parts) != 1 || len(parts[0].RecordBatches) == 0 {
			t.Errorf("it is answered %d times", len(parts))
		}
	})
}
