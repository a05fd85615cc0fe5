package interop

import (
	"context"
	"encoding/json"
	"time"
)

// driverRecord is a record on its way to or from a driver; bytes are base64.
type driverRecord struct {
	Partition int32          `json:"partition"`
	Offset    int64          `json:"offset"`
	Time      int64          `json:"time"` // ms
	Key       []byte         `json:"key"`
	Value     []byte         `json:"value"`
	Headers   []driverHeader `json:"headers"`
}

// driverHeader is written as [name, value].
type driverHeader header

func (h driverHeader) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.name, h.value}) }

func (h *driverHeader) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&h.name, &h.value})
}

func toDriver(records []record) []driverRecord {
	list := make([]driverRecord, len(records))
	for i, r := range records {
		list[i] = driverRecord{Time: r.time.UnixMilli(), Key: r.key, Value: r.value}
		for _, h := range r.headers {
			list[i].Headers = append(list[i].Headers, driverHeader(h))
		}
	}
	return list
}

func fromDriver(list []driverRecord) []record {
	records := make([]record, len(list))
	for i, r := range list {
		records[i] = record{partition: r.Partition, offset: r.Offset, time: time.UnixMilli(r.Time), key: r.Key, value: r.Value}
		for _, h := range r.Headers {
			records[i].headers = append(records[i].headers, header(h))
		}
	}
	return records
}

// ask has the driver do one thing and gives what it answers.
func askDriver[R any](ctx context.Context, d *driver, op string, parameters map[string]any) (result R, err error) {
	request := map[string]any{"op": op}
	for name, value := range parameters {
		request[name] = value
	}
	err = d.do(ctx, request, &result)
	return result, err
}

// nothing is the answer of what has no result.
type nothing = *struct{}

func (d *driver) create(ctx context.Context, topic string, partitions int, config map[string]string) error {
	_, err := askDriver[nothing](ctx, d, "create", map[string]any{"topic": topic, "partitions": partitions, "config": config})
	return err
}

func (d *driver) partitions(ctx context.Context, topic string) (int, error) {
	return askDriver[int](ctx, d, "partitions", map[string]any{"topic": topic})
}

func (d *driver) addPartitions(ctx context.Context, topic string, total int) error {
	_, err := askDriver[nothing](ctx, d, "add_partitions", map[string]any{"topic": topic, "total": total})
	return err
}

func (d *driver) config(ctx context.Context, topic, name string) (string, error) {
	return askDriver[string](ctx, d, "config", map[string]any{"topic": topic, "name": name})
}

func (d *driver) setConfig(ctx context.Context, topic, name, value string) error {
	_, err := askDriver[nothing](ctx, d, "set_config", map[string]any{"topic": topic, "name": name, "value": value})
	return err
}

func (d *driver) remove(ctx context.Context, topic string) error {
	_, err := askDriver[nothing](ctx, d, "remove", map[string]any{"topic": topic})
	return err
}

func (d *driver) deleteRecords(ctx context.Context, topic string, before int64) error {
	_, err := askDriver[nothing](ctx, d, "delete_records", map[string]any{"topic": topic, "before": before})
	return err
}

func (d *driver) describe(ctx context.Context) (brokers int, err error) {
	return askDriver[int](ctx, d, "describe", nil)
}

func (d *driver) produce(ctx context.Context, topic, codec string, records []record) error {
	_, err := askDriver[nothing](ctx, d, "produce", map[string]any{"topic": topic, "codec": codec, "records": toDriver(records)})
	return err
}

func (d *driver) produceIdempotent(ctx context.Context, topic string, records []record) error {
	_, err := askDriver[nothing](ctx, d, "produce", map[string]any{"topic": topic, "codec": "none", "records": toDriver(records), "idempotent": true})
	return err
}

func (d *driver) consume(ctx context.Context, topic string, from int64, n int) ([]record, error) {
	list, err := askDriver[[]driverRecord](ctx, d, "consume", map[string]any{"topic": topic, "start": from, "count": n})
	return fromDriver(list), err
}

func (d *driver) bounds(ctx context.Context, topic string) (start, end int64, err error) {
	bounds, err := askDriver[[2]int64](ctx, d, "bounds", map[string]any{"topic": topic})
	return bounds[0], bounds[1], err
}

func (d *driver) offsetAt(ctx context.Context, topic string, when time.Time) (int64, error) {
	return askDriver[int64](ctx, d, "offset_at", map[string]any{"topic": topic, "when": when.UnixMilli()})
}

// driverMember is a member of a group, in a process of its own.
type driverMember struct{ p *worker }

func (d *driver) join(ctx context.Context, group, topic string) (member, error) {
	p, err := d.start()
	if err != nil {
		return nil, err
	}
	return driverMember{p}, p.call(ctx, map[string]any{"op": "join", "group": group, "topic": topic}, nil)
}

func (m driverMember) poll(ctx context.Context) ([]record, error) {
	var list []driverRecord
	err := m.p.call(ctx, map[string]any{"op": "poll"}, &list)
	return fromDriver(list), err
}

func (m driverMember) commit(ctx context.Context) error {
	return m.p.call(ctx, map[string]any{"op": "commit"}, nil)
}

func (m driverMember) leave(ctx context.Context) error {
	if err := m.p.call(ctx, map[string]any{"op": "leave"}, nil); err != nil {
		return err
	}
	return m.p.stop()
}
