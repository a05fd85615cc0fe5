module understudy/integration/cluster

go 1.26.8

replace understudy => ../..

require (
	github.com/confluentinc/confluent-kafka-go/v2 v2.11.1
	github.com/hanwen/go-fuse/v2 v2.12.1
	github.com/twmb/franz-go v1.22.2
	github.com/twmb/franz-go/pkg/kadm v1.19.0
	github.com/twmb/franz-go/pkg/kmsg v1.15.0
	golang.org/x/sys v0.49.0
	understudy v0.0.0-00010101000000-000000000000
)

require (
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
)
