package commands

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// formatHelp documents the template; the directives are kcat's, with %v beside %s.
const formatHelp = `  %t  topic                 %v %s  value
  %p  partition             %k     key
  %o  offset                %h     headers, as NAME=VALUE,...
  %T  timestamp, unix ms    %S %K  length of value and key in bytes, -1 for null
  %d  timestamp, RFC 3339   %e     leader epoch
  %%  a percent sign        \n \t \r \\ \xHH  as in C`

// printer appends a record to a buffer.
type printer func(dst []byte, r *kgo.Record) []byte

// directives of the template.
var directives = map[rune]printer{
	't': func(b []byte, r *kgo.Record) []byte { return append(b, r.Topic...) },
	'p': func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, int64(r.Partition), 10) },
	'o': func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, r.Offset, 10) },
	'e': func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, int64(r.LeaderEpoch), 10) },
	'k': func(b []byte, r *kgo.Record) []byte { return append(b, r.Key...) },
	'v': func(b []byte, r *kgo.Record) []byte { return append(b, r.Value...) },
	's': func(b []byte, r *kgo.Record) []byte { return append(b, r.Value...) },
	'K': func(b []byte, r *kgo.Record) []byte { return appendLength(b, r.Key) },
	'S': func(b []byte, r *kgo.Record) []byte { return appendLength(b, r.Value) },
	'T': func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10) },
	'd': func(b []byte, r *kgo.Record) []byte {
		return r.Timestamp.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	},
	'h': appendHeaders,
	'%': func(b []byte, _ *kgo.Record) []byte { return append(b, '%') },
}

func appendLength(b, of []byte) []byte {
	if of == nil {
		return append(b, "-1"...)
	}
	return strconv.AppendInt(b, int64(len(of)), 10)
}

func appendHeaders(b []byte, r *kgo.Record) []byte {
	for i, h := range r.Headers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, h.Key...)
		b = append(b, '=')
		b = append(b, h.Value...)
	}
	return b
}

// parseFormat compiles a template, or takes the word json.
func parseFormat(template string) (printer, error) {
	if template == "json" {
		return appendJSON, nil
	}
	var steps []printer
	literal := make([]byte, 0, len(template))
	flush := func() {
		if len(literal) > 0 {
			text := string(literal)
			steps = append(steps, func(b []byte, _ *kgo.Record) []byte { return append(b, text...) })
			literal = literal[:0]
		}
	}
	for rest := template; rest != ""; {
		c, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
		switch c {
		case '%':
			name, size := utf8.DecodeRuneInString(rest)
			d, ok := directives[name]
			if !ok {
				return nil, fmt.Errorf("%%%s is no placeholder; there are:\n%s", rest[:size], formatHelp)
			}
			rest = rest[size:]
			flush()
			steps = append(steps, d)
		case '\\':
			b, after, err := unescape(rest)
			if err != nil {
				return nil, err
			}
			literal, rest = append(literal, b), after
		default:
			literal = append(literal, string(c)...)
		}
	}
	flush()
	return func(b []byte, r *kgo.Record) []byte {
		for _, step := range steps {
			b = step(b, r)
		}
		return b
	}, nil
}

// unescape reads what follows a backslash.
func unescape(s string) (b byte, rest string, err error) {
	if s == "" {
		return 0, "", fmt.Errorf(`a single \ at the end; write \\`)
	}
	if i := strings.IndexByte(`ntr\0`, s[0]); i >= 0 {
		return "\n\t\r\\\x00"[i], s[1:], nil
	}
	if s[0] == 'x' && len(s) >= 3 {
		if n, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
			return byte(n), s[3:], nil
		}
	}
	return 0, "", fmt.Errorf(`\%s is no escape; there are \n \t \r \\ \0 \xHH`, s[:1])
}

// jsonRecord is a record as --format json writes it, one on each line. Bytes
// that are not UTF-8 stand as base64 under another name, so that nothing is lost
// and nothing has to be guessed.
type jsonRecord struct {
	Topic         string       `json:"topic"`
	Partition     int32        `json:"partition"`
	Offset        int64        `json:"offset"`
	Timestamp     string       `json:"timestamp"`
	TimestampType string       `json:"timestamp_type"`
	Key           *string      `json:"key"`
	KeyBase64     string       `json:"key_base64,omitempty"`
	Value         *string      `json:"value"`
	ValueBase64   string       `json:"value_base64,omitempty"`
	Headers       []jsonHeader `json:"headers,omitempty"`
}

type jsonHeader struct {
	Name        string  `json:"name"`
	Value       *string `json:"value"`
	ValueBase64 string  `json:"value_base64,omitempty"`
}

func appendJSON(dst []byte, r *kgo.Record) []byte {
	j := jsonRecord{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		Timestamp: r.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z07:00"), TimestampType: "CreateTime",
	}
	if r.Attrs.TimestampType() == 1 {
		j.TimestampType = "LogAppendTime"
	}
	j.Key, j.KeyBase64 = jsonBytes(r.Key)
	j.Value, j.ValueBase64 = jsonBytes(r.Value)
	for _, h := range r.Headers {
		jh := jsonHeader{Name: strings.ToValidUTF8(h.Key, "\uFFFD")}
		jh.Value, jh.ValueBase64 = jsonBytes(h.Value)
		j.Headers = append(j.Headers, jh)
	}
	b := bytes.NewBuffer(dst)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(j) // cannot fail: strings and numbers only
	return b.Bytes()
}

func jsonBytes(b []byte) (text *string, encoded string) {
	switch {
	case b == nil:
		return nil, ""
	case utf8.Valid(b):
		s := string(b)
		return &s, ""
	default:
		return nil, base64.StdEncoding.EncodeToString(b)
	}
}

// parseTime reads a moment: RFC 3339, a date, or @ and unix milliseconds.
func parseTime(s string) (time.Time, bool) {
	if ms, ok := strings.CutPrefix(s, "@"); ok {
		n, err := strconv.ParseInt(ms, 10, 64)
		return time.UnixMilli(n), err == nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
