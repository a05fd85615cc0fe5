// Package server carries Kafka requests and answers over connections, and knows
// nothing of what they mean.
//
// A connection has one goroutine, its reader. It reads frames ahead of their
// answers, up to a bound, and hands each to the Handler in the order of arrival.
// The handler may answer at once or later, from any goroutine; answers leave in
// the order of the requests. Whoever makes the first unanswered request's answer
// ready sees to the writing: the reader itself when it has nothing left to read,
// else a goroutine that lives as long as there is something to write. An idle
// connection therefore costs one parked goroutine and 1 KiB of buffer.
//
//	socket ─▶ reader ─▶ Handler ─▶ ... ─▶ Request.Reply ─┐
//	             │ queue: [answered][answered][pending]  ◀┘
//	             └──────────▼
//	socket ◀── drain: headers and small records from one buffer, large records by sendfile
//
// Nothing is allocated because a length field says so: a frame's buffer grows as
// its bytes arrive, and is charged to the broker's memory budget.
package server
