package batch

import (
	"bytes"
	"encoding/binary"
	"testing"

	"understudy/messages"
)

func TestValidate(t *testing.T) {
	const now = 1_700_000_000_000
	plain := func(change func(f *Fields)) Batch {
		bu := NewBuilder(NoProducer)
		for i := range 3 {
			bu.Add(now+int64(i), nil, []byte("value"))
		}
		f := bu.Fields()
		change(&f)
		return Assemble(nil, f, bu.Payload())
	}
	raw := func(change func(b Batch)) Batch {
		b := plain(func(*Fields) {})
		change(b)
		return b
	}
	const ok = messages.Unknown
	for name, c := range map[string]struct {
		b    Batch
		want messages.Kind
	}{
		"plain":                        {plain(func(f *Fields) {}), ok},
		"any base offset":              {plain(func(f *Fields) { f.BaseOffset = -5 }), ok},
		"idempotent":                   {plain(func(f *Fields) { f.ProducerID, f.ProducerEpoch, f.BaseSequence = 0, 0, 0 }), ok},
		"no producer, epoch and seq 0": {plain(func(f *Fields) { f.ProducerEpoch, f.BaseSequence = 0, 0 }), ok},
		"producer without epoch":       {plain(func(f *Fields) { f.ProducerID, f.BaseSequence = 5, 0 }), messages.InvalidRecord},
		"producer without sequence":    {plain(func(f *Fields) { f.ProducerID, f.ProducerEpoch = 5, 0 }), messages.InvalidRecord},
		"producer id -2":               {plain(func(f *Fields) { f.ProducerID = -2 }), messages.InvalidRecord},
		"transactional, no producer":   {plain(func(f *Fields) { f.Attributes = AttrTransactional }), messages.InvalidRecord},
		"transactional": {plain(func(f *Fields) {
			f.Attributes, f.ProducerID, f.ProducerEpoch, f.BaseSequence = AttrTransactional, 1, 1, 1
		}), ok},
		"control":                        {plain(func(f *Fields) { f.Attributes = AttrControl }), messages.InvalidRecord},
		"delete horizon":                 {plain(func(f *Fields) { f.Attributes = AttrDeleteHorizon }), messages.InvalidRecord},
		"reserved attribute":             {plain(func(f *Fields) { f.Attributes = -1 << 15 }), messages.InvalidRecord},
		"unknown codec":                  {plain(func(f *Fields) { f.Attributes = 5 }), messages.UnsupportedCompression},
		"log append time":                {plain(func(f *Fields) { f.Attributes = AttrLogAppendTime }), messages.InvalidTimestamp},
		"no records":                     {plain(func(f *Fields) { f.NumRecords, f.LastOffsetDelta = 0, -1 }), messages.InvalidRecord},
		"negative count":                 {plain(func(f *Fields) { f.NumRecords, f.LastOffsetDelta = -1, -2 }), messages.InvalidRecord},
		"count is not last delta + 1":    {plain(func(f *Fields) { f.LastOffsetDelta = 3 }), messages.InvalidRecord},
		"more records than bytes":        {plain(func(f *Fields) { f.NumRecords, f.LastOffsetDelta = 1<<31-1, 1<<31-2 }), messages.InvalidRecord},
		"no timestamp":                   {plain(func(f *Fields) { f.BaseTimestamp, f.MaxTimestamp = -1, -1 }), ok},
		"max timestamp left empty":       {plain(func(f *Fields) { f.MaxTimestamp = -1 }), ok},
		"negative timestamp":             {plain(func(f *Fields) { f.BaseTimestamp = -2 }), messages.InvalidTimestamp},
		"too old":                        {plain(func(f *Fields) { f.BaseTimestamp = now - 1 }), messages.InvalidTimestamp},
		"too new":                        {plain(func(f *Fields) { f.MaxTimestamp = now + 1001 }), messages.InvalidTimestamp},
		"too new, max timestamp empty":   {plain(func(f *Fields) { f.BaseTimestamp, f.MaxTimestamp = now+1001, -1 }), messages.InvalidTimestamp},
		"too large":                      {Assemble(nil, Fields{NumRecords: 1}, make([]byte, 1000)), messages.MessageTooLarge},
		"flipped bit in the records":     {raw(func(b Batch) { b[len(b)-1] ^= 1 }), messages.CorruptMessage},
		"flipped bit in the header":      {raw(func(b Batch) { b[atNumRecords+3] ^= 1 }), messages.CorruptMessage},
		"wrong CRC":                      {raw(func(b Batch) { b[atCRC] ^= 1 }), messages.CorruptMessage},
		"length is larger than the view": {raw(func(b Batch) { b[atLength+3]++ }), messages.CorruptMessage},
		"shorter than a header":          {make(Batch, 10), messages.CorruptMessage},
		"empty":                          {nil, messages.CorruptMessage},
		"format v1":                      {raw(func(b Batch) { b[atMagic] = 1 }), messages.UnsupportedForMessageFormat},
	} {
		err := Validate(c.b, Limits{MaxBytes: 1000, OldestTimestamp: now, NewestTimestamp: now + 1000})
		if (err != nil) != (c.want != ok) || messages.KindOf(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := Validate(plain(func(f *Fields) { f.BaseTimestamp = 1; f.MaxTimestamp = 1 << 60 }), Limits{}); err != nil {
		t.Errorf("no limits: %v", err)
	}
}

// oneRecord is a batch that claims n records and holds these bytes.
func oneRecord(n int32, payload ...byte) Batch {
	f := NoProducer
	f.NumRecords, f.LastOffsetDelta = n, n-1
	return Assemble(nil, f, payload)
}

func TestCheckRecords(t *testing.T) {
	good := []byte{12, 0, 0, 0, 1, 1, 0} // length 6, no attributes, no deltas, null, null, no headers
	huge := binary.AppendVarint(nil, 1<<40)
	for name, c := range map[string]struct {
		b  Batch
		ok bool
	}{
		"smallest record":         {oneRecord(1, good...), true},
		"with a header":           {oneRecord(1, 16, 0, 0, 0, 1, 1, 2, 0, 1), true},
		"too few records":         {oneRecord(2, good...), false},
		"too many records":        {oneRecord(1, append(good, good...)...), false},
		"same offset twice":       {oneRecord(2, append(good, good...)...), false},
		"offsets in order":        {oneRecord(2, append(bytes.Clone(good), 12, 0, 0, 2, 1, 1, 0)...), true},
		"first offset not 0":      {oneRecord(1, 12, 0, 0, 2, 1, 1, 0), false},
		"negative offset":         {oneRecord(1, 12, 0, 0, 1, 1, 1, 0), false},
		"offset of 2^40":          {oneRecord(1, append(append([]byte{22, 0, 0}, huge...), 1, 1, 0)...), false},
		"empty":                   {oneRecord(1), false},
		"length beyond the end":   {oneRecord(1, 14, 0, 0, 0, 1, 1, 0), false},
		"length too small":        {oneRecord(1, 10, 0, 0, 0, 1, 1, 0), false},
		"negative length":         {oneRecord(1, 11, 0, 0, 0, 1, 1, 0), false},
		"length never ends":       {oneRecord(1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255), false},
		"key beyond the end":      {oneRecord(1, 12, 0, 0, 0, 8, 1, 0), false},
		"key length -2":           {oneRecord(1, 12, 0, 0, 0, 3, 1, 0), false},
		"value beyond the end":    {oneRecord(1, 12, 0, 0, 0, 1, 8, 0), false},
		"headers beyond the end":  {oneRecord(1, 12, 0, 0, 0, 1, 1, 2), false},
		"negative headers":        {oneRecord(1, 12, 0, 0, 0, 1, 1, 1), false},
		"null header key":         {oneRecord(1, 16, 0, 0, 0, 1, 1, 2, 1, 1), false},
		"header too long":         {oneRecord(1, 16, 0, 0, 0, 1, 1, 2, 0, 4), false},
		"bytes after the headers": {oneRecord(1, 18, 0, 0, 0, 1, 1, 2, 0, 1, 0), false},
		"bytes in place of any":   {oneRecord(1, 14, 0, 0, 0, 1, 1, 0, 0), false},
	} {
		if _, err := CheckRecords(c.b, c.b.Payload()); (err == nil) != c.ok || err != nil && messages.KindOf(err) != messages.InvalidRecord {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := sample(30)
	if newest, err := CheckRecords(b, b.Payload()); err != nil || newest != b.MaxTimestamp() {
		t.Errorf("newest %d, want %d, %v", newest, b.MaxTimestamp(), err)
	}
}

func TestRecordsCanStopEarly(t *testing.T) {
	b, n := sample(5), 0
	for range Records(b, b.Payload()) {
		if n++; n == 2 {
			break
		}
	}
	for r := range Records(b, b.Payload()) {
		for range r.Headers() {
			break
		}
	}
	if n != 2 {
		t.Errorf("read %d", n)
	}
}
