// Package journal keeps what groups have written in a partition of the offsets
// topic, in the formats of Kafka's records, so that Kafka's own tools read them:
//
//	                 key                                   value
//	                +---+-------+-------+-----------+     +---+--------+--------------+----------+---------+
//	an offset       | 1 | group | topic | partition |     | 3 | offset | leader epoch | metadata | time of |
//	                |   |       |       | int32     |     |   | int64  | int32        |          | commit  |
//	                +---+-------+-------+-----------+     +---+--------+--------------+----------+---------+
//
//	                +---+-------+    +---+---------------+------------+----------+--------+------------+---------+
//	a group without | 2 | group |    | 3 | protocol type | generation | protocol | leader | time of    | members |
//	its offsets     |   |       |    |   |               | int32      | or null  | or null| this state |         |
//	                +---+-------+    +---+---------------+------------+----------+--------+------------+---------+
//
//	member: | member id | instance or null | client id | client host | rebalance timeout int32 |
//	        | session timeout int32 | subscription | assignment |
//
// What stands first is the format's version, int16. Times are int64, ms; strings
// have an int16 for their length, subscription and assignment an int32. A null
// value, a tombstone, says that what the key names is not kept any more. An offset
// that is to be kept until a time of its own has a value of version 1: without leader
// epoch, and with that time, int64, at its end.
package journal
