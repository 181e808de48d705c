"""The wire as the contract describes it, written a second time: Avro, frames, signatures, digests.

Shares no code with the product, and reads nothing of it but schemas that a registry hands out.
"""

import hashlib
import hmac
import io
import json
import struct
import urllib.request
from decimal import Decimal

import fastavro

SIGNATURE = "noctus-signature"
MAGIC = b"\0"


class Schemas:
    """Schemas of a registry by id, and the newest id of a topic's subject."""

    def __init__(self, url: str):
        self.url = url
        self.parsed = {}
        self.decoded = {}  # what was decoded once; shared, so never to be changed
        # No proxy: the address is a loopback one whatever the environment says.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __getstate__(self):
        return {"url": self.url, "parsed": self.parsed, "decoded": {}, "opener": None}

    def _get(self, path: str):
        with self.opener.open(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def by_id(self, number: int):
        if number not in self.parsed:
            text = self._get(f"/schemas/ids/{number}")["schema"]
            self.parsed[number] = fastavro.parse_schema(json.loads(text))
        return self.parsed[number]

    def versions(self, topic: str) -> list[int]:
        """Ids of every version of a topic's subject, oldest first."""
        subject = f"{topic}-value"
        numbers = self._get(f"/subjects/{subject}/versions")
        return [self._get(f"/subjects/{subject}/versions/{n}")["id"] for n in numbers]


def frame(schema_id: int, body: bytes) -> bytes:
    return MAGIC + struct.pack(">I", schema_id) + body


def encode(schemas: Schemas, schema_id: int, record: dict) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schemas.by_id(schema_id), record)
    return frame(schema_id, out.getvalue())


def decode(schemas: Schemas, value: bytes) -> dict:
    """The record in a frame; ValueError if it is none, whatever is wrong with it."""
    known = schemas.decoded.get(value)
    if known is not None:
        return known
    if not value or value[:1] != MAGIC or len(value) < 5:
        raise ValueError("no frame")
    body = io.BytesIO(value[5:])
    try:
        record = fastavro.schemaless_reader(body, schemas.by_id(struct.unpack(">I", value[1:5])[0]), None)
    except Exception as error:  # a decoder may fail in any way on hostile bytes
        raise ValueError(f"no Avro: {error}") from error
    if body.read(1):
        raise ValueError("bytes behind the record")
    schemas.decoded[value] = record
    return record


def sign(secret: str, topic: str, key: bytes | None, value: bytes | None) -> str:
    """C-SIG-1: over `noctus-v1`, then topic, key and value, each behind its length; null is 0xFFFFFFFF."""
    mac = hmac.new(secret.encode(), b"noctus-v1", hashlib.sha256)
    for part in (topic.encode(), key, value):
        mac.update(struct.pack(">I", 0xFFFFFFFF if part is None else len(part)))
        mac.update(part or b"")
    return mac.hexdigest()


def recipe_v1(secret: str, order: dict) -> str:
    """C-KEY-2: the key of a message that has none."""
    minute = order["requested_at"].strftime("%Y-%m-%dT%H:%MZ")
    text = f"{order['symbol']}|{order['side']}|{order['qty']:.6f}|{minute}|{order['trace_id']}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def plain(number: Decimal | None) -> str | None:
    return None if number is None else format(number.normalize() + 0, "f")


def _double(number: float):
    return int(number) if number == int(number) else number


def digest(record: dict) -> str:
    """C-KEY-4: SHA-256 of `d1` and the canonical JSON of what makes it this order, lower hex."""
    if "proposals" in record:
        told = {name: record[name] for name in ("account", "symbol", "order_type")}
        told["proposals"] = [
            {
                "strategy": p["strategy"],
                "intent": p["intent"],
                "qty_raw": plain(p["qty_raw"]),
                "confidence": _double(p["confidence"]),
                "risk_score": _double(p["risk_score"]),
                "price_hint": plain(p["price_hint"]),
                "reasons": p["reasons"],
            }
            for p in record["proposals"]
        ]
    else:
        told = {name: record[name] for name in ("account", "symbol", "side", "order_type", "time_in_force")}
        for name in ("qty", "limit_price", "stop_price", "stop_loss", "take_profit"):
            told[name] = plain(record[name])
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(b"d1" + text.encode()).hexdigest()
