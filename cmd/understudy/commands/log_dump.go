package commands

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"understudy/cmd/understudy/logfile"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
)

// maxUnpacked bounds what the records of one batch may unpack to when dumped.
const maxUnpacked = 1 << 30

func newLogDump(streams Streams) *cobra.Command {
	var (
		out     outputFlag
		records bool
	)
	cmd := &cobra.Command{
		Use:   "dump PATH...",
		Short: "List the batches, and the records in them",
		Long:  "List the batches of a log, and with --records the records in them. With -o json\nthere is an object on each line.\n" + logPathHelp,
		Args:  args(1, -1, "files or directories"),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.json(cmd)
			if err != nil {
				return err
			}
			partitions, err := logfile.Find(args)
			if err != nil {
				return err
			}
			d := &dumper{streams: streams, out: bufio.NewWriterSize(streams.Out, 64<<10), records: records, json: asJSON}
			for _, p := range partitions {
				for _, f := range p.Segments {
					if err := d.segment(cmd, f); err != nil {
						return errors.Join(err, d.out.Flush())
					}
				}
			}
			if err := d.out.Flush(); err != nil {
				return err
			}
			if d.problems > 0 {
				return hint(fmt.Errorf("%s found", plural(d.problems, "problem")), "check everything with: understudy log verify %s", strings.Join(args, " "))
			}
			return nil
		},
	}
	out.add(cmd)
	cmd.Flags().BoolVar(&records, "records", false, "list the records, too")
	return cmd
}

// dumpedBatch is a batch as `log dump -o json` writes it.
type dumpedBatch struct {
	File          string         `json:"file"`
	Position      int64          `json:"position"`
	Size          int            `json:"size"`
	BaseOffset    int64          `json:"base_offset"`
	LastOffset    int64          `json:"last_offset"`
	Count         int32          `json:"count"`
	LeaderEpoch   int32          `json:"leader_epoch"`
	Compression   string         `json:"compression"`
	TimestampType string         `json:"timestamp_type"`
	MaxTimestamp  string         `json:"max_timestamp"`
	CRC           string         `json:"crc"`
	ProducerID    int64          `json:"producer_id"`
	ProducerEpoch int16          `json:"producer_epoch"`
	BaseSequence  int32          `json:"base_sequence"`
	LastSequence  int32          `json:"last_sequence"`
	Transactional bool           `json:"transactional,omitempty"`
	Control       string         `json:"control,omitempty"`        // commit, abort
	Gap           bool           `json:"gap,omitempty"`            // stands for records that compaction has removed
	DeleteHorizon string         `json:"delete_horizon,omitempty"` // when compaction may remove its tombstones
	Records       []dumpedRecord `json:"records,omitempty"`
}

type dumpedRecord struct {
	Offset      int64        `json:"offset"`
	Timestamp   string       `json:"timestamp"`
	Key         *string      `json:"key"`
	KeyBase64   string       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 string       `json:"value_base64,omitempty"`
	Headers     []jsonHeader `json:"headers,omitempty"`
}

type dumper struct {
	streams  Streams
	out      *bufio.Writer
	records  bool
	json     bool
	problems int
}

func (d *dumper) problem(p logfile.Problem) {
	d.problems++
	d.streams.note("%s", p)
}

func (d *dumper) segment(cmd *cobra.Command, f logfile.File) error {
	if !d.json {
		fmt.Fprintf(d.out, "%s (%s)\n", f.Path, bytesText(float64(f.Size)))
	}
	return logfile.Walk(f, func(b logfile.Batch) error {
		if cmd.Context().Err() != nil {
			return errInterrupted
		}
		if d.json {
			return d.writeJSON(b)
		}
		return d.writeText(b)
	}, d.problem)
}

func (d *dumper) writeText(b logfile.Batch) error {
	s := describeBatch(b)
	kind := ""
	if s.Transactional {
		kind += ", transactional"
	}
	if s.Control != "" {
		kind += ", control: " + s.Control
	}
	if s.Gap {
		kind += ", a gap that compaction has left"
	}
	if s.DeleteHorizon != "" {
		kind += ", tombstones until " + s.DeleteHorizon
	}
	if b.HasProducer() {
		kind += fmt.Sprintf(", producer %d/%d sequence %d-%d", s.ProducerID, s.ProducerEpoch, s.BaseSequence, s.LastSequence)
	}
	_, err := fmt.Fprintf(d.out, "  position %d: offsets %d-%d, %s, %d bytes, %s, epoch %d, %s %s%s\n", s.Position, s.BaseOffset, s.LastOffset,
		plural(s.Count, "record"), s.Size, s.Compression, s.LeaderEpoch, s.TimestampType, s.MaxTimestamp, kind)
	if err != nil || !d.records {
		return err
	}
	for r := range d.each(b) {
		fmt.Fprintf(d.out, "    %d  %s  key %s  value %s", r.Offset(b.Batch), millis(r.Timestamp(b.Batch)), quoted(r.Key), quoted(r.Value))
		for h, err := range r.Headers() {
			if err != nil {
				break // each has read them all before
			}
			fmt.Fprintf(d.out, "  header %q=%s", h.Key, quoted(h.Value))
		}
		if _, err := fmt.Fprintln(d.out); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) writeJSON(b logfile.Batch) error {
	s := describeBatch(b)
	if d.records {
		for r := range d.each(b) {
			j := dumpedRecord{Offset: r.Offset(b.Batch), Timestamp: millis(r.Timestamp(b.Batch))}
			j.Key, j.KeyBase64 = jsonBytes(r.Key)
			j.Value, j.ValueBase64 = jsonBytes(r.Value)
			for h, err := range r.Headers() {
				if err != nil {
					break
				}
				jh := jsonHeader{Name: strings.ToValidUTF8(string(h.Key), "\uFFFD")}
				jh.Value, jh.ValueBase64 = jsonBytes(h.Value)
				j.Headers = append(j.Headers, jh)
			}
			s.Records = append(s.Records, j)
		}
	}
	return encodeLine(d.out, s)
}

func encodeLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// each gives the records of a batch and reports where they cannot be read.
func (d *dumper) each(b logfile.Batch) func(yield func(*batch.Record) bool) {
	return func(yield func(*batch.Record) bool) {
		for r, err := range codec.Records(b.Batch, maxUnpacked) {
			if err != nil {
				d.problem(logfile.Problem{File: b.File, Position: b.Position, What: err.Error()})
				return
			}
			if !yield(&r) {
				return
			}
		}
	}
}

func describeBatch(b logfile.Batch) dumpedBatch {
	s := dumpedBatch{
		File: b.File, Position: b.Position, Size: b.Size(), BaseOffset: b.BaseOffset(), LastOffset: b.LastOffset(), Count: b.NumRecords(),
		LeaderEpoch: b.LeaderEpoch(), Compression: b.Codec().String(), MaxTimestamp: millis(b.MaxTimestamp()), CRC: fmt.Sprintf("%08x", b.CRC()),
		TimestampType: "CreateTime", ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(), LastSequence: b.BaseSequence(),
		Transactional: b.IsTransactional(), Gap: b.IsGap(),
	}
	if horizon, dated := b.DeleteHorizon(); dated {
		s.DeleteHorizon = millis(horizon)
	}
	if b.TimestampType() == batch.LogAppendTime {
		s.TimestampType = "LogAppendTime"
	}
	if b.HasProducer() && b.BaseSequence() >= 0 {
		s.LastSequence = b.LastSequence()
	}
	if b.IsControl() {
		s.Control = "other"
		if m, ok := b.Marker(); ok {
			s.Control = "abort"
			if m.Commit {
				s.Control = "commit"
			}
		}
	}
	return s
}

// millis is a moment in RFC 3339; "none" where there is no time.
func millis(ms int64) string {
	if ms == messages.NoTimestamp {
		return "none"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

func quoted(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%q", b)
}
