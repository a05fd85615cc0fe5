package config

import (
	"fmt"
	"strings"

	"understudy/internal/nearest"
)

// kafkaNames maps settings of Kafka that have another name here to it.
var kafkaNames = map[string]string{
	"broker.id":                   "node.id",
	"log.dir":                     "data.dir",
	"log.dirs":                    "data.dir",
	"listeners":                   "listen",
	"advertised.listeners":        "advertise",
	"log.retention.hours":         "log.retention.ms",
	"log.retention.minutes":       "log.retention.ms",
	"log.roll.hours":              "log.roll.ms",
	"retention.ms":                "log.retention.ms",
	"retention.bytes":             "log.retention.bytes",
	"segment.bytes":               "log.segment.bytes",
	"segment.ms":                  "log.roll.ms",
	"max.message.bytes":           "message.max.bytes",
	"cleanup.policy":              "log.cleanup.policy",
	"replication.factor":          "default.replication.factor",
	"message.timestamp.type":      "log.message.timestamp.type",
	"index.interval.bytes":        "log.index.interval.bytes",
	"max.connections.per.address": "max.connections.per.ip",
}

// unknown says that there is no such setting and which one may have been meant.
func unknown(key string) string {
	words := fmt.Sprintf("unknown setting %q", key)
	if near := likely(key); near != "" {
		return words + fmt.Sprintf("; did you mean %q?", near)
	}
	return words + "; `understudy config reference` lists all"
}

// likely is the setting that key was meant to be; empty when none is near.
func likely(key string) string {
	lower := strings.ToLower(strings.NewReplacer("_", ".", "-", ".").Replace(key))
	if name, ok := kafkaNames[lower]; ok {
		return name
	}
	return nearest.Name(lower, func(yield func(string) bool) {
		for _, s := range settings {
			if !yield(s.Key) {
				return
			}
		}
	})
}
