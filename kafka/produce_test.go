package kafka

import (
	"errors"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/cluster/metadata"
	"understudy/kafka/server"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
)

func producePart(c *client, req *kmsg.ProduceRequest) kmsg.ProduceResponseTopicPartition {
	c.t.Helper()
	return ask[*kmsg.ProduceResponse](c, req).Topics[0].Partitions[0]
}

func TestProduceValidates(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 2, nil)
	f.create("small", 1, map[string]string{"max.message.bytes": "200"})
	f.create("strict", 1, map[string]string{"message.timestamp.before.max.ms": "1000", "message.timestamp.after.max.ms": "1000"})
	h := serve(t, f, nil)
	c := h.dial(t)

	with := func(change func(batch.Fields) batch.Fields) []byte {
		b := makeBatch(1, 10)
		return batch.Assemble(nil, change(b.Fields()), b.Payload())
	}
	flipped := makeBatch(1, 10)
	flipped[len(flipped)-1] ^= 1
	old := makeBatch(1, 10)
	old[16] = 1
	lying := with(func(f batch.Fields) batch.Fields { f.NumRecords, f.LastOffsetDelta = 2, 1; return f })
	zstd, err := codec.Recompress(makeBatch(10, 100), batch.Zstd, 3, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]struct {
		version, acks int16
		topic         string
		part          int32
		records       []byte
		code          int16
	}{
		"good":                {9, -1, "orders", 0, makeBatch(3, 10), 0},
		"acks of 1":           {9, 1, "orders", 0, makeBatch(3, 10), 0},
		"unknown topic":       {9, -1, "missing", 0, makeBatch(1, 10), kerr.UnknownTopicOrPartition.Code},
		"unknown partition":   {9, -1, "orders", 2, makeBatch(1, 10), kerr.UnknownTopicOrPartition.Code},
		"negative partition":  {9, -1, "orders", -1, makeBatch(1, 10), kerr.UnknownTopicOrPartition.Code},
		"acks of 2":           {9, 2, "orders", 0, makeBatch(1, 10), kerr.InvalidRequiredAcks.Code},
		"no records":          {9, -1, "orders", 0, nil, kerr.InvalidRecord.Code},
		"two batches":         {9, -1, "orders", 0, append(makeBatch(1, 10), makeBatch(1, 10)...), kerr.InvalidRecord.Code},
		"flipped bit":         {9, -1, "orders", 0, flipped, kerr.CorruptMessage.Code},
		"cut off":             {9, -1, "orders", 0, makeBatch(1, 10)[:65], kerr.CorruptMessage.Code},
		"old format":          {9, -1, "orders", 0, old, kerr.UnsupportedForMessageFormat.Code},
		"old version":         {2, -1, "orders", 0, makeBatch(1, 10), kerr.UnsupportedForMessageFormat.Code},
		"a record count lies": {9, -1, "orders", 0, lying, kerr.InvalidRecord.Code},
		"too large":           {9, -1, "small", 0, makeBatch(1, 300), kerr.MessageTooLarge.Code},
		"within the size":     {9, -1, "small", 0, makeBatch(1, 50), 0},
		"too old":             {9, -1, "strict", 0, with(func(f batch.Fields) batch.Fields { f.BaseTimestamp -= 2000; return f }), kerr.InvalidTimestamp.Code},
		"too new":             {9, -1, "strict", 0, with(func(f batch.Fields) batch.Fields { f.MaxTimestamp += 2000; return f }), kerr.InvalidTimestamp.Code},
		"in time":             {9, -1, "strict", 0, makeBatch(1, 10), 0},
		"transactional": {9, -1, "orders", 0, with(func(f batch.Fields) batch.Fields {
			f.Attributes |= batch.AttrTransactional
			f.ProducerID, f.ProducerEpoch, f.BaseSequence = 1, 0, 0
			return f
		}), kerr.InvalidRequest.Code},
		"control":               {9, -1, "orders", 0, with(func(f batch.Fields) batch.Fields { f.Attributes |= batch.AttrControl; return f }), kerr.InvalidRecord.Code},
		"zstd":                  {7, -1, "orders", 0, zstd, 0},
		"zstd in an old client": {6, -1, "orders", 0, zstd, kerr.UnsupportedCompressionType.Code},
		"unknown codec":         {9, -1, "orders", 0, with(func(f batch.Fields) batch.Fields { f.Attributes |= 7; return f }), kerr.UnsupportedCompressionType.Code},
		"producer without seq":  {9, -1, "orders", 0, with(func(f batch.Fields) batch.Fields { f.ProducerID, f.ProducerEpoch = 5, 0; return f }), kerr.InvalidRecord.Code},
	} {
		p := producePart(c, produceReq(w.version, w.acks, w.topic, w.part, w.records))
		if p.ErrorCode != w.code || (p.BaseOffset < 0) != (w.code != 0) {
			t.Errorf("%s: error %v, base offset %d; want error %v", name, kerr.ErrorForCode(p.ErrorCode), p.BaseOffset, kerr.ErrorForCode(w.code))
		}
		if w.version >= 8 && w.code != 0 && p.ErrorMessage == nil {
			t.Errorf("%s: no error message", name)
		}
	}
	req := produceReq(9, -1, "orders", 0, makeBatch(1, 10))
	req.TransactionID = kmsg.StringPtr("txn")
	if p := producePart(c, req); p.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("a transactional id: %v", kerr.ErrorForCode(p.ErrorCode))
	}
}

func TestProduceAnswersEachPartition(t *testing.T) {
	f := newFakeCluster(t)
	f.create("a", 2, nil)
	f.create("b", 1, nil)
	h := serve(t, f, nil)
	c := h.dial(t)
	req := produceReq(11, -1, "a", 0, makeBatch(2, 10))
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Partition: 7, Records: makeBatch(1, 1)}, kmsg.ProduceRequestTopicPartition{Partition: 1, Records: makeBatch(3, 10)})
	req.Topics = append(req.Topics, kmsg.ProduceRequestTopic{Topic: "b", Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: 0, Records: makeBatch(4, 10)}}})
	for round := range int64(3) {
		resp := ask[*kmsg.ProduceResponse](c, req)
		a, b := resp.Topics[0].Partitions, resp.Topics[1].Partitions
		if len(resp.Topics) != 2 || resp.Topics[0].Topic != "a" || a[0].BaseOffset != 2*round || a[1].ErrorCode != 3 || a[2].BaseOffset != 3*round || b[0].BaseOffset != 4*round {
			t.Fatalf("round %d: %+v", round, resp)
		}
	}
}

func TestProduceRecompressesAsTheTopicWants(t *testing.T) {
	f := newFakeCluster(t)
	f.create("lz4", 1, map[string]string{"compression.type": "lz4"})
	f.create("plain", 1, map[string]string{"compression.type": "uncompressed"})
	h := serve(t, f, nil)
	c := h.dial(t)
	for topic, want := range map[string]batch.Codec{"lz4": batch.LZ4, "plain": batch.None} {
		for _, from := range []batch.Codec{batch.None, batch.Gzip, batch.LZ4} {
			b, err := codec.Recompress(makeBatch(50, 100), from, -1, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if p := producePart(c, produceReq(9, -1, topic, 0, b)); p.ErrorCode != 0 {
				t.Fatal(kerr.ErrorForCode(p.ErrorCode))
			}
			stored := h.at(topic, 0).batches
			last := stored[len(stored)-1]
			if last.Codec() != want || last.NumRecords() != 50 || last.CheckCRC() != nil {
				t.Errorf("%s: %v was stored as %v with %d records", topic, from, last.Codec(), last.NumRecords())
			}
		}
	}
}

func TestSettingsOfATopicTakeEffectAtOnce(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, nil)
	h := serve(t, f, nil)
	c := h.dial(t)
	if p := producePart(c, produceReq(9, -1, "orders", 0, makeBatch(1, 500))); p.ErrorCode != 0 {
		t.Fatal(p.ErrorCode)
	}
	h.edit(func(e *metadata.Edit) { e.SetTopicConfig("orders", map[string]string{"max.message.bytes": "100"}) })
	if p := producePart(c, produceReq(9, -1, "orders", 0, makeBatch(1, 500))); p.ErrorCode != kerr.MessageTooLarge.Code {
		t.Fatal(p.ErrorCode)
	}
}

func TestProduceNamesTheNewLeader(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, nil)
	h := serve(t, f, nil)
	h.edit(func(e *metadata.Edit) {
		e.SetBroker(metadata.Broker{ID: 2, Epoch: 1, Host: "elsewhere", Port: 9999, Rack: "there"})
		e.SetPartition(messages.TopicPartition{Topic: "orders"}, metadata.Partition{Replicas: []int32{1, 2}, ISR: []int32{1, 2}, Leader: 2, LeaderEpoch: 4})
	})
	h.at("orders", 0).change(func(p *fakePartition) { p.err = messages.E("", messages.NotLeader, "", nil) })
	c := h.dial(t)
	for version := int16(9); version <= 11; version++ {
		resp := ask[*kmsg.ProduceResponse](c, produceReq(version, -1, "orders", 0, makeBatch(1, 10)))
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != kerr.NotLeaderForPartition.Code {
			t.Fatal(p.ErrorCode)
		}
		if version < 10 {
			continue
		}
		if p.CurrentLeader.LeaderID != 2 || p.CurrentLeader.LeaderEpoch != 4 || len(resp.Brokers) != 1 || resp.Brokers[0].Host != "elsewhere" || resp.Brokers[0].Port != 9999 {
			t.Errorf("version %d: %+v, %+v", version, p.CurrentLeader, resp.Brokers)
		}
	}
}

// TestProduceWaitsForTheNewLeadersName has a partition know that it does not lead
// any more before the metadata does.
func TestProduceWaitsForTheNewLeadersName(t *testing.T) {
	deposed(t, func(t *testing.T, _ *fakeCluster, elections *fakeElections, c *client) {
		req := produceReq(11, -1, "orders", 1, makeBatch(1, 10))
		corr := c.send(req)
		synctest.Wait()
		elections.publish(func(e *metadata.Edit) { e.SetController(3) }) // which is no answer
		synctest.Wait()
		elections.publish(succeed)
		resp := c.receive(req, corr).(*kmsg.ProduceResponse)
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != 3 || p.CurrentLeader.LeaderEpoch != 7 || len(resp.Brokers) != 1 || resp.Brokers[0].Host != "three" {
			t.Errorf("%+v, %+v", p, resp.Brokers)
		}
	})
}

// TestProduceWaitsForAReplicaThatOpens has a leader that cannot take records yet:
// when it can, it takes those that came meanwhile, in their order.
func TestProduceWaitsForAReplicaThatOpens(t *testing.T) {
	deposed(t, func(t *testing.T, f *fakeCluster, _ *fakeElections, c *client) {
		reqs := []*kmsg.ProduceRequest{produceReq(11, -1, "orders", 1, makeBatch(1, 10)), produceReq(11, -1, "orders", 1, makeBatch(2, 10))}
		first, second := c.send(reqs[0]), make(chan int32, 1)
		go func() { second <- c.send(reqs[1]) }() // which is not read before the first has gone on
		synctest.Wait()
		f.at("orders", 1).change(func(p *fakePartition) { p.err = nil })
		for i, req := range reqs {
			corr := first
			if i > 0 {
				corr = <-second
			}
			p := c.receive(req, corr).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
			if p.ErrorCode != 0 || p.BaseOffset != int64(i) {
				t.Errorf("request %d: %+v", i, p)
			}
		}
	})
}

func TestAcksOfNoneGetNoAnswer(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, nil)
	h := serve(t, f, nil)
	c := h.dial(t)
	c.send(produceReq(9, 0, "orders", 0, makeBatch(2, 10)))
	c.send(produceReq(9, 0, "orders", 0, makeBatch(2, 10)))
	if p := producePart(c, produceReq(9, 1, "orders", 0, makeBatch(1, 10))); p.BaseOffset != 4 {
		t.Fatalf("base offset %d", p.BaseOffset)
	}
	c.send(produceReq(9, 0, "missing", 0, makeBatch(2, 10)))
	c.closed()
}

func TestPipelinedProducesKeepTheirOrder(t *testing.T) {
	f := newFakeCluster(t)
	f.create("slow", 1, nil)
	f.create("fast", 1, nil)
	h := serve(t, f, nil)
	h.at("slow", 0).hold = true
	c := h.dial(t)
	var reqs []kmsg.Request
	for i := range 40 {
		topic := "slow"
		if i%3 == 1 {
			topic = "fast"
		}
		reqs = append(reqs, produceReq(9, -1, topic, 0, makeBatch(1, 10+i)))
	}
	var corrs []int32
	for _, r := range reqs {
		corrs = append(corrs, c.send(r))
	}
	for h.at("slow", 0).count()+h.at("fast", 0).count() < len(reqs) {
		runtime.Gosched()
	}
	h.at("slow", 0).release(nil)
	next := map[string]int64{}
	for i, r := range reqs {
		resp := c.receive(r, corrs[i]).(*kmsg.ProduceResponse)
		topic := resp.Topics[0].Topic
		if got := resp.Topics[0].Partitions[0].BaseOffset; got != next[topic] {
			t.Fatalf("request %d to %s: offset %d, want %d", i, topic, got, next[topic])
		}
		next[topic]++
	}
}

func (p *fakePartition) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.appends
}

// The request's memory must stay as it is until the actor has answered, also when
// the client has gone.
func TestBatchesStayWhileTheActorHasThem(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, nil)
	h := serve(t, f, nil)
	h.at("orders", 0).hold = true
	c := h.dial(t)
	c.send(produceReq(9, -1, "orders", 0, makeBatch(100, 100)))
	for h.at("orders", 0).count() == 0 {
		runtime.Gosched()
	}
	c.conn.Close()
	for h.server.Connections() > 0 {
		runtime.Gosched()
	}
	other := h.dial(t) // would get the memory if it were free
	for range 20 {
		if p := producePart(other, produceReq(9, -1, "missing", 0, makeBatch(100, 100))); p.ErrorCode == 0 {
			t.Fatal("no error")
		}
	}
	held := h.at("orders", 0).held[0].Batches[0]
	if err := held.CheckCRC(); err != nil || held.NumRecords() != 100 {
		t.Fatalf("the batch has changed: %v", err)
	}
	h.at("orders", 0).release(nil)
}

func TestAnActorsErrorReachesTheClient(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, nil)
	h := serve(t, f, nil)
	h.at("orders", 0).hold = true
	c := h.dial(t)
	req := produceReq(9, -1, "orders", 0, makeBatch(1, 10))
	corr := c.send(req)
	for h.at("orders", 0).count() == 0 {
		runtime.Gosched()
	}
	h.at("orders", 0).release(messages.E("append", messages.StorageError, "orders-0", errors.New("disk")))
	p := c.receive(req, corr).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if p.ErrorCode != kerr.KafkaStorageError.Code || *p.ErrorMessage != "append: storage error: orders-0: disk" || p.BaseOffset != -1 {
		t.Fatalf("%+v", p)
	}
}

func TestRequestsLargerThanAllowedEndTheConnection(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, map[string]string{"max.message.bytes": "100000000"})
	h := serve(t, f, func(d *Deps, _ *server.Options) { d.Limits.ProduceBytes, d.Limits.RequestBytes = 4<<20, 1000 })
	c := h.dial(t)
	if p := producePart(c, produceReq(9, -1, "orders", 0, makeBatch(30, 100_000))); p.ErrorCode != 0 {
		t.Fatal(p.ErrorCode)
	}
	frame := []byte{0, 80, 0, 0, 0, 0, 0, 9}
	if _, err := c.conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	c.closed()
	c = h.dial(t)
	if _, err := c.conn.Write([]byte{0, 0, 4, 0, 0, 3, 0, 9}); err != nil {
		t.Fatal(err)
	}
	c.closed()
}

// TestTopicsWithoutPartitionsAreNotProducedTo: a topic takes three bytes of a request.
func TestTopicsWithoutPartitionsAreNotProducedTo(t *testing.T) {
	h := newOrders(t)
	c := h.dial(t)
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.Topics = 9, -1, make([]kmsg.ProduceRequestTopic, 200_000)
	c.send(req)
	c.closed()
}

// TestABatchWithoutMaxTimestampIsBoundToo: the newest of its records counts.
func TestABatchWithoutMaxTimestampIsBoundToo(t *testing.T) {
	f := newFakeCluster(t)
	f.create("orders", 1, nil)
	h := serve(t, f, nil)
	bu := batch.NewBuilder(batch.NoProducer)
	bu.Add(startTime, nil, []byte("now"))
	bu.Add(startTime+1000*24*3600_000, nil, []byte("years from now"))
	b := bu.Build(nil)
	c := h.dial(t)
	if p := producePart(c, produceReq(9, -1, "orders", 0, b)); p.ErrorCode != kerr.InvalidTimestamp.Code {
		t.Errorf("with a max timestamp: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	b.SetMaxTimestamp(-1)
	if p := producePart(c, produceReq(9, -1, "orders", 0, b)); p.ErrorCode != kerr.InvalidTimestamp.Code {
		t.Errorf("without: %v", kerr.ErrorForCode(p.ErrorCode))
	}
}

// TestWhatWasUnpackedIsCharged: as long as it waits to be appended it is held.
func TestWhatWasUnpackedIsCharged(t *testing.T) {
	const size = 1 << 20
	f := newFakeCluster(t)
	f.create("plain", 1, map[string]string{"compression.type": "uncompressed", "max.message.bytes": "2000000"})
	h := serve(t, f, nil)
	h.at("plain", 0).hold = true
	small, err := codec.Recompress(makeBatch(1, size), batch.Gzip, -1, 2*size)
	if err != nil {
		t.Fatal(err)
	}
	c := h.dial(t)
	req := produceReq(9, -1, "plain", 0, small)
	corr := c.send(req)
	for h.at("plain", 0).count() == 0 {
		runtime.Gosched()
	}
	if used := h.broker.deps.Pool.Budget().Used(); used < size {
		t.Errorf("a batch of %d bytes is charged for %d", size, used)
	}
	h.at("plain", 0).release(nil)
	c.receive(req, corr)
}

// TestWhatIsStoredIsBoundToo: a batch can be larger as the topic wants it stored.
func TestWhatIsStoredIsBoundToo(t *testing.T) {
	f := newFakeCluster(t)
	f.create("plain", 1, map[string]string{"compression.type": "uncompressed", "max.message.bytes": "10000"})
	f.create("asproduced", 1, map[string]string{"max.message.bytes": "10000"})
	c := serve(t, f, nil).dial(t)
	for topic, want := range map[string]int16{"plain": kerr.MessageTooLarge.Code, "asproduced": 0} {
		small, err := codec.Recompress(makeBatch(1, 20_000), batch.Gzip, -1, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if p := producePart(c, produceReq(9, -1, topic, 0, small)); p.ErrorCode != want {
			t.Errorf("%s: %v", topic, kerr.ErrorForCode(p.ErrorCode))
		}
	}
}
