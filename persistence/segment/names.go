package segment

import (
	"strconv"
	"strings"

	"understudy/messages"
)

// Endings of the names of a segment's files.
const (
	LogSuffix     = ".log"
	IndexSuffix   = ".index"
	TimeSuffix    = ".timeindex"
	DeletedSuffix = ".deleted" // comes after one of the others: to be removed
	CleanedSuffix = ".cleaned" // likewise: compaction is writing it, and it is no part of the log yet
)

// baseDigits is the width of the base offset in a file name.
const baseDigits = 20

// Name is the name of a file of the segment that begins at base.
func Name(base messages.Offset, suffix string) string {
	digits := strconv.FormatInt(base, 10)
	return strings.Repeat("0", baseDigits-len(digits)) + digits + suffix
}

// ParseName takes a file name apart. ok is false for a name that Name does not make.
func ParseName(name string) (base messages.Offset, suffix string, ok bool) {
	if len(name) <= baseDigits || name[baseDigits] != '.' {
		return 0, "", false
	}
	for _, c := range []byte(name[:baseDigits]) {
		if c < '0' || c > '9' {
			return 0, "", false
		}
	}
	base, err := strconv.ParseInt(name[:baseDigits], 10, 64)
	return base, name[baseDigits:], err == nil
}
