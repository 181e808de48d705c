"""What a run leaves behind, as plain data: what was meant, what every party wrote down, what was seen on the way.

The auditor reads nothing else. Evidence is collected once, after everything is at rest, by other clients than the
product's, and can be written to a folder and read again.
"""

import copy
import gzip
import pickle
from dataclasses import dataclass, field
from datetime import datetime, timezone


def utc(text: str | datetime) -> datetime:
    """A time of the ledger file or of a dump; more than 6 decimals are cut."""
    if isinstance(text, datetime):
        return text.astimezone(timezone.utc)
    head, _, rest = text.rstrip("Z").partition(".")
    digits = (rest + "000000")[:6]
    return datetime.fromisoformat(f"{head}.{digits}+00:00")


@dataclass
class Record:
    """A Kafka record; `topic` is the logical name."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list

    def place(self) -> tuple:
        return (self.topic, self.partition, self.offset)

    def header(self, name: str) -> str | None:
        for found, value in self.headers:
            if found == name:
                return None if value is None else value.decode("utf-8", "replace")
        return None


@dataclass
class BrokerClass:
    """What the broker promises (C-OUT-2)."""

    dedupes: bool = True
    queryable: bool = True

    def name(self) -> str:
        if self.dedupes and self.queryable:
            return "dedupes and can be queried"
        if self.dedupes:
            return "dedupes"
        return "can be queried" if self.queryable else "neither"


@dataclass
class Evidence:
    """Everything, of one run."""

    prefix: str = ""
    broker: BrokerClass = field(default_factory=BrokerClass)
    schemas: object = None  # wire.Schemas, or anything with by_id
    intents: list = field(default_factory=list)  # the generator's log, oldest first
    acked: dict = field(default_factory=dict)  # intent number → place in Kafka
    topics: dict = field(default_factory=dict)  # logical name → [Record]
    ledger: list = field(default_factory=list)  # the paper broker's lines
    tables: dict = field(default_factory=dict)  # table → [row as a dict]
    rebuilt: dict | None = None  # obs table → sorted rows, made anew from the topics
    halts: list = field(default_factory=list)  # {scope, acknowledged_at}
    cancels: list = field(default_factory=list)  # what `noctus orders cancel` told, of each
    samples: list = field(default_factory=list)  # Kafka's group offsets beside Postgres'
    live: list = field(default_factory=list)  # violations seen while it ran, as (invariant, text)
    live_checks: dict = field(default_factory=dict)  # invariant → how often it was looked at
    caps: dict = field(default_factory=dict)  # symbol → {position, trace, rate}
    canaries: dict = field(default_factory=dict)  # name → secret
    texts: dict = field(default_factory=dict)  # name → bytes that must hold no secret
    healed_at: float | None = None  # when the last fault was over (Unix seconds)
    priced_at: float | None = None  # when what still worked at the broker was let be filled

    def copy(self) -> "Evidence":
        """Another one with lists of its own; what is in them is shared, and must be replaced, not changed."""
        other = copy.copy(self)
        for name in ("intents", "ledger", "halts", "cancels", "samples", "live"):
            setattr(other, name, list(getattr(self, name)))
        for name in ("topics", "tables"):
            setattr(other, name, {key: list(rows) for key, rows in getattr(self, name).items()})
        if self.rebuilt is not None:
            other.rebuilt = {key: list(rows) for key, rows in self.rebuilt.items()}
        other.acked, other.texts = dict(self.acked), dict(self.texts)
        return other

    def save(self, path: str) -> None:
        with gzip.open(path, "wb") as out:
            pickle.dump(self, out)

    @staticmethod
    def load(path: str) -> "Evidence":
        with gzip.open(path, "rb") as source:
            return pickle.load(source)
