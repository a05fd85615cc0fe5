"""A driver of confluent-kafka, which is librdkafka."""

import sys
import uuid

from confluent_kafka import (OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Producer,
                             TopicPartition)
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   ResourceType)

import driver

BROKERS = sys.argv[1]
SECONDS = 60


def settled(futures):
    """Waits for the one result of an admin request."""
    (future,) = futures.values()
    return future.result(SECONDS)


class Confluent:
    def __init__(self):
        self.admin = AdminClient({"bootstrap.servers": BROKERS})
        self.member = None

    # Topics.

    def create(self, topic, partitions, config):
        settled(self.admin.create_topics([NewTopic(topic, partitions, 1, config=config or {})]))

    def partitions(self, topic):
        topics = self.admin.list_topics(timeout=SECONDS).topics
        return len(topics[topic].partitions) if topic in topics else 0

    def add_partitions(self, topic, total):
        settled(self.admin.create_partitions([NewPartitions(topic, total)]))

    def config(self, topic, name):
        return settled(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))[name].value

    def set_config(self, topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        settled(self.admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]))

    def remove(self, topic):
        settled(self.admin.delete_topics([topic]))

    def delete_records(self, topic, before):
        settled(self.admin.delete_records([TopicPartition(topic, 0, before)]))

    def describe(self):
        return len(self.admin.describe_cluster().result(SECONDS).nodes)

    # Records.

    def produce(self, topic, codec, records, idempotent=False):
        failed = []
        producer = Producer({
            "bootstrap.servers": BROKERS, "compression.type": codec, "linger.ms": 50, "acks": "all",
            "enable.idempotence": idempotent, "message.max.bytes": 16 << 20,
        })
        for r in records:
            producer.produce(
                topic, key=driver.unpack(r["key"]), value=driver.unpack(r["value"]), partition=0, timestamp=r["time"],
                headers=driver.headers_of(r), on_delivery=lambda error, _: failed.append(error) if error else None)
        if producer.flush(SECONDS) > 0:
            raise RuntimeError("not all was sent")
        if failed and failed[0].code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.TOPIC_EXCEPTION):
            raise driver.TooLarge(str(failed[0]))
        if failed:
            raise KafkaException(failed[0])

    def consumer(self, **settings):
        return Consumer({
            "bootstrap.servers": BROKERS, "group.id": "none-" + uuid.uuid4().hex, "enable.auto.commit": False,
            "auto.offset.reset": "error", "fetch.message.max.bytes": 16 << 20, "receive.message.max.bytes": 64 << 20,
            "fetch.wait.max.ms": 100, **settings,
        })

    def consume(self, topic, start, count):
        start = {driver.FROM_START: OFFSET_BEGINNING, driver.FROM_END: OFFSET_END}.get(start, start)
        consumer, records = self.consumer(), []
        consumer.assign([TopicPartition(topic, 0, start)])
        while len(records) < count:
            records += polled(consumer, count - len(records))
        consumer.close()
        return records

    def bounds(self, topic):
        consumer = self.consumer()
        bounds = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=SECONDS)
        consumer.close()
        return bounds

    def offset_at(self, topic, when):
        consumer = self.consumer()
        (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, when)], timeout=SECONDS)
        consumer.close()
        return found.offset

    # Membership of a group.

    def join(self, group, topic):
        self.member = self.consumer(**{
            "group.id": group, "auto.offset.reset": "earliest", "session.timeout.ms": 60000, "heartbeat.interval.ms": 500,
            "partition.assignment.strategy": "cooperative-sticky",
        })
        self.member.subscribe([topic])

    def poll(self):
        return polled(self.member, 1000, 0.2)

    def commit(self):
        self.member.commit(asynchronous=False)

    def leave(self):
        self.member.close()


def polled(consumer, count, seconds=1):
    records = []
    for m in consumer.consume(count, seconds):
        if m.error():
            raise KafkaException(m.error())
        records.append(driver.record(m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers()))
    return records


driver.serve(Confluent())
