"""Collects the evidence of a line that is at rest, by other clients than the product's."""

import json
import time
from pathlib import Path

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from psycopg.rows import dict_row

from evidence import BrokerClass, Evidence, Record
from generator import CAPS

TOPICS = ["order-requests", "proposal-sets", "decisions", "alerts", "exec-events", "dead-letters"]
OBS = ["obs_decisions", "obs_exec_events", "obs_alerts", "obs_do_metrics"]
TABLES = [
    "outbox_orders", "send_attempts", "order_fills", "input_positions", "risk_positions", "risk_traces", "halts", "order_cancels",
    "owed_events", "campaign_moves", "campaign_states", "campaign_lanes", *OBS,
]


def ends(admin: AdminClient, names: list[str]) -> dict:
    """(topic, partition) → the offset of its next record, of all partitions at once. Asked again while leaders change."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return _ends(admin, names)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def _ends(admin: AdminClient, names: list[str]) -> dict:
    found = admin.list_topics(timeout=20).topics
    places = [TopicPartition(name, partition) for name in names for partition in found[name].partitions]
    asked = admin.list_offsets({place: OffsetSpec.latest() for place in places}, request_timeout=10)
    return {(place.topic, place.partition): told.result(60).offset for place, told in asked.items()}


def dump(brokers: str, prefix: str, topics: list[str]) -> dict[str, list[Record]]:
    """Every record of the topics, up to their ends as of now."""
    admin = AdminClient({"bootstrap.servers": brokers})
    silent = 0
    left = {place: end for place, end in ends(admin, [prefix + topic for topic in topics]).items() if end > 0}
    records = {topic: [] for topic in topics}
    consumer = Consumer({
        "bootstrap.servers": brokers, "group.id": f"{prefix}auditor", "enable.auto.commit": False,
        "auto.offset.reset": "earliest", "isolation.level": "read_uncommitted", "fetch.wait.max.ms": 20,
    })
    try:
        consumer.assign([TopicPartition(name, partition, 0) for name, partition in left])
        while left:
            messages = consumer.consume(500, 1)
            silent = 0 if messages else silent + 1
            if silent > 30:
                raise RuntimeError(f"nothing within 30 s before the end of {left}")
            for message in messages:
                if message.error():
                    raise RuntimeError(str(message.error()))
                place, offset = (message.topic(), message.partition()), message.offset()
                headers = [(name, value) for name, value in message.headers() or []]
                topic = place[0].removeprefix(prefix)
                records[topic].append(
                    Record(topic, place[1], offset, message.timestamp()[1], message.key(), message.value(), headers)
                )
                if place in left and offset + 1 >= left[place]:
                    del left[place]
    finally:
        consumer.close()
    return {topic: sorted(found, key=lambda r: (r.partition, r.offset)) for topic, found in records.items()}


def rows(connection, table: str) -> list[dict]:
    connection.row_factory = dict_row
    found = connection.execute(f"SELECT * FROM {table}").fetchall()
    for row in found:
        row.pop("ingested_at", None)  # when it was written is no part of what an obs row says
        for name, value in row.items():
            if isinstance(value, (bytes, memoryview)):
                row[name] = bytes(value).hex()
            elif isinstance(value, (dict, list)) and table in OBS:
                row[name] = json.dumps(value, sort_keys=True, default=str)
    return found


def texts(line) -> dict[str, bytes]:
    """What could betray a secret: logs, the broker's ledger, every table as text."""
    found = {p.name: p.read_bytes() for p in Path(line.folder).iterdir() if p.suffix in (".log", ".jsonl", ".yml")}
    found["the broker's ledger"] = line.broker.ledger.read_bytes()
    with psycopg.connect(line.database) as connection:
        names = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND n.nspname = 'public'"
        ).fetchall()
        for (name,) in names:
            with connection.cursor().copy(f'COPY (SELECT * FROM "{name}") TO STDOUT') as out:
                found[f"table {name}"] = b"".join(bytes(block) for block in out)
    return found


def collect(line, load, live) -> Evidence:
    """Everything of a line at rest."""
    evidence = Evidence(prefix=line.prefix, schemas=line.schemas, caps=CAPS, canaries=dict(line.canaries))
    steady = line.options.lies
    evidence.broker = BrokerClass(dedupes=not steady.get("no_dedupe"), queryable=not steady.get("no_query"))
    with open(line.folder / "intents.jsonl", encoding="utf-8") as source:
        evidence.intents = [json.loads(text) for text in source]
    evidence.acked = dict(load.generator.acked)
    evidence.topics = dump(line.services.brokers, line.prefix, TOPICS)
    evidence.ledger = line.broker.lines()
    with psycopg.connect(line.database, autocommit=True) as connection:
        evidence.tables = {table: rows(connection, table) for table in TABLES}
    evidence.texts = texts(line)
    if live is not None:
        evidence.live, evidence.samples = list(live.found), list(live.samples)
        evidence.live_checks = dict(live.checks)
    return evidence
