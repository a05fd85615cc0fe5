"""A driver of kafka-python, a client written in Python alone."""

import sys
import uuid

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import MessageSizeTooLargeError

import driver

BROKERS = sys.argv[1]
SECONDS = 60


class KafkaPython:
    def __init__(self):
        self.admin = KafkaAdminClient(bootstrap_servers=BROKERS)
        self.member = None

    # Topics.

    def create(self, topic, partitions, config):
        self.admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1, "configs": config or {}}})

    def partitions(self, topic):
        if topic not in self.admin.list_topics():
            return 0
        (described,) = self.admin.describe_topics([topic])
        return len(described["partitions"])

    def add_partitions(self, topic, total):
        self.admin.create_partitions({topic: total})

    def config(self, topic, name):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: None})
        return self.admin.describe_configs([resource], config_filter="all")["topic"][topic][name]["value"]

    def set_config(self, topic, name, value):
        altered = self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})])
        if altered["topic"][topic] != "OK":
            raise RuntimeError(altered)

    def remove(self, topic):
        self.admin.delete_topics([topic])

    def delete_records(self, topic, before):
        self.admin.delete_records({TopicPartition(topic, 0): before})

    def describe(self):
        return len(self.admin.describe_cluster()["brokers"])

    # Records.

    def produce(self, topic, codec, records, idempotent=False):
        producer = KafkaProducer(
            bootstrap_servers=BROKERS, compression_type=None if codec == "none" else codec, linger_ms=50, acks="all",
            batch_size=1 << 20, max_request_size=16 << 20, enable_idempotence=idempotent)
        sent = [
            producer.send(topic, key=driver.unpack(r["key"]), value=driver.unpack(r["value"]), partition=0,
                          timestamp_ms=r["time"], headers=driver.headers_of(r))
            for r in records
        ]
        try:
            for future in sent:
                future.get(SECONDS)
        except MessageSizeTooLargeError as e:
            raise driver.TooLarge(str(e)) from e
        finally:
            producer.close(SECONDS)

    def consumer(self, **settings):
        return KafkaConsumer(bootstrap_servers=BROKERS, **{
            "enable_auto_commit": False, "group_id": None, "auto_offset_reset": "none", "fetch_max_wait_ms": 100,
            "max_partition_fetch_bytes": 16 << 20, **settings,
        })

    def consume(self, topic, start, count):
        consumer, records, partition = self.consumer(), [], TopicPartition(topic, 0)
        consumer.assign([partition])
        if start == driver.FROM_START:
            consumer.seek_to_beginning()
        elif start == driver.FROM_END:
            consumer.seek_to_end()
        else:
            consumer.seek(partition, start)
        while len(records) < count:
            records += polled(consumer, count - len(records))
        consumer.close()
        return records

    def bounds(self, topic):
        consumer, partition = self.consumer(), TopicPartition(topic, 0)
        bounds = consumer.beginning_offsets([partition])[partition], consumer.end_offsets([partition])[partition]
        consumer.close()
        return bounds

    def offset_at(self, topic, when):
        consumer, partition = self.consumer(), TopicPartition(topic, 0)
        found = consumer.offsets_for_times({partition: when})[partition]
        consumer.close()
        return -1 if found is None else found.offset

    # Membership of a group.

    def join(self, group, topic):
        self.member = self.consumer(group_id=group, auto_offset_reset="earliest", session_timeout_ms=25000, heartbeat_interval_ms=500)
        self.member.subscribe([topic])

    def poll(self):
        return polled(self.member, 1000, 200)

    def commit(self):
        self.member.commit()

    def leave(self):
        self.member.close()


def polled(consumer, count, milliseconds=1000):
    return [
        driver.record(m.partition, m.offset, m.timestamp, m.key, m.value, m.headers)
        for messages in consumer.poll(timeout_ms=milliseconds, max_records=count).values() for m in messages
    ]


driver.serve(KafkaPython())
