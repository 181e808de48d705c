"""Looks at a running line: what must hold at every moment (A1, A5, A6, A10, A12) is looked at while faults happen."""

import json
import threading
import time
from collections import Counter, defaultdict

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from collect import TOPICS
from evidence import utc
from line import PARTITIONS

# In one statement, so in one moment: the sums of a lane are those of its orders and fills.
SUMS = """
SELECT p.account, p.symbol, p.position, p.working_buy, p.working_sell, s.buy, s.sell, f.filled
  FROM risk_positions p
  LEFT JOIN (SELECT account, symbol, coalesce(sum(working_qty) FILTER (WHERE action = 'BUY'), 0) AS buy,
                    coalesce(sum(working_qty) FILTER (WHERE action = 'SELL'), 0) AS sell
               FROM outbox_orders GROUP BY 1, 2) s USING (account, symbol)
  LEFT JOIN (SELECT o.account, o.symbol, sum(CASE o.action WHEN 'BUY' THEN l.qty ELSE -l.qty END) AS filled
               FROM order_fills l JOIN outbox_orders o USING (idempotency_key) GROUP BY 1, 2) f USING (account, symbol)
 WHERE p.working_buy <> coalesce(s.buy, 0) OR p.working_sell <> coalesce(s.sell, 0)
    OR p.position <> coalesce(f.filled, 0)
"""
ATTEMPTED = """
SELECT k FROM unnest(%s::text[]) AS k
 WHERE NOT EXISTS (SELECT FROM outbox_orders o JOIN send_attempts a USING (idempotency_key) WHERE o.idempotency_key = k)
"""


class Live(threading.Thread):
    """One thread that looks again and again until `end`."""

    def __init__(self, line, halts: list):
        super().__init__(daemon=True)
        self.line, self.halts = line, halts
        self.found: list[tuple[str, str]] = []
        self.samples: list[dict] = []
        self.checks: Counter = Counter()
        self.orders: dict = defaultdict(int)
        self.ending = threading.Event()
        self.broken: str | None = None
        self.at = 0
        # Of the roles' groups, which they only ask about: they never join.
        self.consumers = {
            reader: Consumer({"bootstrap.servers": line.services.brokers, "group.id": f"{line.group_prefix}noctus-{reader}", "log_level": 2})
            for reader in ("gate", "sink")
        }
        self.places = [(f"{line.prefix}{topic}", n) for topic in TOPICS[:5] for n in range(PARTITIONS)]

    def run(self) -> None:
        self._look()
        for consumer in self.consumers.values():
            consumer.close()

    def _look(self) -> None:
        sampled = 0.0
        while not self.ending.is_set():
            try:
                with psycopg.connect(self.line.database, autocommit=True, connect_timeout=5) as connection:
                    while not self.ending.is_set():
                        self._ledger(connection)
                        self._sums(connection)
                        if time.monotonic() - sampled > 2:
                            self._offsets(connection)
                            sampled = time.monotonic()
                        self.ending.wait(0.25)
            except psycopg.OperationalError:
                self.ending.wait(0.5)  # a fault of the campaign's own: Postgres is away
            except Exception as error:
                self.broken = f"{type(error).__name__}: {error}"
                return

    def _see(self, invariant: str, text: str) -> None:
        if len(self.found) < 200:
            self.found.append((invariant, f"while it ran: {text}"))

    def _ledger(self, connection) -> None:
        """New lines of the broker's ledger: each order is the first of its key, and its attempt is visible by now."""
        try:
            with open(self.line.broker.ledger, "rb") as source:
                source.seek(self.at)
                block = source.read()
        except FileNotFoundError:
            return
        whole = block[: block.rfind(b"\n") + 1]
        self.at += len(whole)
        came = [json.loads(text) for text in whole.splitlines()]
        came = [line for line in came if line["kind"] == "order"]
        if not came:
            return
        keys = [line["order"]["client_order_id"] for line in came]
        for line in came:
            self.checks["A1"] += 1
            if line["status"] != "rejected":
                self.orders[line["order"]["client_order_id"]] += 1
            if self.orders[line["order"]["client_order_id"]] > 1:
                self._see("A1", f"{line['order']['client_order_id']} has {self.orders[line['order']['client_order_id']]} orders")
            for halt in list(self.halts):
                self.checks["A12"] += 1
                same = all(line["order"][name] == value for name, value in halt["scope"].items())
                if same and utc(line["received_at"]) > utc(halt["acknowledged_at"]) and not halt.get("resumed_at"):
                    self._see("A12", f"{line['order']['client_order_id']} came after the halt of {halt['scope']}")
        self.checks["A5"] += len(keys)
        for (key,) in connection.execute(ATTEMPTED, (keys,)).fetchall():
            self._see("A5", f"{key} is at the broker, and no attempt is committed")

    def _sums(self, connection) -> None:
        self.checks["A6"] += 1
        for row in connection.execute(SUMS).fetchall():
            self._see("A6", f"the sums of {row[0]} {row[1]} are not those of its orders: {[str(v) for v in row[2:]]}")

    def _offsets(self, connection) -> None:
        """Kafka first, Postgres second: what Kafka was told then, Postgres had before."""
        for reader in ("gate", "sink"):
            asked = [TopicPartition(topic, partition) for topic, partition in self.places]
            try:
                told = self.consumers[reader].committed(asked, 3)
            except KafkaException:
                continue  # Kafka is away
            known = {
                (topic, partition): offset
                for topic, partition, offset in connection.execute(
                    "SELECT topic, partition, next_offset FROM input_positions WHERE reader = %s", (reader,)
                ).fetchall()
            }
            for place in told:
                if place.offset >= 0:
                    self.checks["A10"] += 1
                    topic = place.topic.removeprefix(self.line.prefix)
                    sample = {"reader": reader, "topic": topic, "partition": place.partition, "kafka": place.offset}
                    sample["postgres"] = known.get((place.topic, place.partition), -1)
                    if len(self.samples) < 200_000:
                        self.samples.append(sample)
