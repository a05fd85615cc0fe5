package commands

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"understudy/cmd/understudy/logfile"
	"understudy/messages/batch"
	"understudy/messages/codec"
	"understudy/persistence/segment"
)

// writeSegment makes a segment with three batches and gives its path.
func writeSegment(t *testing.T) string {
	t.Helper()
	var log []byte
	for i := range 3 {
		fields := batch.NoProducer
		fields.ProducerID, fields.ProducerEpoch, fields.BaseSequence = 1000, 0, int32(2*i)
		bu := batch.NewBuilder(fields)
		bu.Add(1_700_000_000_000, []byte("k"), []byte("v"), batch.Header{Key: []byte("h"), Value: []byte("w")})
		bu.Add(1_700_000_000_001, nil, []byte("\xff"))
		b, err := codec.Build(nil, bu, batch.LZ4, codec.DefaultLevel)
		if err != nil {
			t.Fatal(err)
		}
		b.Stamp(int64(2*i), 7)
		log = append(log, b...)
	}
	path := filepath.Join(t.TempDir(), segment.Name(0, segment.LogSuffix))
	if err := os.WriteFile(path, log, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLogDump(t *testing.T) {
	path := writeSegment(t)
	matches(t, must(t, "", "log", "dump", path), `position 0: offsets 0-1, 2 records, \d+ bytes, lz4, epoch 7, CreateTime 2023-11-14T22:13:20.001Z, producer 1000/0 sequence 0-1\n`, `offsets 4-5`)
	matches(t, must(t, "", "log", "dump", "--records", filepath.Dir(path)),
		`    0  2023-11-14T22:13:20.000Z  key "k"  value "v"  header "h"="w"\n`, `    5  2023-11-14T22:13:20.001Z  key null  value "\\xff"\n`)
	dec := json.NewDecoder(strings.NewReader(must(t, "", "log", "dump", "--records", "-o", "json", path)))
	dec.DisallowUnknownFields()
	for i := range int64(3) {
		var b dumpedBatch
		if err := dec.Decode(&b); err != nil {
			t.Fatal(err)
		}
		if b.BaseOffset != 2*i || b.Compression != "lz4" || b.LastSequence != int32(2*i+1) || len(b.Records) != 2 || *b.Records[0].Value != "v" || b.Records[1].ValueBase64 != "/w==" || b.Records[0].Headers[0].Name != "h" {
			t.Errorf("have %+v", b)
		}
	}
}

func TestLogVerify(t *testing.T) {
	path := writeSegment(t)
	r := run(t, nil, "log", "verify", path)
	if r.code != exitOK {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	matches(t, r.out, `(?m)^\S+000.log +1 +3 +6 +\d+ B +0 +6 +0`)
	matches(t, r.err, `note: .*000.index is missing`)
	content, _ := os.ReadFile(path)
	size := len(content) / 3
	content[size+80] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	r = run(t, nil, "log", "verify", path)
	if r.code != exitFailed || !strings.Contains(r.err, "1 problem found") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	matches(t, r.out, path+`: position `+itoa(size)+`: offset 2: CRC is`)
	var reports []logfile.Report
	r = run(t, nil, "log", "verify", "-o", "json", path)
	decode(t, r.out, &reports)
	if r.code != exitFailed || len(reports) != 1 || len(reports[0].Problems) != 1 || reports[0].Problems[0].Position != int64(size) {
		t.Errorf("exit code %d, %+v", r.code, reports)
	}
	refuse(t, exitFailed, "position "+itoa(size)+": offset 2: CRC is", "log", "dump", path)
	if out := run(t, nil, "log", "dump", path).out; !strings.Contains(out, "offsets 4-5") {
		t.Errorf("the dump did not go on: %s", out)
	}
	refuse(t, exitFailed, "no such file", "log", "verify", path+"x")
	refuse(t, exitUsage, "say which files or directories", "log", "verify")
}
