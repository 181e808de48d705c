"""The load: signed requests of every kind, good and bad, from a seed.

Its log is the truth of what was meant. A line is on disk before its record is published, and says everything the
auditor must know: what must become of it follows from the line and the contract alone.
"""

import json
import os
import random
import secrets
import struct
import threading
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from confluent_kafka import Producer

import wire

# Lanes on which nothing limits an order: what is asked for is what must be sent.
OPEN_SYMBOLS = ["USDJPY", "EURJPY", "GBPJPY", "AUDJPY", "NZDJPY", "CHFJPY", "CADJPY", "SGDJPY", "EURUSD", "GBPUSD"]
ACCOUNTS = ["main", "alpha", "beta-2"]
# Symbols with a rule of their own; policy() says which. QUOTED has a price at the broker, away from that of the orders.
QUOTED = "QUOTED"
# Orders of these work at the broker until they are cancelled, or the price comes.
WORKING = ["WORKA", "WORKB", "WORKC", "WORKD"]
FAR = dict.fromkeys([QUOTED, *WORKING], ("1.60", "1.61"))
NEAR = dict.fromkeys([QUOTED, *WORKING], ("1.44", "1.45"))
CAPPED, TRACED, RATED, HALTED, SCALED = "CAPPED", "TRACED", "RATED", "HALTED", "SCALED"
CAPS = {
    CAPPED: {"position": Decimal(300)},
    TRACED: {"trace": Decimal(90)},
    RATED: {"rate": 5},
}
PRICE = Decimal("1.5")
KID = "campaign"

# Kind of record and how often it comes, of 1000.
MIX = {
    "limit": 340,
    "market": 130,
    "reference": 60,
    "capped": 120,
    "traced": 40,
    "rated": 12,
    "halted": 40,
    "resting": 20,
    "working": 60,
    "not_crossed": 15,
    "scaled": 20,
    "flat": 15,
    "proposals": 40,
    "v1_0": 15,
    "again": 40,
    "again_elsewhere": 30,
    "conflict": 20,
    "expired": 15,
    "from_the_future": 10,
    "bad_signature": 15,
    "unsigned": 5,
    "bad_wire": 5,
    "bad_avro": 10,
    "invalid_qty": 8,
    "invalid_limit_price": 4,
    "key_mismatch": 6,
}


def policy() -> str:
    return (
        "default: { max_order_qty: 20000 }\n"
        "overrides:\n"
        f"  {CAPPED}: {{ max_position_notional: {CAPS[CAPPED]['position']} }}\n"
        f"  {TRACED}: {{ max_trace_notional: {CAPS[TRACED]['trace']} }}\n"
        f"  {RATED}: {{ max_orders_per_minute: {CAPS[RATED]['rate']} }}\n"
    )


def instruments() -> str:
    return "account_currency: JPY\n" + "".join(f"{symbol}: {{ quote_currency: JPY }}\n" for symbol in CAPS)


class Log:
    """The intents, appended and on disk before anything of them is published."""

    def __init__(self, path: str):
        self.file = open(path, "a", encoding="utf-8")

    def write(self, intents: list[dict]) -> None:
        for intent in intents:
            self.file.write(json.dumps(intent) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())


class Generator:
    """Makes records and publishes them; one thread's."""

    def __init__(self, *, seed, brokers, prefix, schemas, signing_secret, recipe_secret, log, partitions):
        self.random = random.Random(seed)
        self.tag = f"{seed}-{secrets.token_hex(3)}"
        self.prefix, self.schemas, self.partitions = prefix, schemas, partitions
        self.kid, self.signing_secret, self.recipe_secret = KID, signing_secret, recipe_secret
        self.log = Log(log)
        versions = schemas.versions(f"{prefix}order-requests")
        self.order_v1_0, self.order = versions[0], versions[-1]
        self.proposals = schemas.versions(f"{prefix}proposal-sets")[-1]
        self.producer = Producer({"bootstrap.servers": brokers, "acks": "all", "enable.idempotence": True, "linger.ms": 2})
        self.n = 0
        self.acked: dict[int, tuple] = {}
        self.failed: list[str] = []
        self.kept: list[dict] = []  # good records, to be sent again or contradicted
        self.traces = 0
        self.accounts = ACCOUNTS
        self.life: timedelta | None = None  # of every order; none is the contract's

    def chunk(self, size: int, mix: dict | None = None) -> None:
        """Makes so many records, logs them, then publishes them."""
        mix = mix or MIX
        kinds = self.random.choices(list(mix), list(mix.values()), k=size)
        made = [self.make(kind) for kind in kinds]
        self.log.write([intent for intent, _ in made])
        for intent, record in made:
            while True:
                try:
                    self.producer.produce(on_delivery=self._told(intent["n"], record["topic"]), **record)
                    break
                except BufferError:
                    self.producer.poll(0.05)
            self.producer.poll(0)

    def _told(self, n: int, topic: str):
        def told(error, message) -> None:
            if error is not None:
                self.failed.append(f"intent {n}: {error}")
            else:
                self.acked[n] = (topic.removeprefix(self.prefix), message.partition(), message.offset())

        return told

    def flush(self, limit: float = 60) -> None:
        left = self.producer.flush(limit)
        if left:
            self.failed.append(f"{left} records were not acknowledged")

    def make(self, kind: str) -> tuple[dict, dict]:
        if kind in ("again", "again_elsewhere", "conflict") and not self.kept:
            kind = "limit"
        self.n += 1
        maker = getattr(self, f"_{kind}")
        intent, record = maker()
        intent = {"n": self.n, "kind": kind, "at": time.time(), **intent}
        record["topic"] = self.prefix + record["topic"]
        record["headers"] = [*record["headers"], ("campaign-n", str(self.n).encode())]
        return intent, record

    # What is in a record -------------------------------------------------------------------------------------

    def _order(self, symbol: str, **fields) -> dict:
        now = datetime.now(timezone.utc)
        order = {
            "schema_version": "1.1",
            "trace_id": f"t-{self.tag}-{self.n}",
            "account": self.random.choice(self.accounts),
            "symbol": symbol,
            "side": self.random.choice(["BUY", "BUY", "SELL"]),
            "qty": Decimal(self.random.randint(1, 5_000_000)).scaleb(-3),
            "order_type": "LIMIT",
            "limit_price": PRICE,
            "requested_at": now,
            "quality": {"missing_ratio": 0.0, "data_lag_min": 1.0},
            "reference_price": PRICE,
            "idempotency_key": f"{secrets.token_hex(6)}-{self.n:07d}",
            "meta": {},
        }
        if self.life is not None:
            order["valid_until"] = now + self.life
        order.update(fields)
        return order

    def _signed(self, topic: str, key: bytes, value: bytes | None, secret: str | None = None) -> dict:
        v1 = wire.sign(secret or self.signing_secret, topic, key, value)
        return {"topic": topic, "key": key, "value": value, "headers": [(wire.SIGNATURE, f"kid={self.kid},v1={v1}".encode())]}

    def _record(self, order: dict) -> dict:
        value = wire.encode(self.schemas, self.order, order)
        return self._signed("order-requests", f"{order['account']}|{order['symbol']}".encode(), value)

    def _good(self, order: dict, **about) -> tuple[dict, dict]:
        record = self._record(order)
        self.kept.append({"order": order, "record": record})
        if len(self.kept) > 500:
            self.kept.pop(0)
        return {"key": order["idempotency_key"], "trace_id": order["trace_id"], **about}, dict(record)

    def _bad(self, reason: str, record: dict) -> tuple[dict, dict]:
        return {"refused": reason}, record

    # Kinds -----------------------------------------------------------------------------------------------------

    def _limit(self):
        more = {}
        if self.random.random() < 0.2:
            more = {"stop_loss": Decimal("1.25"), "take_profit": Decimal("1.75"), "strategy": "Aurus"}
        return self._good(self._order(self.random.choice(OPEN_SYMBOLS), **more), plain=True)

    def _market(self):
        order = self._order(self.random.choice(OPEN_SYMBOLS), order_type="MARKET", limit_price=None)
        return self._good(order, plain=True)

    def _reference(self):
        order = self._order(self.random.choice(OPEN_SYMBOLS), side="SELL", time_in_force="DAY")
        return self._good(order, plain=True)

    def _capped(self):
        return self._good(self._order(CAPPED, qty=Decimal(self.random.randint(1, 40))))

    def _traced(self):
        if self.n % 24 == 0:
            self.traces += 1
        trace = f"shared-{self.tag}-{self.traces}"
        return self._good(self._order(TRACED, trace_id=trace, qty=Decimal(self.random.randint(1, 40))), shared=True)

    def _rated(self):
        return self._good(self._order(RATED))

    def _halted(self):
        # One of unknown outcome that is halted stays so until its life is over: a send of it may still be under way.
        now = datetime.now(timezone.utc)
        return self._good(self._order(HALTED, valid_until=now + timedelta(seconds=30)), plain=True)

    def _resting(self):
        """Works at the broker until the price comes."""
        return self._good(self._order(QUOTED, side="BUY"), plain=True)

    def _working(self):
        """Works at the broker until somebody cancels it; some of it comes too late for that."""
        now = datetime.now(timezone.utc)
        return self._good(self._order(self.random.choice(WORKING), side="BUY", valid_until=now + (self.life or timedelta(seconds=30))), plain=True)

    def _not_crossed(self):
        """Cancelled by the broker at once."""
        return self._good(self._order(QUOTED, side="BUY", time_in_force="IOC"), plain=True)

    def _scaled(self):
        ratio = self.random.choice([0.0, 0.12, 0.3, 0.5, None])
        return self._good(self._order(SCALED, quality={"missing_ratio": ratio, "data_lag_min": 1.0}))

    def _flat(self):
        order = self._order(self.random.choice(OPEN_SYMBOLS), side="FLAT", qty=Decimal(0), order_type="MARKET", limit_price=None)
        return self._good(order)

    def _proposals(self):
        order = self._order(self.random.choice(OPEN_SYMBOLS))
        intents = self.random.choice([["LONG"], ["LONG", "LONG"], ["LONG", "SHORT"], ["FLAT"]])
        proposals = [
            {"strategy": name, "intent": intent, "qty_raw": Decimal(self.random.randint(1, 1000)), "confidence": 0.75,
             "risk_score": 0.25, "price_hint": None, "reasons": ["campaign"]}
            for name, intent in zip(["Aurus", "Veritas"], intents)
        ]
        fields = ("schema_version", "trace_id", "account", "symbol", "requested_at", "reference_price", "quality", "idempotency_key", "meta")
        made = {name: order[name] for name in fields}
        made.update(timeframe="1h", as_of=order["requested_at"], order_type="MARKET", proposals=proposals)
        value = wire.encode(self.schemas, self.proposals, made)
        key = f"{made['account']}|{made['symbol']}".encode()
        intent = {"key": made["idempotency_key"], "trace_id": made["trace_id"]}
        return intent, self._signed("proposal-sets", key, value)

    def _v1_0(self):
        order = self._order(self.random.choice(OPEN_SYMBOLS), schema_version="1.0")
        del order["idempotency_key"]
        key = wire.recipe_v1(self.recipe_secret, order)
        value = wire.encode(self.schemas, self.order_v1_0, order)
        record = self._signed("order-requests", f"{order['account']}|{order['symbol']}".encode(), value)
        return {"key": key, "trace_id": order["trace_id"], "plain": True}, record

    def _again(self):
        known = self.random.choice(self.kept)
        order = known["order"]
        return {"key": order["idempotency_key"], "trace_id": order["trace_id"]}, dict(known["record"])

    def _again_elsewhere(self):
        intent, record = self._again()
        record["partition"] = self.random.randrange(self.partitions)
        return intent, record

    def _conflict(self):
        # FLAT with a quantity would be no request at all.
        known = [k["order"] for k in self.kept if k["order"]["side"] != "FLAT"]
        if not known:
            return self._limit()
        order = dict(self.random.choice(known))
        order.update(qty=order["qty"] + 1, requested_at=datetime.now(timezone.utc))
        record = self._record(order)
        if self.random.random() < 0.3:
            record["partition"] = self.random.randrange(self.partitions)
        return {"key": order["idempotency_key"], "trace_id": order["trace_id"], "conflict": True}, record

    def _expired(self):
        now = datetime.now(timezone.utc)
        late = self.random.choice(["market", "day", "valid_until"])
        symbol = self.random.choice(OPEN_SYMBOLS)
        if late == "market":
            order = self._order(symbol, order_type="MARKET", limit_price=None, requested_at=now - timedelta(minutes=6))
        elif late == "day":
            order = self._order(symbol, requested_at=now - timedelta(hours=25))
        else:
            order = self._order(symbol, valid_until=now - timedelta(seconds=2))
        return self._good(order)

    def _from_the_future(self):
        order = self._order(self.random.choice(OPEN_SYMBOLS), requested_at=datetime.now(timezone.utc) + timedelta(hours=3))
        return self._good(order)

    def _bad_signature(self):
        order = self._order(self.random.choice(OPEN_SYMBOLS))
        record = self._record(order)
        if self.random.random() < 0.5:
            record["value"] = record["value"][:-1] + bytes([record["value"][-1] ^ 1])
        else:
            record = self._signed("order-requests", record["key"], record["value"], "another secret of enough length, but wrong")
        return self._bad("bad_signature", record)

    def _unsigned(self):
        record = self._record(self._order(self.random.choice(OPEN_SYMBOLS)))
        record["headers"] = []
        return self._bad("bad_signature", record)

    def _bad_wire(self):
        value = self.random.choice([b"", b"\0\0\0", b"hello, no frame at all"])
        return self._bad("bad_wire", self._signed("order-requests", b"main|USDJPY", value))

    def _bad_avro(self):
        value = self._record(self._order(self.random.choice(OPEN_SYMBOLS)))["value"]
        value = self.random.choice([value[:20], value + b"\7", value[:5] + struct.pack(">Q", 2**63) * 4])
        return self._bad("bad_avro", self._signed("order-requests", b"main|USDJPY", value))

    def _invalid_qty(self):
        qty = self.random.choice([Decimal(0), Decimal(-5), Decimal("0.0000001")])
        return self._bad("invalid_qty", self._record(self._order(self.random.choice(OPEN_SYMBOLS), qty=qty)))

    def _invalid_limit_price(self):
        return self._bad("invalid_limit_price", self._record(self._order(self.random.choice(OPEN_SYMBOLS), limit_price=None)))

    def _key_mismatch(self):
        value = self._record(self._order("USDJPY", account="main"))["value"]
        return self._bad("key_mismatch", self._signed("order-requests", b"main|NZDJPY", value))


class Load(threading.Thread):
    """Publishes at a pace until it is told to stop, or until so many records are out."""

    def __init__(self, generator: Generator, per_second: float, most: int, mix: dict | None = None):
        super().__init__(daemon=True)
        self.generator, self.per_second, self.most, self.mix = generator, per_second, most, mix
        self.ending = threading.Event()
        self.broken: str | None = None

    def run(self) -> None:
        try:
            began = time.monotonic()
            while not self.ending.is_set() and self.generator.n < self.most:
                due = int((time.monotonic() - began) * self.per_second) - self.generator.n
                if due > 0:
                    self.generator.chunk(min(due, 50, self.most - self.generator.n), self.mix)
                self.generator.producer.poll(0)
                self.ending.wait(0.1)
            self.generator.flush()
        except Exception as error:  # the run must know, and say so
            self.broken = f"{type(error).__name__}: {error}"
