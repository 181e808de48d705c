#!/usr/bin/env python3
"""Sends signed order requests to Noctus with confluent-kafka's own AvroSerializer.

    pip install -r examples/requirements.txt
    python examples/producer.py --dev --count 3
    python examples/producer.py --dev --file examples/orders.jsonl

Secrets come from the environment: NOCTRIA_IDEMPOTENCY_SECRET (recipe v1 of the idempotency key) and
NOCTUS_SIGNING_KEYS (a JSON list of {kid, secret}); with --dev both are the development secret.
Each record carries a W3C trace context, the one of TRACEPARENT and TRACESTATE or one that begins with the trace_id.
Prints one JSON line per acknowledged order: key, trace_id, partition, offset. See docs/producers.md.
"""

import argparse
import hashlib
import hmac
import json
import os
import re
import secrets
import struct
import sys
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "order-requests"  # the logical name: it is what is signed, whatever the prefix
SCHEMA = Path(__file__).resolve().parent.parent / "schemas" / "order_request_v1.1.avsc"
DECIMALS = ["qty", "limit_price", "stop_price", "reference_price", "stop_loss", "take_profit"]
TIMES = ["requested_at", "valid_until"]


def idempotency_key(secret: str, order: dict) -> str:
    """Recipe v1: the minute is that of requested_at converted to UTC, the quantity has 6 decimals."""
    minute = order["requested_at"].astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%MZ")
    text = f"{order['symbol']}|{order['side']}|{order['qty']:.6f}|{minute}|{order['trace_id']}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def signature(secret: str, key: bytes, value: bytes) -> str:
    """Over noctus-v1, then topic, key and value, each after its length (a null key: 0xFFFFFFFF)."""
    mac = hmac.new(secret.encode(), b"noctus-v1", hashlib.sha256)
    for part in (TOPIC.encode(), key, value):
        mac.update(struct.pack(">I", 0xFFFFFFFF if part is None else len(part)))
        mac.update(part or b"")
    return mac.hexdigest()


def trace_headers(order: dict) -> list:
    """W3C trace context: a span of our own in the trace that we were started in, else in one that begins with the
    trace_id. Both ids are functions of the order, so that a retry is in the same trace."""
    given = re.fullmatch("00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})", os.environ.get("TRACEPARENT", ""))
    begun = hashlib.sha256(b"noctus-trace-v1" + order["trace_id"].encode()).hexdigest()[:32]
    trace, flags = given.groups() if given else (begun, "01")
    hop = f"submit {order['idempotency_key']}".encode()
    span = hashlib.sha256(b"noctus-span-v1" + bytes.fromhex(trace) + hop).hexdigest()[:16]
    state = os.environ.get("TRACESTATE") if given else None
    return [("traceparent", f"00-{trace}-{span}-{flags}".encode())] + ([("tracestate", state.encode())] if state else [])


def complete(order: dict, secret: str) -> dict:
    """The record for the serializer: exact decimals, aware times, and a key that stays the same on a retry."""
    order = dict(order)
    order.setdefault("schema_version", "1.1")
    order.setdefault("requested_at", datetime.now(timezone.utc).isoformat())
    order.setdefault("trace_id", f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-producer-{secrets.token_hex(4)}")
    # A text must become a Decimal here: fastavro takes a text of 12 characters as the 12 raw bytes.
    for name in DECIMALS:
        if order.get(name) is not None:
            order[name] = Decimal(str(order[name]))
    for name in TIMES:
        if order.get(name) is not None:
            time = datetime.fromisoformat(order[name].replace("Z", "+00:00"))
            if time.tzinfo is None:
                raise ValueError(f"{name} has no time zone: {order[name]}")
            order[name] = time
    if order.get("quality"):
        order["quality"] = {n: None if v is None else float(v) for n, v in order["quality"].items()}
    if not order.get("idempotency_key"):
        order["idempotency_key"] = idempotency_key(secret, order)
    return order


def read_orders(path: str) -> list:
    """One object, an array, or JSON lines; numbers stay exact."""
    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    try:
        found = json.loads(text, parse_float=Decimal)
        return found if isinstance(found, list) else [found]
    except json.JSONDecodeError:
        return [json.loads(line, parse_float=Decimal) for line in text.splitlines() if line.strip()]


def sample_orders(count: int) -> list:
    return [
        {"symbol": "USDJPY", "side": "BUY" if n % 2 == 0 else "SELL", "qty": str(1000 + n), "reference_price": "147.25",
         "strategy": "Aurus", "quality": {"missing_ratio": 0.01, "data_lag_min": 2.0}}
        for n in range(count)
    ]


def load_secrets(dev: bool, kid: str | None) -> tuple:
    recipe = os.environ.get("NOCTRIA_IDEMPOTENCY_SECRET") or ("dev-secret" if dev else None)
    ring = os.environ.get("NOCTUS_SIGNING_KEYS") or ('[{"kid": "dev", "secret": "dev-secret"}]' if dev else None)
    if not recipe or not ring:
        sys.exit("NOCTRIA_IDEMPOTENCY_SECRET and NOCTUS_SIGNING_KEYS must be set (or --dev to try things out)")
    keys = [k for k in json.loads(ring) if kid in (None, k["kid"])]
    if not keys:
        sys.exit(f"no signing key {kid}")
    return recipe, keys[0]["kid"], keys[0]["secret"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", default="localhost:9092")
    parser.add_argument("--registry", default="http://localhost:8081")
    parser.add_argument("--topic-prefix", default="", help="put before the topic's name; not part of what is signed")
    parser.add_argument("--file", help="JSON orders: one object, an array, or JSON lines; - is standard input")
    parser.add_argument("--count", type=int, default=1, help="how many sample orders, without --file")
    parser.add_argument("--kid", help="sign with this key instead of the first")
    parser.add_argument("--dev", action="store_true", help="development secrets; never with real orders")
    args = parser.parse_args()

    recipe, kid, secret = load_secrets(args.dev, args.kid)
    orders = [complete(o, recipe) for o in (read_orders(args.file) if args.file else sample_orders(args.count))]
    topic = args.topic_prefix + TOPIC
    registry = SchemaRegistryClient({"url": args.registry})
    serialize = AvroSerializer(registry, SCHEMA.read_text(encoding="utf-8"), conf={
        "auto.register.schemas": False,  # `noctus schemas register` does that, once and checked
        "subject.name.strategy.type": "TOPIC",  # newer clients ask the registry for an association first
    })
    producer = Producer({"bootstrap.servers": args.brokers, "acks": "all", "enable.idempotence": True})
    failed = []

    def acknowledged(order):
        def report(error, message):
            if error is not None:
                failed.append(order)
                print(f"{order['idempotency_key']}: {error}", file=sys.stderr)
            else:
                print(json.dumps({"key": order["idempotency_key"], "trace_id": order["trace_id"],
                                  "partition": message.partition(), "offset": message.offset()}))
        return report

    for order in orders:
        key = f"{order.get('account', 'main')}|{order['symbol']}".encode()
        value = serialize(order, SerializationContext(topic, MessageField.VALUE))
        header = f"kid={kid},v1={signature(secret, key, value)}".encode()
        producer.produce(topic, key=key, value=value, headers=[("noctus-signature", header), *trace_headers(order)],
                         on_delivery=acknowledged(order))
        producer.poll(0)
    unsent = producer.flush(30)
    # A retry after this is safe with the same keys: the ledger knows them.
    return 1 if failed or unsent else 0


if __name__ == "__main__":
    sys.exit(main())
