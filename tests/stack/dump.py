"""Prints a topic's records as JSON lines, partition by partition, up to its end as of now."""

import json
import os
import sys

from confluent_kafka import Consumer, KafkaException, TopicPartition

TIMEOUT_S = 10


def text(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def dump(consumer: Consumer, topic: str, partition: int) -> None:
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT_S)
    if low >= high:
        return
    consumer.assign([TopicPartition(topic, partition, low)])
    # position, not the last record's offset: compaction and transaction markers leave gaps at
    # the end that no record fills
    while consumer.position([TopicPartition(topic, partition)])[0].offset < high:
        record = consumer.poll(TIMEOUT_S)
        if record is None:
            sys.exit(f"partition {partition}: nothing within {TIMEOUT_S} s before offset {high}")
        if record.error():
            if record.error().name() == "_PARTITION_EOF":
                return
            raise KafkaException(record.error())
        if record.offset() >= high:
            return
        row = {
            "partition": partition,
            "offset": record.offset(),
            "timestamp": record.timestamp()[1],
            "key": text(record.key()),
            "value": text(record.value()),
            "headers": [[name, text(value)] for name, value in record.headers() or []],
        }
        print(json.dumps(row))


def main() -> None:
    topic = sys.argv[1]
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["BROKERS"],
            "group.id": "noctus-stack-dump",  # required by the client; never joined or committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_uncommitted",  # raw: what is on the log, committed or not
            "fetch.wait.max.ms": 20,
            "log_level": 2,
        }
    )
    found = consumer.list_topics(topic, TIMEOUT_S).topics[topic]
    if found.error is not None:
        sys.exit(f"{topic}: {found.error.str()}")
    for partition in sorted(found.partitions):
        dump(consumer, topic, partition)
    consumer.close()


if __name__ == "__main__":
    try:
        main()
    except KafkaException as error:
        sys.exit(f"{error.args[0].str()}")
