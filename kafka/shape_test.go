package kafka

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"understudy/kafka/wire"
)

// fill gives every field of a request a random value: arrays of up to three
// elements, null where that is allowed, unknown tags here and there.
func fill(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[kmsg.Tags]() {
			if r.IntN(4) == 0 {
				v.Addr().Interface().(*kmsg.Tags).Set(uint32(20+r.IntN(9)), []byte("tag"))
			}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Version" {
				fill(v.Field(i), r)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(bytes.Repeat([]byte{7}, r.IntN(9)))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			fill(v.Index(i), r)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), r)
		}
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), r)
		}
	case reflect.String:
		v.SetString("abcdefgh"[:r.IntN(8)])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.IntN(100)) - 1)
	case reflect.Uint8:
		v.SetUint(uint64(r.IntN(256)))
	}
}

func randomRequest(key, version int16, r *rand.Rand) kmsg.Request {
	req := kmsg.RequestForKey(key)
	fill(reflect.ValueOf(req).Elem(), r)
	req.SetVersion(version)
	return req
}

// decodes runs what a request's bytes pass through before its meaning is looked
// at, and reports whether they are let through.
func decodes(a *api, version int16, body []byte) bool {
	flex := a.flexible >= 0 && version >= a.flexible
	switch a.key {
	case 0:
		return (&producing{version: version, flex: flex}).decode(body)
	case 1:
		return (&fetching{version: version, flex: flex}).decode(body)
	}
	body, err := a.scan(version, body)
	if err != nil {
		return false
	}
	req := kmsg.RequestForKey(a.key)
	req.SetVersion(version)
	return req.ReadFrom(body) == nil
}

func parsedAPIs() []api {
	list := apis()
	for i := range list {
		if list[i].shape != "" {
			list[i].parsed = wire.MustShape(list[i].flexible, list[i].shape)
		}
	}
	return list
}

func TestShapesAreThoseOfTheProtocol(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, a := range parsedAPIs() {
		for v := min(a.min, a.accepts); v <= a.max; v++ {
			for range 50 {
				body := randomRequest(a.key, v, r).AppendTo(nil)
				if !decodes(&a, v, body) {
					t.Fatalf("%s version %d refuses %x", a.name, v, body)
				}
				if decodes(&a, v, append(body, 0)) != a.trailing {
					t.Fatalf("%s version %d: a byte too many behind %x", a.name, v, body)
				}
				for cut := range len(body) {
					if decodes(&a, v, body[:cut]) {
						t.Fatalf("%s version %d takes %x, which is cut off", a.name, v, body[:cut])
					}
				}
			}
		}
	}
}

// lies are what a hostile client writes where a count or a length may stand.
var lies = [][]byte{
	{0x7f, 0xff, 0xff, 0xff}, {0xff, 0xff, 0xff, 0xff, 0x0f}, {0xff, 0xff, 0xff, 0xff}, {0x7f, 0xff},
	{0x00, 0x01, 0x00, 0x00}, {0xff, 0x7f}, {0x80, 0x80, 0x04},
}

// Whatever a request claims, decoding it takes memory in proportion to its size.
func TestDecodingTakesMemoryInProportion(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	tail := make([]byte, 32<<10)
	for _, a := range parsedAPIs() {
		for v := min(a.min, a.accepts); v <= a.max; v++ {
			body := randomRequest(a.key, v, r).AppendTo(nil)
			for len(body) < 20 {
				body = append(body, 0)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			bytesIn := 0
			for at := range min(len(body), 100) {
				for i, lie := range lies {
					frame := append(append(bytes.Clone(body[:at]), lie...), body[min(at+len(lie), len(body)):]...)
					if i%3 == at%3 {
						frame = append(frame, tail...) // so that the claim is not refused for want of bytes
					}
					bytesIn += len(frame)
					decodes(&a, v, frame)
				}
			}
			runtime.ReadMemStats(&after)
			// The frames themselves are copied twice while they are made.
			if took := int(after.TotalAlloc - before.TotalAlloc); took > memoryFactor*(decodeCost+3)*bytesIn+1<<20 {
				t.Errorf("%s version %d: %d bytes of requests took %d bytes of memory", a.name, v, bytesIn, took)
			}
		}
	}
}

// The densest requests that can be are the dearest to decode.
func TestDenseRequests(t *testing.T) {
	const size = 256 << 10
	for _, a := range parsedAPIs() {
		if a.parsed == nil {
			continue
		}
		for v := min(a.min, a.accepts); v <= a.max; v++ {
			for _, fillByte := range []byte{0, 1, 2} {
				for count := size; count > 1000; count /= 2 {
					var body []byte
					if a.parsed.Flexible(v) {
						body = wire.AppendUvarint(nil, uint32(count))
					} else {
						body = wire.AppendInt32(nil, int32(count))
					}
					body = append(body, bytes.Repeat([]byte{fillByte}, size)...)
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					decodes(&a, v, body)
					runtime.ReadMemStats(&after)
					if took := int(after.TotalAlloc - before.TotalAlloc); took > memoryFactor*(decodeCost+1)*len(body) {
						t.Errorf("%s version %d, %d elements: %d bytes took %d bytes of memory", a.name, v, count, len(body), took)
					}
				}
			}
		}
	}
}

func TestTheKnownHoles(t *testing.T) {
	metadata := MustAPI(t, 3)
	if decodes(&metadata, 12, []byte{0x01, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x0f}) {
		t.Error("a Metadata with 2^32-1 tags is taken")
	}
	create := MustAPI(t, 19)
	body := append([]byte{0x00, 0x9f, 0xff, 0xff}, make([]byte, 10<<20)...)
	if decodes(&create, 4, body) {
		t.Error("a CreateTopics of 10 MiB of zeros is taken")
	}
	tags := []byte{0x00, 0x00, 0x00}
	tags = append(tags, wire.AppendUvarint(nil, wire.MaxTags+1)...)
	for i := range wire.MaxTags + 1 {
		tags = wire.AppendUvarint(tags, uint32(i+100))
		tags = append(tags, 0)
	}
	if decodes(&metadata, 12, tags) {
		t.Error("more tags than allowed are taken")
	}
}

// MustAPI finds an API by key.
func MustAPI(t testing.TB, key int16) api {
	for _, a := range parsedAPIs() {
		if a.key == key {
			return a
		}
	}
	t.Fatalf("no API %d", key)
	return api{}
}

// What is read by hand means the same as what kmsg reads.
func TestHandWrittenDecodersAgreeWithKmsg(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for v := int16(0); v <= 11; v++ {
		for range 50 {
			req := randomRequest(0, v, r).(*kmsg.ProduceRequest)
			p := &producing{version: v, flex: v >= 9}
			if !p.decode(req.AppendTo(nil)) || p.acks != req.Acks || p.timeout != req.TimeoutMillis || len(p.topics) != len(req.Topics) || p.txn != (v >= 3 && req.TransactionID != nil) {
				t.Fatalf("version %d: %+v is read as %+v", v, req, p)
			}
			at := 0
			for i, topic := range req.Topics {
				if p.topics[i].name != topic.Topic || p.topics[i].parts != len(topic.Partitions) {
					t.Fatalf("version %d: topic %d is %+v", v, i, p.topics[i])
				}
				for _, part := range topic.Partitions {
					if p.parts[at].index != part.Partition || !bytes.Equal(p.parts[at].records, part.Records) {
						t.Fatalf("version %d: partition %d is %+v", v, at, p.parts[at])
					}
					at++
				}
			}
		}
	}
	for v := int16(0); v <= 17; v++ {
		for range 50 {
			req := randomRequest(1, v, r).(*kmsg.FetchRequest)
			body := req.AppendTo(nil)
			again := kmsg.NewPtrFetchRequest() // with the defaults of fields that the version lacks
			again.Version = v
			if err := again.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			compareFetch(t, again, body)
		}
	}
}

func compareFetch(t *testing.T, req *kmsg.FetchRequest, body []byte) {
	t.Helper()
	f := &fetching{version: req.Version, flex: req.Version >= 12}
	replicaID := req.ReplicaID
	if req.Version >= 15 {
		replicaID = req.ReplicaState.ID
	}
	if !f.decode(body) || f.replica != replicaID || f.maxWait != req.MaxWaitMillis || f.minBytes != max(int(req.MinBytes), 0) {
		t.Fatalf("version %d: %+v is read as %+v", req.Version, req, f)
	}
	if req.Version >= 7 && (f.sessionID != req.SessionID || f.sessionEpoch != req.SessionEpoch) {
		t.Fatalf("version %d: session %d, %d", req.Version, f.sessionID, f.sessionEpoch)
	}
	at := 0
	for _, topic := range req.Topics {
		for _, want := range topic.Partitions {
			p := f.parts[at]
			if p.name != topic.Topic || p.id != topic.TopicID || p.index != want.Partition || p.offset != want.FetchOffset ||
				p.maxBytes != want.PartitionMaxBytes || p.leaderEpoch != want.CurrentLeaderEpoch || p.lastEpoch != want.LastFetchedEpoch {
				t.Fatalf("version %d: partition %d, %+v, is read as %+v", req.Version, at, want, p)
			}
			at++
		}
	}
	gone := 0
	for _, topic := range req.ForgottenTopics {
		for _, n := range topic.Partitions {
			if k := f.forgotten[gone]; k.index != n || k.name != topic.Topic || k.id != topic.TopicID {
				t.Fatalf("version %d: forgotten partition %d is %+v", req.Version, gone, k)
			}
			gone++
		}
	}
}

func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	list := parsedAPIs()
	for _, a := range list {
		for v := min(a.min, a.accepts); v <= a.max; v++ {
			f.Add(a.key, v, randomRequest(a.key, v, r).AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		for i := range list {
			if a := &list[i]; a.key == key && version >= min(a.min, a.accepts) && version <= a.max {
				decodes(a, version, body)
			}
		}
	})
}
