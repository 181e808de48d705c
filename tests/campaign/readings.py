"""What the contract makes of each input record, read a second time from the raw bytes."""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import wire
from evidence import Evidence, Record

INPUTS = ("order-requests", "proposal-sets")
FINAL = {"NOT_SENT", "FILLED", "REJECTED", "CANCELLED", "EXPIRED", "PARKED"}
# C-KEY-5: how old a request may be when it is decided, and how far ahead.
SHORT_LIVED = {"IOC", "FOK"}
AHEAD = timedelta(seconds=5)


@dataclass
class Reading:
    """A record that is a request."""

    record: Record
    request: dict
    key: str
    digest: str


class Case:
    """Evidence with what several invariants need of it, worked out once."""

    def __init__(self, evidence: Evidence):
        self.evidence = e = evidence
        self.intents = {intent["n"]: intent for intent in e.intents}
        self.rows = {row["idempotency_key"]: row for row in e.tables.get("outbox_orders", [])}
        self.readings: list[Reading] = []
        self.refused: dict[tuple, str] = {}  # place → the reason that the generator meant
        for topic in INPUTS:
            for record in e.topics.get(topic, []):
                self._read(record)
        self.by_key = defaultdict(list)
        for reading in self.readings:
            self.by_key[reading.key].append(reading)
        self.events = defaultdict(dict)  # key → exec_seq → event
        for event in self.decoded("exec-events"):
            self.events[event["idempotency_key"]][event["exec_seq"]] = event
        self.fills = defaultdict(dict)  # key → fill id → fill, as the broker's ledger has it
        self.orders = defaultdict(list)  # key → ledger lines of orders
        self.updates = defaultdict(list)  # key → ledger lines of what became of them
        for line in e.ledger:
            if line["kind"] == "order":
                key = line["order"]["client_order_id"]
                self.orders[key].append(line)
            if line["kind"] == "update":
                self.updates[line["client_order_id"]].append(line)
            if line["kind"] in ("order", "update"):
                key = line["order"]["client_order_id"] if line["kind"] == "order" else line["client_order_id"]
                for fill in line["fills"]:
                    self.fills[key][fill["fill_id"]] = fill

        self.attempts = defaultdict(list)
        for attempt in e.tables.get("send_attempts", []):
            self.attempts[attempt["idempotency_key"]].append(attempt)
        self.alerts = defaultdict(list)  # key → alerts
        for alert in self.decoded("alerts"):
            self.alerts[alert["idempotency_key"]].append(alert)
        self.facts = {e["idempotency_key"]: json.loads(e["facts"]) for e in self.decoded("decisions")}

    def doubts(self) -> list[tuple]:
        """(key, since, until) of every time that an order was UNKNOWN, Unix seconds; until is none if it still is."""
        found, since = [], {}
        for written in sorted(self.evidence.tables.get("campaign_states", []), key=lambda w: w["n"]):
            key, at = written["idempotency_key"], written["at"].timestamp()
            if key in since:
                found.append((key, since.pop(key), at))
            if written["state"] == "UNKNOWN":
                since[key] = at
        return found + [(key, at, None) for key, at in since.items()]

    def released(self, row: dict) -> tuple | None:
        """When the order ended unfilled or filled in part, and how much of it was let go."""
        steps = self.events.get(row["idempotency_key"])
        if not steps or row["state"] not in ("REJECTED", "CANCELLED", "EXPIRED"):
            return None
        ended = next(s for n, s in sorted(steps.items()) if s["status"] in ("REJECTED", "CANCELLED", "EXPIRED"))
        return ended["at"], row["decided_qty"] - ended["executed_qty"]

    def last_step_at(self, key: str) -> datetime:
        steps = self.events.get(key)
        return steps[max(steps)]["at"] if steps else datetime.min.replace(tzinfo=timezone.utc)

    def intent_of(self, record: Record) -> dict | None:
        number = record.header("campaign-n")
        return self.intents.get(int(number)) if number is not None else None

    def _read(self, record: Record) -> None:
        intent = self.intent_of(record)
        if intent is not None and intent.get("refused"):
            self.refused[record.place()] = intent["refused"]
            return
        request = wire.decode(self.evidence.schemas, record.value)
        key = request.get("idempotency_key") or (intent or {}).get("key")
        self.readings.append(Reading(record, request, key, wire.digest(request)))

    def decoded(self, topic: str) -> list[dict]:
        """Every record of an output topic, repeats included."""
        return [wire.decode(self.evidence.schemas, r.value) for r in self.evidence.topics.get(topic, [])]

    def winner(self, row: dict) -> Reading | None:
        """The record that a ledger row was made from."""
        place = (row["source_partition"], row["source_offset"])
        for reading in self.by_key.get(row["idempotency_key"], []):
            if (reading.record.partition, reading.record.offset) == place:
                if self.topic_of(row["source_topic_id"]) == reading.record.topic:
                    return reading
        return None

    def topic_of(self, topic_id: str) -> str | None:
        """The logical name of a topic by Kafka's id of it."""
        for row in self.evidence.tables.get("input_positions", []):
            if row["topic_id"] == topic_id:
                return row["topic"].removeprefix(self.evidence.prefix)
        return None

    def stopped(self, row: dict, before=None) -> bool:
        """Whether a halt covered the order, at any time or up to a moment."""
        for halt in self.evidence.tables.get("halts", []):
            if before is not None and halt["at"] > before:
                continue
            if halt["mode"] == "resumed":
                continue
            scope = [(halt["account"], row["account"]), (halt["symbol"], row["symbol"])]
            if all(wanted in (None, is_) for wanted, is_ in scope) and halt["strategy"] in (None, row["strategy"]):
                return True
        return False

    def too_old(self, reading: Reading, decided_at) -> bool:
        """C-KEY-5, limits inclusive: whether a request decided at this time must be REJECT."""
        request = reading.request
        asked = request["requested_at"]
        short = request["order_type"] == "MARKET" or request.get("time_in_force", "GTC") in SHORT_LIVED
        most = timedelta(minutes=5) if short else timedelta(hours=24)
        ended = request.get("valid_until") is not None and decided_at > request["valid_until"]
        return decided_at - asked > most or asked - decided_at > AHEAD or ended
