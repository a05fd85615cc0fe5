// Package config holds every setting of a broker: what it is called, what it is
// for, its unit, default and bounds, and how settings must fit together.
//
// Each setting is one row of one table (see settings.go) bound to one field of
// Config. The YAML reader, the environment, the command's flags, the reference
// and the answers to DescribeConfigs are all derived from that table, so a
// setting cannot be known to one and not to another.
//
// Values come from flags, else the environment, else the file, else the
// default; where each came from is remembered:
//
//	file         num.partitions: 6
//	environment  UNDERSTUDY_NUM_PARTITIONS=6
//	flag         --num-partitions 6
//
// Names are Kafka's wherever Kafka has the same thing.
//
// A program that embeds a broker starts from Default and changes fields:
//
//	cfg := config.Default()
//	cfg.InMemory = true
//	cfg.Listen = "127.0.0.1:0"
package config
