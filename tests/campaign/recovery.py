"""How long what a process had in hand stood still after it was killed or stopped.

What it had in hand: its partitions and lanes, as far as work was waiting there before somebody else took them. The clock
begins with the kill and ends with the first step that a successor commits there: a position moved on, an order that
changed its state. `first` is the soonest of these places, `whole` the latest: then everything it held goes on.

A lane without orders for longer than a lease is not counted. A partition to which work came only after somebody had taken
it, and a lane behind an order of unknown outcome, which the broker must tell of first (doubts.py measures that), count up
to the moment when they had a new holder. If a second process of the role was killed or stopped before
the step, two faults overlap: the figure is kept apart from those of one fault alone, and is measured from the first.
"""

import bisect
from collections import defaultdict
from dataclasses import dataclass, field

from evidence import Evidence
from line import LEASE_MS

DONE = {"NOT_SENT", "FILLED", "REJECTED", "CANCELLED", "EXPIRED", "PARKED"}
# Orders that nobody but the broker moves.
RESTING = {"ACCEPTED", "PARTIALLY_FILLED"}
DOUBT = "doubt"


@dataclass
class Recovery:
    """Of one kill or stop, milliseconds."""

    slot: str
    role: str
    cause: str
    mode: str
    overlapped: bool
    first: float
    whole: float
    last: str  # the place that was last
    taken: float  # until that place had a new holder
    places: int
    at: float


@dataclass
class _Place:
    """One partition or lane: who took it when, and who made a step when."""

    taken: list = field(default_factory=list)  # (time, pid); none: it was let go
    steps: list = field(default_factory=list)  # time

    def holder(self, at: float) -> tuple:
        n = bisect.bisect_right(self.taken, (at, float("inf")))
        return self.taken[n - 1] if n else (0.0, None)


@dataclass
class _Fault:
    at: float
    pid: int
    slot: str
    role: str
    cause: str
    mode: str


def pid_of(worker: str) -> int | None:
    """A pid stands in a worker's name: <host>-<pid>-<random>."""
    parts = worker.rsplit("-", 2)
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else None


def measure(evidence: Evidence, deaths: list, zombies: list) -> list[Recovery]:
    """One for each death or stop after which somebody had something to do, in the order in which they came."""
    places = {**_partitions(evidence), **_lanes(evidence)}
    work = {**_unread(evidence), **_open_orders(evidence)}
    faults = [_Fault(d.at, d.pid, d.slot, d.role, d.cause, d.mode) for d in deaths]
    faults += [_Fault(z["stopped_at"], z["pid"], z["slot"], z["slot"].split("-")[0], "SIGSTOP", z["mode"]) for z in zombies]
    faults.sort(key=lambda fault: fault.at)
    found = []
    for fault in faults:
        waits = []
        for name, place in places.items():
            if place.holder(fault.at)[1] == fault.pid and name in work:
                waits += [(*wait, name) for wait in _wait(place, fault.at, work[name](fault.at), name[0] == "lane")]
        if waits:
            found.append(_recovery(fault, waits, faults))
    return found


def _wait(place: _Place, at: float, due: float | str | None, is_lane: bool) -> list[tuple]:
    """At most one (until the next step, until the next holder), seconds."""
    n = bisect.bisect_right(place.steps, at)
    taken = next((taken for taken, pid in place.taken if taken > at and pid is not None), None)
    if due is None or n == len(place.steps) or taken is None:
        return []
    if due == DOUBT:
        return [(taken - at, taken - at)]
    if is_lane and due > at + LEASE_MS / 1000:
        return []
    over = place.steps[n] if due <= taken else taken
    return [(over - at, taken - at)]


def _recovery(fault, waits: list, faults: list) -> Recovery:
    last = max(waits)
    over = fault.at + last[0]
    overlapped = any(f.role == fault.role and f is not fault and fault.at <= f.at < over for f in faults)
    ms = lambda seconds: round(seconds * 1000, 1)
    place = " ".join(str(part) for part in last[2])
    return Recovery(
        fault.slot, fault.role, fault.cause, fault.mode, overlapped, ms(min(waits)[0]), ms(last[0]), place, ms(last[1]), len(waits), fault.at,
    )


# Topics that always have traffic; of others nobody can tell an outage from a pause.
BUSY = {"order-requests", "decisions", "exec-events"}


def outages(evidence: Evidence, seen: list[dict]) -> dict[str, list[float]]:
    """What broke → milliseconds from a service's being ready again (of a Kafka node: from its being gone) to the moment
    when every busy partition (that it led) had been read on, beyond its first record of after that, and an order moved.
    A partition without a record in the ten seconds after it does not count."""
    found = defaultdict(list)
    lanes = sorted(step for place in _lanes(evidence).values() for step in place.steps)
    moves = defaultdict(list)
    for move in sorted(evidence.tables["campaign_moves"], key=lambda m: m["n"]):
        name = (move["reader"], move["topic"].removeprefix(evidence.prefix), move["partition"])
        moves[name].append((move["at"].timestamp(), move["next_offset"]))
    records = defaultdict(list)
    for topic, of in evidence.topics.items():
        for record in of:
            records[(topic, record.partition)].append((record.timestamp_ms / 1000, record.offset))
    for outage in seen:
        at, led = outage["at"], outage["led"]
        waits = []
        for name, steps in moves.items():
            place = name[1:]
            if place[0] not in BUSY or (led is not None and place not in [tuple(one) for one in led]):
                continue
            due = min((offset for stamp, offset in records[place] if at + 0.05 <= stamp < at + 10), default=None)
            if due is not None:
                waits += [next((when for when, offset in steps if when > at and offset > due), float("inf")) - at]
        n = bisect.bisect_right(lanes, at)
        if led is None and n < len(lanes):
            waits.append(lanes[n] - at)
        if waits:
            found[outage["what"]].append(round(max(waits) * 1000, 1))
    return found


def _partitions(evidence: Evidence) -> dict:
    places: dict = defaultdict(_Place)
    before: dict = {}
    for move in sorted(evidence.tables["campaign_moves"], key=lambda m: m["n"]):
        name = (move["reader"], move["topic"].removeprefix(evidence.prefix), move["partition"])
        at, (epoch, offset) = move["at"].timestamp(), before.get(name, (0, 0))
        if move["epoch"] != epoch:
            places[name].taken.append((at, pid_of(move["owner"])))
        if move["next_offset"] > offset:
            places[name].steps.append(at)
        before[name] = (move["epoch"], move["next_offset"])
    return places


def _lanes(evidence: Evidence) -> dict:
    places: dict = defaultdict(_Place)
    for move in sorted(evidence.tables["campaign_lanes"], key=lambda m: m["n"]):
        name = ("lane", move["account"], move["symbol"])
        places[name].taken.append((move["at"].timestamp(), pid_of(move["owner"])))
    lanes = {row["idempotency_key"]: ("lane", row["account"], row["symbol"]) for row in evidence.tables["outbox_orders"]}
    for step in sorted(evidence.tables["campaign_states"], key=lambda s: s["n"]):
        if step["idempotency_key"] in lanes:
            places[lanes[step["idempotency_key"]]].steps.append(step["at"].timestamp())
    for place in places.values():
        place.steps.sort()
    return places


def _unread(evidence: Evidence) -> dict:
    """Partition → function: when its next unread record as of a moment came; none if there was no more."""
    offsets = defaultdict(lambda: ([], []))
    for move in sorted(evidence.tables["campaign_moves"], key=lambda m: m["n"]):
        times, nexts = offsets[(move["reader"], move["topic"].removeprefix(evidence.prefix), move["partition"])]
        times.append(move["at"].timestamp())
        nexts.append(move["next_offset"])
    records = defaultdict(list)
    for topic, of in evidence.topics.items():
        for record in of:
            records[(topic, record.partition)].append((record.offset, record.timestamp_ms / 1000))
    for of in records.values():
        of.sort()

    def due(name: tuple):
        def asked(at: float) -> float | None:
            times, nexts = offsets[name]
            n = bisect.bisect_right(times, at)
            of = records[(name[1], name[2])]
            m = bisect.bisect_left(of, (nexts[n - 1] if n else 0, 0.0))
            return of[m][1] if m < len(of) else None

        return asked

    return {name: due(name) for name in offsets}


def _open_orders(evidence: Evidence) -> dict:
    """Lane → function: when, at a moment or after it, an order was there that dispatch had to move; DOUBT if one of them
    was of unknown outcome."""
    states = defaultdict(list)
    for step in sorted(evidence.tables["campaign_states"], key=lambda s: s["n"]):
        states[step["idempotency_key"]].append((step["at"].timestamp(), step["state"]))
    lanes = defaultdict(list)
    for row in evidence.tables["outbox_orders"]:
        if row["action"] in ("BUY", "SELL"):
            lanes[("lane", row["account"], row["symbol"])].append((row["created_at"].timestamp(), states[row["idempotency_key"]]))
    for of in lanes.values():
        of.sort(key=lambda order: order[0])

    def due(name: tuple):
        def asked(at: float) -> float | str | None:
            due = None
            for created, steps in lanes[name]:
                n = bisect.bisect_right(steps, (at, "~"))
                state = steps[n - 1][1] if n else "NEW"
                if created <= at and state == "UNKNOWN":
                    return DOUBT
                if due is None and (created > at or state not in DONE | RESTING):
                    due = max(created, at)
            return due

        return asked

    return {name: due(name) for name in lanes}


def percentile(values: list[float], share: float) -> float | None:
    """The value that this share of them does not exceed (nearest rank)."""
    if not values:
        return None
    return sorted(values)[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]
