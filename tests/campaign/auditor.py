"""The auditor: invariants A1 to A16 over the evidence of a run.

Each is a function from a case to the violations it finds, as sentences; `NotApplicable` says why there is nothing to
look at. Nothing here starts, asks or changes anything. `planted.py` proves that each can fail.
"""

import hashlib
import json
from collections import Counter, defaultdict
from datetime import timedelta
from decimal import Decimal

import wire
from evidence import Evidence, utc
from readings import FINAL, INPUTS, Case

DEAD_LETTERS = "dead-letters"
OUTPUTS = {"decisions": "obs_decisions", "exec-events": "obs_exec_events", "alerts": "obs_alerts"}
# Orders the broker may still fill.
LIVE = {"SENT", "ACCEPTED", "PARTIALLY_FILLED", "UNKNOWN", "PARKED", "NEW"}
# A13: so long after the last fault nothing of before it may be unknown any more, seconds.
HEALED_S = 60.0
# What is written in a transaction is seen by others a moment later.
COMMITTED_S = timedelta(seconds=0.5)
# C-FSM, as the contract has it; the first step of an order is from None.
_ENDS = {"REJECTED", "CANCELLED", "EXPIRED"}
_ANSWERS = {"ACCEPTED", "PARTIALLY_FILLED", "FILLED"} | _ENDS
LEGAL = {
    None: {"SENT"} | _ENDS,
    "NEW": {"SENT"} | _ENDS,
    "SENT": _ANSWERS | {"NEW", "UNKNOWN", "PARKED"},
    "UNKNOWN": _ANSWERS | {"NEW", "SENT", "PARKED"},
    "ACCEPTED": {"PARTIALLY_FILLED", "FILLED"} | _ENDS,
    "PARTIALLY_FILLED": {"PARTIALLY_FILLED", "FILLED", "CANCELLED", "EXPIRED"},
    "FILLED": {"FILLED"},  # an over-fill
    "CANCELLED": {"CANCELLED"},  # a late fill
    "EXPIRED": {"EXPIRED"},  # likewise
    "REJECTED": set(),
    "PARKED": _ANSWERS,
}


class NotApplicable(Exception):
    """There is nothing of the kind in this run; the text says why."""


def _accepted(case: Case, key: str) -> list[dict]:
    return [line for line in case.orders.get(key, []) if line["status"] != "rejected"]


def a1(case: Case) -> list[str]:
    """Per idempotency key the broker has accepted at most one order."""
    found = [
        f"{key}: the broker has {len(_accepted(case, key))} orders"
        for key in case.orders
        if len(_accepted(case, key)) > 1
    ]
    # Under another id too: a trace of its own belongs to one key.
    keys = defaultdict(set)
    for intent in case.evidence.intents:
        if intent.get("key"):
            keys[intent["trace_id"]].add(intent["key"])
    traces = Counter(
        line["order"].get("trace_id") for line in case.evidence.ledger if line["kind"] == "order" and line["status"] != "rejected"
    )
    for trace, orders in traces.items():
        if len(keys.get(trace, ())) == 1 and orders > 1:
            found.append(f"trace {trace} asked for one order and the broker has {orders}")
    return found


def a2(case: Case) -> list[str]:
    """Every good request has exactly one row, in its final state, and that state is what the broker has."""
    found = []
    inputs = {record.place() for topic in INPUTS for record in case.evidence.topics.get(topic, [])}
    for number, place in case.evidence.acked.items():
        if tuple(place) not in inputs:
            found.append(f"intent {number} was acknowledged at {place} and is not there")
    for key, readings in case.by_key.items():
        row = case.rows.get(key)
        if row is None:
            found.append(f"{key}: asked for at {readings[0].record.place()}, and no row was made")
            continue
        found += [f"{key}: {text}" for text in _as_asked(case, row)]
    return found


def _as_asked(case: Case, row: dict) -> list[str]:
    reading = case.winner(row)
    if reading is None:
        return ["its row names a record that does not ask for it"]
    found = []
    old = case.too_old(reading, row["decided_at"])
    side = reading.request.get("side")
    if (row["action"] == "REJECT") != old:
        found.append(f"decided {row['action']} at {row['decided_at']}, and it was {'' if old else 'not '}too old")
    if side == "FLAT" and row["action"] not in ("FLAT", "REJECT"):
        found.append(f"FLAT was asked for and {row['action']} decided")
    intent = case.intent_of(reading.record) or {}
    if intent.get("plain") and not old and not case.stopped(row, before=row["decided_at"]):
        if (row["action"], row["decided_qty"]) != (side, reading.request["qty"]):
            found.append(f"{side} {reading.request['qty']} breaks no rule and became {row['action']} {row['decided_qty']}")
    return found + _at_the_broker(case, row)


def _at_the_broker(case: Case, row: dict) -> list[str]:
    key, state = row["idempotency_key"], row["state"]
    if state not in FINAL:
        return [f"stays {state}"]
    have, filled = _accepted(case, key), sum(Decimal(f["qty"]) for f in case.fills.get(key, {}).values())
    if state == "NOT_SENT":
        return [f"{row['action']} was sent"] if case.orders.get(key) or case.attempts[key] else []
    if state == "PARKED":
        return []  # A13 says whether it may be
    if state == "FILLED":
        if len(have) != 1 or filled < row["decided_qty"] or row["executed_qty"] != filled:
            return [f"FILLED {row['executed_qty']}, and the broker has {len(have)} orders with {filled} filled"]
        return []
    if row["executed_qty"] != filled:
        return [f"{state} with {row['executed_qty']} filled, and the broker has filled {filled}"]
    if state == "REJECTED" and have:
        return ["REJECTED, and the broker has accepted it"]
    if state == "REJECTED" and case.attempts[key] and not case.orders.get(key):
        return ["REJECTED, and the broker never refused it: no answer was taken for a no"]
    working = [line for line in have if line["status"] in ("working", "filled")]
    if state in ("EXPIRED", "CANCELLED") and working and not _ended(case, key):
        return [f"{state}, and the broker still has it"]
    if state == "CANCELLED" and not _may_be_cancelled(case, row, bool(have)):
        return ["CANCELLED, and nobody cancelled it"]
    if state == "EXPIRED" and not have and not _was_late(case, row):
        return ["EXPIRED before its time"]
    return []


def _may_be_cancelled(case: Case, row: dict, is_at_broker: bool) -> bool:
    """Whether a halt, a person, or the broker by itself had it cancelled: whichever the broker, or the last step, names."""
    key = row["idempotency_key"]
    by_hand = any(wanted["idempotency_key"] == key and wanted["code"] == "cancelled_by_hand" for wanted in case.evidence.tables["order_cancels"])
    if not is_at_broker:
        return by_hand or case.stopped(row)
    codes = {line.get("code") for line in case.updates[key] if line["status"] == "cancelled"}
    return ("halted" not in codes or case.stopped(row)) and ("cancelled_by_hand" not in codes or by_hand)


def _ended(case: Case, key: str) -> bool:
    return any(
        line["kind"] == "update" and line["client_order_id"] == key and line["status"] in ("cancelled", "expired")
        for line in case.evidence.ledger
    )


def _was_late(case: Case, row: dict) -> bool:
    end = min(t for t in (row["dispatch_by"], row["valid_until"]) if t is not None)
    return case.last_step_at(row["idempotency_key"]) >= end


def a3(case: Case) -> list[str]:
    """Every input record has exactly one end: a row, a replay of one, or a dead letter."""
    found = []
    letters = defaultdict(set)
    for letter in case.evidence.topics.get(DEAD_LETTERS, []):
        letters[_origin(case, letter)].add(letter.header("noctus-reason"))
    sources = {
        (case.topic_of(row["source_topic_id"]), row["source_partition"], row["source_offset"])
        for row in case.rows.values()
    }
    seen = set()
    for topic in INPUTS:
        ends = defaultdict(list)
        for record in case.evidence.topics.get(topic, []):
            seen.add(record.place())
            ends[record.partition].append(record.offset)
        for partition, offsets in ends.items():
            if sorted(offsets) != list(range(min(offsets), max(offsets) + 1)):
                found.append(f"{topic}/{partition}: the dump has gaps")
    for place, reason in case.refused.items():
        if letters.get(place) != {reason}:
            found.append(f"{place} is {reason}, and its dead letters say {sorted(letters.get(place, []), key=str)}")
        if place in sources:
            found.append(f"{place} is {reason}, and a row was made of it")
    for reading in case.readings:
        place, row = reading.record.place(), case.rows.get(reading.key)
        same = row is not None and row["digest"] == reading.digest
        wanted = set() if same else {"idempotency_conflict"}
        if row is None or letters.get(place, set()) != wanted or (place in sources and not same):
            found.append(f"{place} ({reading.key}) has row {same}, dead letters {sorted(letters.get(place, []), key=str)}")
    for place in set(letters) | sources:
        if place not in seen:
            found.append(f"{place} was decided or refused, and nobody produced it")
    return found


def _origin(case: Case, letter) -> tuple:
    topic = (letter.header("noctus-origin-topic") or "").removeprefix(case.evidence.prefix)
    return (topic, int(letter.header("noctus-origin-partition") or -1), int(letter.header("noctus-origin-offset") or -1))


def a4(case: Case) -> list[str]:
    """What the broker has is what was decided, and that is what was asked for, the quantity at most."""
    found = []
    for key, row in case.rows.items():
        reading = case.winner(row)
        if reading is None:
            continue  # A2 says so
        request = reading.request
        if row["digest"] != reading.digest:
            found.append(f"{key}: the row's digest is not that of {reading.record.place()}")
        for name in ("account", "symbol", "trace_id", "order_type"):
            if row[name] != request[name]:
                found.append(f"{key}: {name} {request[name]} became {row[name]}")
        for name in ("limit_price", "stop_price", "stop_loss", "take_profit"):
            if row[name] != request.get(name):
                found.append(f"{key}: {name} {request.get(name)} became {row[name]}")
        if "qty" in request and row["decided_qty"] > request["qty"]:
            found.append(f"{key}: {request['qty']} grew to {row['decided_qty']}")
        if "side" in request and row["action"] in ("BUY", "SELL") and row["action"] != request["side"]:
            found.append(f"{key}: {request['side']} became {row['action']}")
        for line in case.orders.get(key, []):
            found += [f"{key}: {text}" for text in _differs(line["order"], row)]
    return found


def _differs(order: dict, row: dict) -> list[str]:
    told = {"side": row["action"], "qty": row["decided_qty"]}
    for name in ("account", "symbol", "trace_id", "order_type", "time_in_force", "limit_price", "stop_price", "stop_loss", "take_profit"):
        told[name] = row[name]
    same = lambda a, b: Decimal(a) == b if isinstance(b, Decimal) and a is not None else a == b
    return [
        f"{name} was decided {value} and the broker has {order.get(name)}"
        for name, value in told.items()
        if not same(order.get(name), value)
    ]


def a5(case: Case) -> list[str]:
    """No order at the broker without a row and an attempt that are older than it."""
    found = []
    for key, lines in case.orders.items():
        row = case.rows.get(key)
        if row is None:
            found.append(f"{key}: the broker has an order that no row knows")
            continue
        for line in lines:
            received = utc(line["received_at"])
            if row["created_at"] > received:
                found.append(f"{key}: at the broker at {received}, decided at {row['created_at']}")
            if not any(attempt["started_at"] <= received for attempt in case.attempts[key]):
                found.append(f"{key}: at the broker at {received}, and no attempt had begun")
    return found


def a6(case: Case) -> list[str]:
    """Caps hold at each decision, what is reserved is what is live, positions are the broker's fills, rates hold."""
    found = []
    for lane, rows in _lanes(case).items():
        caps = case.evidence.caps.get(lane[1], {})
        found += _books(case, lane, rows)
        found += [f"{lane}: {text}" for text in _prefixes(case, rows, caps.get("position"))]
        if "rate" in caps:
            found += [f"{lane}: {text}" for text in _rate(rows, caps["rate"])]
    traces = defaultdict(list)
    for row in case.rows.values():
        if "trace" in case.evidence.caps.get(row["symbol"], {}):
            traces[(row["account"], row["trace_id"], row["symbol"])].append(row)
    for (account, trace, symbol), rows in traces.items():
        cap = case.evidence.caps[symbol]["trace"]
        # What was let go unfilled no longer counts; the sum is what is left when all is over.
        kept = sum(r["opening_notional"] for r in rows if r["executed_qty"] > 0 or r["state"] == "PARKED")
        if kept > cap:
            found.append(f"trace {trace} of {account}: {kept} opened, {cap} allowed")
    return found


def _lanes(case: Case) -> dict:
    lanes = defaultdict(list)
    for row in case.rows.values():
        if row["action"] in ("BUY", "SELL"):
            lanes[(row["account"], row["symbol"])].append(row)
    return lanes


def _books(case: Case, lane: tuple, rows: list) -> list[str]:
    """The lane's sums at the end, from the broker's own fills."""
    book = next((p for p in case.evidence.tables["risk_positions"] if (p["account"], p["symbol"]) == lane), None)
    if book is None:
        return [f"{lane} has no position"]
    filled = Decimal(0)
    working = {"BUY": Decimal(0), "SELL": Decimal(0)}
    for row in rows:
        sign = 1 if row["action"] == "BUY" else -1
        known = row["executed_qty"] if row["state"] == "PARKED" else None
        have = sum((Decimal(f["qty"]) for f in case.fills.get(row["idempotency_key"], {}).values()), Decimal(0))
        filled += sign * (have if known is None else known)
        if row["state"] in LIVE:
            working[row["action"]] += row["decided_qty"] - row["executed_qty"]
    found = []
    if book["position"] != filled:
        found.append(f"{lane}: position {book['position']}, and the broker filled {filled}")
    if (book["working_buy"], book["working_sell"]) != (working["BUY"], working["SELL"]):
        found.append(f"{lane}: {book['working_buy']}/{book['working_sell']} reserved, {working['BUY']}/{working['SELL']} live")
    return found


def _prefixes(case: Case, rows: list, cap: Decimal | None) -> list[str]:
    """At each decision: what was known of the worst case is no less than what had happened, and the cap holds."""
    found = []
    fills = [
        (row["action"], utc(fill["at"]), Decimal(fill["qty"]))
        for row in rows
        for fill in case.fills.get(row["idempotency_key"], {}).values()
    ]
    over = [(row["action"], *case.released(row)) for row in rows if case.released(row)]
    for row in rows:
        side, at = row["action"], row["decided_at"]
        decided = sum(o["decided_qty"] for o in rows if o["action"] == side and _before(o, row))
        # Only what happened before this decision can have lowered the worst case.
        lowered = sum(qty for of, when, qty in over if of == side and when <= at)
        lowered += sum(qty for of, when, qty in fills if of != side and when <= at)
        least = decided - lowered
        facts = case.facts.get(row["idempotency_key"])
        if facts is None:
            continue  # A7 says that nobody was told
        working = Decimal(facts["working_buy" if side == "BUY" else "working_sell"])
        known = (1 if side == "BUY" else -1) * Decimal(facts["position"]) + working
        if known < least:
            found.append(f"{row['idempotency_key']} was judged as if {known} were the worst case, and it was {least} at least")
        worst = max(Decimal(0), known, least) + row["opening_qty"]
        if cap is not None and row["opening_qty"] > 0 and worst * row["risk_price"] > cap:
            found.append(f"{row['idempotency_key']}: {worst} at {row['risk_price']} is more than {cap}")
    return found


def _before(other: dict, row: dict) -> bool:
    """Whether it was surely decided earlier: a batch has one time, and within it a partition has an order."""
    if other["decided_at"] != row["decided_at"]:
        return other["decided_at"] < row["decided_at"]
    place = ("source_topic_id", "source_partition")
    return all(other[n] == row[n] for n in place) and other["source_offset"] < row["source_offset"]


def _rate(rows: list, most: int) -> list[str]:
    found = []
    times = sorted(row["decided_at"] for row in rows)
    for at, time in enumerate(times):
        within = sum(1 for other in times[:at] if (time - other).total_seconds() < 59.999)
        if within >= most:
            found.append(f"{within + 1} orders within a minute of {time}, {most} allowed")
    return found


def a7(case: Case) -> list[str]:
    """Events repeat but never vary, each is one row of its table, and rows join both ways by trace and key."""
    found = []
    for topic, table in OUTPUTS.items():
        variants = defaultdict(set)
        for record in case.evidence.topics.get(topic, []):
            event = wire.decode(case.evidence.schemas, record.value)
            variants[event["event_id"]].add(record.value)
        found += [f"{topic}: event {event_id} has {len(v)} forms" for event_id, v in variants.items() if len(v) > 1]
        rows = Counter(row["event_id"] for row in case.evidence.tables[table])
        found += [f"{table}: event {event_id} has {n} rows" for event_id, n in rows.items() if n > 1]
        found += [f"{table} lacks event {event_id}" for event_id in variants.keys() - rows.keys()]
        found += [f"{table} has event {event_id} that no topic has" for event_id in rows.keys() - variants.keys()]
    told = {e["idempotency_key"]: e for e in case.decoded("decisions")}
    for key, row in case.rows.items():
        event = told.get(key)
        if event is None:
            found.append(f"{key} was decided and nobody was told")
        elif (event["trace_id"], event["action"], event["decided_qty"]) != (row["trace_id"], row["action"], row["decided_qty"]):
            found.append(f"{key}: decided {row['action']} {row['decided_qty']}, told {event['action']} {event['decided_qty']}")
        if row["exec_seq"] != len(case.events.get(key, {})):
            found.append(f"{key}: {row['exec_seq']} steps, {len(case.events.get(key, {}))} told")
    found += [f"{key} was told and never decided" for key in told.keys() - case.rows.keys()]
    for row in case.evidence.tables["obs_exec_events"]:
        owner = case.rows.get(row["idempotency_key"])
        if owner is None or owner["trace_id"] != row["trace_id"]:
            found.append(f"obs_exec_events: {row['idempotency_key']} does not join its decision")
    with_orders = {row["idempotency_key"] for row in case.evidence.tables["obs_exec_events"]}
    for key, row in case.rows.items():
        if row["action"] in ("BUY", "SELL") and key not in with_orders:
            found.append(f"{key}: decided {row['action']}, and obs_exec_events has nothing of it")
    found += _told_refusals(case)
    return found


def _told_refusals(case: Case) -> list[str]:
    """Each refusal has its alert."""
    alerts = set()

    for alert in case.decoded("alerts"):
        details = json.loads(alert["details"])
        if {"topic", "partition", "offset"} <= details.keys():
            topic = str(details["topic"]).removeprefix(case.evidence.prefix)
            alerts.add((topic, details["partition"], details["offset"]))
    origins = {_origin(case, letter) for letter in case.evidence.topics.get(DEAD_LETTERS, [])}
    return [f"{place} was refused without an alert" for place in origins - alerts]


def a8(case: Case) -> list[str]:
    """The plan's queries: no key twice in outbox_orders, no step twice in obs_exec_events."""
    keys = Counter(row["idempotency_key"] for row in case.evidence.tables["outbox_orders"])
    steps = Counter((row["idempotency_key"], row["exec_seq"]) for row in case.evidence.tables["obs_exec_events"])
    found = [f"outbox_orders has {n} rows of {key}" for key, n in keys.items() if n > 1]
    return found + [f"obs_exec_events has {n} rows of {step}" for step, n in steps.items() if n > 1]


def a9(case: Case) -> list[str]:
    """Only legal steps, without a gap; fills only grow and are the sum of themselves; the end is the row's state."""
    found = []
    for key, steps in case.events.items():
        order = [steps[n] for n in sorted(steps)]
        if sorted(steps) != list(range(1, len(order) + 1)):
            found.append(f"{key}: steps {sorted(steps)}")
        state, executed, fills = None, Decimal(0), {}
        for step in order:
            if step["status"] not in LEGAL[state]:
                found.append(f"{key}: {state} → {step['status']}")
            if state in ("FILLED", "CANCELLED", "EXPIRED") and step["last_fill"] is None:
                found.append(f"{key}: {state} was not the end")
            if step["last_fill"]:
                if step["last_fill"]["fill_id"] in fills:
                    found.append(f"{key}: fill {step['last_fill']['fill_id']} counted twice")
                fills[step["last_fill"]["fill_id"]] = step["last_fill"]["qty"]
            if step["executed_qty"] < executed or step["executed_qty"] != sum(fills.values(), Decimal(0)):
                found.append(f"{key}: {executed} filled, then {step['executed_qty']} with fills of {sum(fills.values())}")
            state, executed = step["status"], step["executed_qty"]
        row = case.rows.get(key)
        if row is None or (row["state"], row["executed_qty"]) != (state, executed):
            found.append(f"{key}: told {state} {executed}, the row says {row and (row['state'], row['executed_qty'])}")
    return found


def a10(case: Case) -> list[str]:
    """Kafka's group offset ≤ Postgres' ≤ the end; offsets and epochs only grow, and only their owner moves one."""
    found = []
    if not case.evidence.tables.get("campaign_moves"):
        raise NotApplicable("the database kept no record of its positions' moves")
    before = {}
    for move in sorted(case.evidence.tables["campaign_moves"], key=lambda m: m["n"]):
        place = (move["reader"], move["topic"], move["partition"])
        epoch, offset, owner = before.get(place, (-1, 0, None))
        if move["next_offset"] < offset:
            found.append(f"{place}: back from {offset} to {move['next_offset']} under epoch {move['epoch']}")
        if move["epoch"] < epoch:
            found.append(f"{place}: epoch {move['epoch']} after {epoch}")
        if move["epoch"] == epoch and move["owner"] != owner:
            found.append(f"{place}: epoch {epoch} is {owner}'s and {move['owner']} moved it")
        before[place] = (move["epoch"], move["next_offset"], move["owner"])
    for sample in case.evidence.samples:
        if sample["kafka"] > sample["postgres"]:
            found.append(f"{sample['reader']} {sample['topic']}/{sample['partition']}: Kafka was told {sample['kafka']}, Postgres has {sample['postgres']}")
    ends = {(t, r.partition): r.offset + 1 for t in case.evidence.topics for r in case.evidence.topics[t]}
    for row in case.evidence.tables["input_positions"]:
        topic = row["topic"].removeprefix(case.evidence.prefix)
        end = ends.get((topic, row["partition"]), 0)
        if row["reader"] == "gate" and topic in INPUTS and row["next_offset"] != end:
            found.append(f"{topic}/{row['partition']}: read up to {row['next_offset']}, it ends at {end}")
    return found


def a11(case: Case) -> list[str]:
    """Orders of a lane come to the broker in the order in which they were asked for; only what reduces overtakes, while
    an earlier order of the lane is unknown (C-OUT-4, C-OUT-5)."""
    found = []
    lanes = defaultdict(list)
    for key, lines in case.orders.items():
        row = case.rows.get(key)
        if row is not None:
            line = min(lines, key=lambda line: line["n"])
            place = (row["account"], row["symbol"], row["source_topic_id"], row["source_partition"])
            lanes[place].append((line["n"], utc(line["received_at"]), row))
    unknown = _unknown(case)
    for place, sent in lanes.items():
        sent.sort(key=lambda one: one[0])
        for at, (_, _, row) in enumerate(sent):
            for _, received, other in sent[:at]:
                if other["source_offset"] < row["source_offset"]:
                    continue
                if other["opening_qty"] > 0 or not _held(case, other, received, unknown[place[:2]]):
                    found.append(
                        f"{place[0]} {place[1]}: {other['idempotency_key']} (offset {other['source_offset']}) came before "
                        f"{row['idempotency_key']} (offset {row['source_offset']})"
                    )
    return found


def _unknown(case: Case) -> dict:
    """Lane → when one of its orders was unknown, and when that one was decided."""
    spans, since = defaultdict(list), {}
    for written in sorted(case.evidence.tables.get("campaign_states", []), key=lambda w: w["n"]):
        key = written["idempotency_key"]
        row = case.rows.get(key)
        begun = since.pop(key, None)
        if begun is not None and row is not None:
            spans[(row["account"], row["symbol"])].append((begun, written["at"], row["decided_at"]))
        if written["state"] in ("UNKNOWN", "PARKED"):
            since[key] = written["at"]
    for key, begun in since.items():
        row = case.rows.get(key)
        if row is not None:
            spans[(row["account"], row["symbol"])].append((begun, None, row["decided_at"]))
    return spans


def _held(case: Case, row: dict, received, spans: list) -> bool:
    """Whether an earlier order of the lane was unknown while this one was being sent."""
    begun = [a for a in case.attempts[row["idempotency_key"]] if a["started_at"] <= received]
    if not begun:
        return False  # A5 says so
    attempt = max(begun, key=lambda a: a["started_at"])
    over = attempt["ended_at"] or received
    return any(
        since <= over + COMMITTED_S and (until is None or until >= attempt["started_at"] - COMMITTED_S) and decided <= row["decided_at"]
        for since, until, decided in spans
    )


def a12(case: Case) -> list[str]:
    """Nothing of a halt's scope comes to the broker after the halt was acknowledged; what worked there is cancelled, and
    so is what a person cancels."""
    if not case.evidence.halts and not case.evidence.cancels:
        raise NotApplicable("nobody halted anything in this run")
    found = []
    for halt in case.evidence.halts:
        at, scope = utc(halt["acknowledged_at"]), halt["scope"]
        until = utc(halt["resumed_at"]) if halt.get("resumed_at") else None
        for line in case.evidence.ledger:
            if line["kind"] != "order" or any(line["order"][name] != value for name, value in scope.items()):
                continue
            received = utc(line["received_at"])
            if received > at and (until is None or received < until):
                found.append(f"{line['order']['client_order_id']} came at {received}, {scope} was halted at {at}")
        if until is None:
            found += _goes_on(case, [k for k, row in case.rows.items() if all(row[n] == v for n, v in scope.items())], f"{scope} was halted")
    for told in case.evidence.cancels:
        key, row = told["key"], case.rows.get(told["key"])
        found += _goes_on(case, [key], "it was cancelled by hand")
        if row is None or (told["state"] in FINAL and row["state"] != told["state"]):
            found.append(f"{key}: whoever cancelled it was told {told['state']}, and it is {row and row['state']}")
    return found


def _goes_on(case: Case, keys: list, why: str) -> list[str]:
    """Orders that still worked at the broker when all faults were over and every cancel had had its time. One that the
    broker was asked about and refused to cancel may."""
    over = case.evidence.priced_at
    if over is None:
        return []
    refused = {w["idempotency_key"] for w in case.evidence.tables["order_cancels"] if (w["answer"] or "").startswith("refused")}
    found = []
    for key in keys:
        for line in _accepted(case, key):
            ends = [utc(u["at"]).timestamp() for u in case.updates[key] if u["status"] != "working"]
            if line["status"] == "working" and key not in refused and not any(at <= over for at in ends):
                found.append(f"{key}: {why}, and it went on working at the broker")
    return found


def a13(case: Case) -> list[str]:
    """When faults are over nothing stays unknown; what is PARKED is what the broker's class cannot tell."""
    found = []
    states = Counter(row["state"] for row in case.rows.values())
    if states["UNKNOWN"]:
        found.append(f"{states['UNKNOWN']} orders stay UNKNOWN")
    broker = case.evidence.broker
    for key, row in case.rows.items():
        if row["state"] != "PARKED":
            continue
        why = case.events[key][max(case.events[key])]["reason_code"] or "" if case.events.get(key) else ""
        asked = why.startswith("asked_in_vain") or why == "broker_mismatch"
        if broker.dedupes and broker.queryable and not asked:
            found.append(f"{key} is PARKED ({why}), and the broker {broker.name()}")
        if broker.queryable and not asked and _accepted(case, key):
            found.append(f"{key} is PARKED ({why}), and the broker would have told of its order")
        alerts = [a for a in case.alerts[key] if a["severity"] == "CRITICAL"]
        if not alerts:
            found.append(f"{key} is PARKED, and nobody was alerted")
    healed = case.evidence.healed_at
    for key, begun, over in case.doubts() if healed is not None else []:
        if begun < healed and over is not None and over - healed > HEALED_S:
            found.append(f"{key} was UNKNOWN until {over - healed:.0f} s after the last fault, {HEALED_S:.0f} s are allowed")
    return found


def a14(case: Case) -> list[str]:
    """A dead letter has the bytes, the headers and the place of the record it stands for."""
    found = []
    inputs = {r.place(): r for topic in INPUTS for r in case.evidence.topics.get(topic, [])}
    letters = case.evidence.topics.get(DEAD_LETTERS, [])
    if not letters:
        raise NotApplicable("nothing was refused in this run")
    for letter in letters:
        place = _origin(case, letter)
        origin = inputs.get(place)
        if origin is None:
            found.append(f"a dead letter of {place}, which is no input")
            continue
        cut = letter.header("noctus-reason") == "too_large"
        if letter.key != origin.key or (letter.value != origin.value and not cut):
            found.append(f"{place}: key or value are not those of the record")
        if cut and letter.header("noctus-value-sha256") != hashlib.sha256(origin.value).hexdigest():
            found.append(f"{place}: the digest is not that of the value")
        if origin.headers != letter.headers[len(letter.headers) - len(origin.headers):]:
            found.append(f"{place}: the original headers do not follow")
        if letter.header("noctus-origin-timestamp") != str(origin.timestamp_ms):
            found.append(f"{place}: another time")
    return found


def a15(case: Case) -> list[str]:
    """The tables made anew from the topics are the same."""
    if case.evidence.rebuilt is None:
        raise NotApplicable("nothing was made anew in this run")
    found = []
    for table, rows in case.evidence.rebuilt.items():
        ours = Counter(_told(row) for row in case.evidence.tables[table])
        anew = Counter(_told(row) for row in rows)
        for row in list((ours - anew).elements())[:3]:
            found.append(f"{table}: only in the original: {row[:300]}")
        for row in list((anew - ours).elements())[:3]:
            found.append(f"{table}: only when made anew: {row[:300]}")
    return found


def _told(row: dict) -> str:
    return repr(sorted(row.items(), key=lambda item: item[0]))


def a16(case: Case) -> list[str]:
    """No secret in logs, topics, tables or the broker's ledger."""
    if not case.evidence.canaries:
        raise NotApplicable("the run had no secrets of its own")
    found = []
    for name, secret in case.evidence.canaries.items():
        wanted = secret.encode()
        for place, text in case.evidence.texts.items():
            if wanted in text:
                found.append(f"{place} holds {name}")
        for topic, records in case.evidence.topics.items():
            for record in records:
                headers = b"".join(value or b"" for _, value in record.headers)
                if wanted in (record.value or b"") or wanted in (record.key or b"") or wanted in headers:
                    found.append(f"{topic}/{record.partition}/{record.offset} holds {name}")
    return found


INVARIANTS = {f"A{n}": globals()[f"a{n}"] for n in range(1, 17)}


def audit(evidence: Evidence, only: set | None = None) -> dict:
    """Verdict per invariant: {verdict, why, violations[], live_checks}."""
    case = Case(evidence)
    verdicts = {}
    for name, invariant in INVARIANTS.items():
        if only is not None and name not in only:
            continue
        live = [text for of, text in evidence.live if of == name]
        try:
            violations, why = invariant(case) + live, ""
        except NotApplicable as reason:
            violations, why = live, str(reason)
        verdict = "violated" if violations else "not applicable" if why else "holds"
        verdicts[name] = {
            "what": " ".join(invariant.__doc__.split()),
            "verdict": verdict,
            "why": why,
            "violations": violations[:50],
            "count": len(violations),
            "live_checks": evidence.live_checks.get(name, 0),
        }
    return verdicts
