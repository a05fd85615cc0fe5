package batch

import (
	"errors"
	"strconv"

	"understudy/messages"
)

// Codec says how the records of a batch are compressed. The numbers are those
// of the batch's attributes.
type Codec int8

// The codecs of message format v2.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
	codecCount
)

var codecNames = [codecCount]string{"none", "gzip", "snappy", "lz4", "zstd"}

// String is the codec's name in Kafka's configs and tools.
func (c Codec) String() string {
	if !c.Known() {
		return "codec " + strconv.Itoa(int(c))
	}
	return codecNames[c]
}

// Known reports whether c is one of the five codecs.
func (c Codec) Known() bool { return c >= 0 && c < codecCount }

// ParseCodec finds a codec by name. Kafka's topic configs also call None
// "uncompressed".
func ParseCodec(name string) (Codec, error) {
	if name == "uncompressed" {
		return None, nil
	}
	for c, n := range codecNames {
		if n == name {
			return Codec(c), nil
		}
	}
	return None, messages.E("codec", messages.UnsupportedCompression, strconv.Quote(name),
		errors.New("want none, gzip, snappy, lz4 or zstd"))
}

// TimestampType says whose clock a batch's timestamps are from.
type TimestampType int8

// The timestamp types, as in the topic setting message.timestamp.type.
const (
	CreateTime    TimestampType = iota // the producer's
	LogAppendTime                      // the leader's
)

// String is the type's name in Kafka's configs and tools.
func (t TimestampType) String() string {
	if t == LogAppendTime {
		return "LogAppendTime"
	}
	return "CreateTime"
}
