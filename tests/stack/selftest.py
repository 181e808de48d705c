"""The part of selftest that speaks to the services; asserts what the tests rely on."""

import os
import time

import psycopg
from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import (
    ConfigCompatibilityLevel,
    Schema,
    SchemaRegistryClient,
    ServerConfig,
)
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

BROKERS = os.environ["NOCTUS_TEST_BROKERS"]


def record(*more: str) -> Schema:
    fields = ",".join(['{"name":"a","type":"string"}', *more])
    return Schema('{"type":"record","name":"A","namespace":"n","fields":[%s]}' % fields, "AVRO")


def refused(status: int, call, *arguments) -> None:
    try:
        answer = call(*arguments)
    except SchemaRegistryError as error:
        assert error.http_status_code == status, error
    else:
        raise AssertionError(f"expected {status}, got {answer}")


def registry() -> bytes:
    client = SchemaRegistryClient({"url": os.environ["NOCTUS_TEST_REGISTRY"]})
    subject = "selftest-value"
    first = client.register_schema(subject, record())
    level = ConfigCompatibilityLevel.FULL_TRANSITIVE
    client.set_config(subject, ServerConfig(compatibility=level))
    assert client.get_config(subject).compatibility_level in (level, level.value)
    assert client.get_schema(first).schema_str == record().schema_str
    refused(404, client.get_schema, 999_999)
    wider = record('{"name":"b","type":["null","string"],"default":null}')
    assert client.test_compatibility(subject, wider)
    assert client.register_schema(subject, wider) != first
    client.register_schema(subject, record('{"name":"d","type":"int","default":1}'))
    # compatible with the newest version and with the first, not with the one between
    turned = record('{"name":"b","type":"int","default":0}')
    assert client.test_compatibility(subject, turned, "latest")
    assert not client.test_compatibility(subject, turned, "2")
    refused(409, client.register_schema, subject, turned)
    serializer = AvroSerializer(client, record().schema_str, conf={"auto.register.schemas": False})
    framed = serializer({"a": "x"}, SerializationContext("selftest", MessageField.VALUE))
    assert framed == b"\0" + first.to_bytes(4, "big") + b"\x02x", framed
    return framed


def kafka(framed: bytes) -> None:
    producer = Producer({"bootstrap.servers": BROKERS, "enable.idempotence": True})
    sent = [(framed, [("h", b"\x00\xff")]), (None, []), (b"", [])]
    for value, headers in sent:
        producer.produce("selftest", value, key=b"k", headers=headers)
    assert producer.flush(10) == 0
    consumer = Consumer(
        {
            "bootstrap.servers": BROKERS,
            "group.id": "selftest",
            "session.timeout.ms": 1000,
            "heartbeat.interval.ms": 200,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["selftest"])
    got = []
    deadline = time.monotonic() + 20
    while len(got) < len(sent):
        assert time.monotonic() < deadline, got
        message = consumer.poll(0.5)
        if message is not None:
            assert message.error() is None, message.error()
            got.append((message.value(), message.headers() or []))
    assert got == sent, got
    consumer.close()


def postgres() -> None:
    want = {
        "fsync": "on",
        "synchronous_commit": "on",
        "max_connections": "400",
        "shared_buffers": "512MB",
        "TimeZone": "UTC",
        "listen_addresses": "127.0.0.1",
    }
    with psycopg.connect(os.environ["NOCTUS_TEST_DATABASE"]) as connection:
        for name, value in want.items():
            found = connection.execute(f"SHOW {name}").fetchone()[0]
            assert found == value, (name, found)
        assert connection.execute("SELECT usesuper FROM pg_user WHERE usename = user").fetchone()[0]


kafka(registry())
postgres()
