package bench

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// What log lines are made of.
var (
	lineLevels   = []string{"info", "info", "info", "info", "info", "debug", "debug", "warn", "error"}
	lineServices = []string{"checkout", "catalog", "payment", "shipping", "search", "session"}
	linePaths    = []string{"/api/orders/%d", "/api/products/%d", "/api/carts/%d/items", "/api/users/%d", "/api/search?page=%d"}
	lineWords    = []string{"request", "completed", "after", "retry", "upstream", "answered", "cache", "miss", "for", "key",
		"connection", "reset", "by", "peer", "order", "accepted", "payment", "declined", "timeout", "while", "waiting", "item", "reserved", "stock"}
)

// appendLine appends a log line in JSON as services write it, of exactly size
// bytes; one shorter than a line's fields is cut off.
func appendLine(dst []byte, r *rand.Rand, number, size int) []byte {
	start := len(dst)
	when := time.UnixMilli(1_800_000_000_000 + int64(number)*7).UTC()
	dst = fmt.Appendf(dst, `{"time":%q,"level":%q,"service":%q,"host":"web-%02d","trace":"%016x","path":"`,
		when.Format("2006-01-02T15:04:05.000Z"), pick(r, lineLevels), pick(r, lineServices), r.IntN(40), r.Uint64())
	dst = fmt.Appendf(dst, pick(r, linePaths), r.IntN(100_000))
	dst = fmt.Appendf(dst, `","status":%d,"took_ms":%d,"message":"`, 200+100*(r.IntN(20)/17), r.IntN(400))
	for len(dst)-start < size-2 {
		dst = append(append(dst, pick(r, lineWords)...), ' ')
	}
	if size < 2 {
		return dst[:start+size]
	}
	return append(dst[:start+size-2], `"}`...)
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// lines is a block of log lines, each of a size.
func lines(size int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	block := make([]byte, 0, payloadBlock+size)
	for n := 0; len(block) < payloadBlock; n++ {
		block = appendLine(block, r, n, size)
	}
	return block
}
