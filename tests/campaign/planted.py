"""Is the auditor awake? Each planted violation, put into a copy of a run's own evidence, must be caught by its invariant.

    python planted.py EVIDENCE     after a run: evidence.gz in its folder
"""

import json
import struct
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import auditor
import wire
from evidence import Evidence, utc
from readings import Case

PLANTED: list[tuple[str, str, object]] = []


class Impossible(Exception):
    """The evidence has nothing that this could be planted in."""


def plant(invariant: str, text: str):
    def keep(act):
        PLANTED.append((invariant, text, act))
        return act

    return keep


# Changing evidence: what is shared is replaced --------------------------------------------------------------------


def first(found, what: str):
    for one in found:
        return one
    raise Impossible(f"no {what}")


def change(rows: list, row, **fields) -> None:
    rows[next(n for n, r in enumerate(rows) if r is row)] = {**row, **fields}


def filled(e: Evidence, case: Case) -> dict:
    rows = (r for r in e.tables["outbox_orders"] if r["state"] == "FILLED" and len(case.events[r["idempotency_key"]]) > 2)
    return first(rows, "filled order")


def line_of(e: Evidence, key: str) -> dict:
    return first((x for x in e.ledger if x["kind"] == "order" and x["order"]["client_order_id"] == key), "order at the broker")


def relined(e: Evidence, line: dict, order: dict | None = None, **fields) -> None:
    changed = {**line, **fields}
    if order is not None:
        changed["order"] = {**line["order"], **order}
    e.ledger[e.ledger.index(line)] = changed


def reworded(e: Evidence, topic: str, record, **fields) -> None:
    """An event with other words, well encoded."""
    event = {**wire.decode(e.schemas, record.value), **fields}
    number = struct.unpack(">I", record.value[1:5])[0]
    e.topics[topic][e.topics[topic].index(record)] = replace(record, value=wire.encode(e.schemas, number, event))


def step(e: Evidence, key: str, status: str):
    for record in e.topics["exec-events"]:
        event = wire.decode(e.schemas, record.value)
        if event["idempotency_key"] == key and event["status"] == status:
            return record
    raise Impossible(f"{key} was never {status}")


def told(e: Evidence, key: str):
    return first((r for r in e.topics["decisions"] if wire.decode(e.schemas, r.value)["idempotency_key"] == key), "decision")


# A1 ---------------------------------------------------------------------------------------------------------------


@plant("A1", "a key has two orders at the broker")
def _(e, case):
    line = line_of(e, filled(e, case)["idempotency_key"])
    e.ledger.append({**line, "n": line["n"] + 10**9, "order_ref": "p-again"})


@plant("A1", "a request has two orders under two client order ids")
def _(e, case):
    rows = (r for r in e.tables["outbox_orders"] if r["state"] == "FILLED" and r["symbol"] != "TRACED")
    line = line_of(e, first(rows, "filled order")["idempotency_key"])
    e.ledger.append({**line, "n": line["n"] + 10**9, "order": {**line["order"], "client_order_id": "another-id-of-it"}})


# A2 ---------------------------------------------------------------------------------------------------------------


@plant("A2", "a good request has no row")
def _(e, case):
    e.tables["outbox_orders"].remove(filled(e, case))


@plant("A2", "an order never ends")
def _(e, case):
    change(e.tables["outbox_orders"], filled(e, case), state="SENT")


@plant("A2", "an order is FILLED and the broker never had it")
def _(e, case):
    e.ledger.remove(line_of(e, filled(e, case)["idempotency_key"]))


@plant("A2", "an order ran out and the broker has it")
def _(e, case):
    change(e.tables["outbox_orders"], filled(e, case), state="EXPIRED", executed_qty=Decimal(0))


@plant("A2", "less was decided than was asked for, and no rule says so")
def _(e, case):
    good = (r for r in case.rows.values() if (w := case.winner(r)) and (case.intent_of(w.record) or {}).get("plain") and r["action"] in ("BUY", "SELL"))
    row = first(good, "plain order")
    change(e.tables["outbox_orders"], row, decided_qty=row["decided_qty"] / 2)


@plant("A2", "a request that was too old is decided BUY")
def _(e, case):
    row = first((r for r in case.rows.values() if r["action"] == "REJECT"), "REJECT")
    change(e.tables["outbox_orders"], row, action="BUY")


@plant("A2", "an acknowledged request is not in Kafka")
def _(e, case):
    e.acked[-1] = ("order-requests", 0, 10**9)


@plant("A2", "fills were counted that the broker never made")
def _(e, case):
    row = filled(e, case)
    change(e.tables["outbox_orders"], row, executed_qty=row["executed_qty"] + 1)


# A3 ---------------------------------------------------------------------------------------------------------------


@plant("A3", "a refused record has no dead letter")
def _(e, case):
    e.topics["dead-letters"] = [x for x in e.topics["dead-letters"] if auditor._origin(case, x) != first(case.refused, "refused record")]


@plant("A3", "a dead letter says another reason")
def _(e, case):
    letter = first(e.topics["dead-letters"], "dead letter")
    headers = [(n, b"bad_luck" if n == "noctus-reason" else v) for n, v in letter.headers]
    e.topics["dead-letters"][0] = replace(letter, headers=headers)


@plant("A3", "a replay became a dead letter too")
def _(e, case):
    letter = first(e.topics["dead-letters"], "dead letter")
    again = (r for r in case.readings if len(case.by_key[r.key]) > 1 and case.rows[r.key]["digest"] == r.digest)
    place = first(again, "replay").record.place()
    own = {"noctus-origin-topic": (e.prefix + place[0]).encode(), "noctus-origin-partition": str(place[1]).encode(), "noctus-origin-offset": str(place[2]).encode()}
    e.topics["dead-letters"].append(replace(letter, headers=[(n, own.get(n, v)) for n, v in letter.headers]))


@plant("A3", "an order was made of nothing")
def _(e, case):
    row = filled(e, case)
    change(e.tables["outbox_orders"], row, source_offset=10**9)


@plant("A3", "a conflict was swallowed")
def _(e, case):
    clash = (r for r in case.readings if r.key in case.rows and case.rows[r.key]["digest"] != r.digest)
    place = first(clash, "conflict").record.place()
    e.topics["dead-letters"] = [x for x in e.topics["dead-letters"] if auditor._origin(case, x) != place]


# A4 ---------------------------------------------------------------------------------------------------------------


@plant("A4", "the broker has more than was decided")
def _(e, case):
    line = line_of(e, filled(e, case)["idempotency_key"])
    relined(e, line, {"qty": str(Decimal(line["order"]["qty"]) * 2)})


@plant("A4", "the broker has the other side")
def _(e, case):
    line = line_of(e, filled(e, case)["idempotency_key"])
    relined(e, line, {"side": "SELL" if line["order"]["side"] == "BUY" else "BUY"})


@plant("A4", "a limit price changed on the way")
def _(e, case):
    lines = (x for x in e.ledger if x["kind"] == "order" and x["order"].get("limit_price"))
    relined(e, first(lines, "limit order"), {"limit_price": "1.6"})


@plant("A4", "a row's digest is another order's")
def _(e, case):
    change(e.tables["outbox_orders"], filled(e, case), digest="00" * 32)


@plant("A4", "a quantity grew")
def _(e, case):
    row = filled(e, case)
    change(e.tables["outbox_orders"], row, decided_qty=row["decided_qty"] * 3)


# A5 ---------------------------------------------------------------------------------------------------------------


@plant("A5", "an order came to the broker before its attempt began")
def _(e, case):
    row = filled(e, case)
    for attempt in [a for a in e.tables["send_attempts"] if a["idempotency_key"] == row["idempotency_key"]]:
        change(e.tables["send_attempts"], attempt, started_at=attempt["started_at"] + timedelta(hours=1))


@plant("A5", "an order at the broker has no attempt")
def _(e, case):
    key = filled(e, case)["idempotency_key"]
    e.tables["send_attempts"] = [a for a in e.tables["send_attempts"] if a["idempotency_key"] != key]


@plant("A5", "an order at the broker has no row")
def _(e, case):
    line = line_of(e, filled(e, case)["idempotency_key"])
    relined(e, line, {"client_order_id": "nobody-knows-this"})


# A6 ---------------------------------------------------------------------------------------------------------------


@plant("A6", "an order goes over its cap")
def _(e, case):
    capped = (r for r in case.rows.values() if r["symbol"] == "CAPPED" and r["opening_qty"] > 0)
    row = first(capped, "capped order")
    change(e.tables["outbox_orders"], row, opening_qty=Decimal(1_000))


@plant("A6", "an order was judged as if another did not exist")
def _(e, case):
    for rows in auditor._lanes(case).values():
        buys = sorted((r for r in rows if r["action"] == "BUY"), key=lambda r: r["decided_at"])
        if len(buys) > 1 and len(buys) == len(rows) or len(buys) > 6:
            record = told(e, buys[-1]["idempotency_key"])
            facts = json.loads(wire.decode(e.schemas, record.value)["facts"])
            facts.update(position="-1000000000", working_buy="0")
            return reworded(e, "decisions", record, facts=json.dumps(facts))
    raise Impossible("no lane with several buys")


@plant("A6", "a position is not what the broker filled")
def _(e, case):
    row = first((p for p in e.tables["risk_positions"] if p["position"] != 0), "position")
    change(e.tables["risk_positions"], row, position=row["position"] + 1)


@plant("A6", "something stays reserved for ever")
def _(e, case):
    row = first((p for p in e.tables["risk_positions"] if p["position"] != 0), "position")
    change(e.tables["risk_positions"], row, working_buy=row["working_buy"] + 1)


@plant("A6", "more orders in a minute than allowed")
def _(e, case):
    rows = [r for r in e.tables["outbox_orders"] if r["symbol"] == "USDJPY" and r["action"] in ("BUY", "SELL")][:8]
    for row in rows:
        change(e.tables["outbox_orders"], row, symbol="RATED", account="main", decided_at=rows[0]["decided_at"])


# A7 ---------------------------------------------------------------------------------------------------------------


@plant("A7", "an event is in no table")
def _(e, case):
    e.tables["obs_exec_events"].pop()


@plant("A7", "an event has two rows")
def _(e, case):
    e.tables["obs_decisions"].append(e.tables["obs_decisions"][0])


@plant("A7", "an event was told again with other words")
def _(e, case):
    record = first(e.topics["decisions"], "decision")
    e.topics["decisions"].append(replace(record, offset=10**9))
    reworded(e, "decisions", e.topics["decisions"][-1], reason="otherwise")


@plant("A7", "a decision was never told")
def _(e, case):
    key = filled(e, case)["idempotency_key"]
    e.topics["decisions"] = [r for r in e.topics["decisions"] if wire.decode(e.schemas, r.value)["idempotency_key"] != key]


@plant("A7", "a step was lost on its way")
def _(e, case):
    record = step(e, filled(e, case)["idempotency_key"], "ACCEPTED")
    e.topics["exec-events"] = [r for r in e.topics["exec-events"] if r.value != record.value]


@plant("A7", "a step does not join its decision by trace")
def _(e, case):
    change(e.tables["obs_exec_events"], e.tables["obs_exec_events"][0], trace_id="another-trace")


@plant("A7", "a record was refused without an alert")
def _(e, case):
    e.topics["alerts"] = [r for r in e.topics["alerts"] if "partition" not in json.loads(wire.decode(e.schemas, r.value)["details"])]


# A8 ---------------------------------------------------------------------------------------------------------------


@plant("A8", "a key has two rows")
def _(e, case):
    e.tables["outbox_orders"].append(e.tables["outbox_orders"][0])


@plant("A8", "a step has two rows")
def _(e, case):
    e.tables["obs_exec_events"].append({**e.tables["obs_exec_events"][0], "event_id": "another"})


# A9 ---------------------------------------------------------------------------------------------------------------


@plant("A9", "a step that the table of states does not have")
def _(e, case):
    key = filled(e, case)["idempotency_key"]
    reworded(e, "exec-events", step(e, key, "ACCEPTED"), status="REJECTED")


@plant("A9", "a step is missing")
def _(e, case):
    record = step(e, filled(e, case)["idempotency_key"], "ACCEPTED")
    e.topics["exec-events"] = [r for r in e.topics["exec-events"] if r.value != record.value]


@plant("A9", "less is filled than before")
def _(e, case):
    key = filled(e, case)["idempotency_key"]
    reworded(e, "exec-events", step(e, key, "FILLED"), executed_qty=Decimal(0))


@plant("A9", "the row ends otherwise than its steps")
def _(e, case):
    change(e.tables["outbox_orders"], filled(e, case), state="CANCELLED")


# A10 --------------------------------------------------------------------------------------------------------------


def moved(e: Evidence) -> dict:
    return first((m for m in reversed(e.tables["campaign_moves"]) if m["next_offset"] > 1), "move")


@plant("A10", "an offset went back")
def _(e, case):
    move = moved(e)
    e.tables["campaign_moves"].append({**move, "n": move["n"] + 10**9, "next_offset": move["next_offset"] - 1})


@plant("A10", "a worker moved an offset under an epoch that is not its own")
def _(e, case):
    move = moved(e)
    e.tables["campaign_moves"].append({**move, "n": move["n"] + 10**9, "owner": "a-1-zombie"})


@plant("A10", "an epoch went back")
def _(e, case):
    move = moved(e)
    e.tables["campaign_moves"].append({**move, "n": move["n"] + 10**9, "epoch": move["epoch"] - 1})


@plant("A10", "Kafka was told more than Postgres has")
def _(e, case):
    e.samples.append({"reader": "gate", "topic": "order-requests", "partition": 0, "kafka": 12, "postgres": 11})


@plant("A10", "an input was not read to its end")
def _(e, case):
    row = first((r for r in e.tables["input_positions"] if r["reader"] == "gate" and r["next_offset"] > 0), "position")
    change(e.tables["input_positions"], row, next_offset=row["next_offset"] - 1)


# A11 to A16 -------------------------------------------------------------------------------------------------------


@plant("A11", "two orders of a lane overtook each other")
def _(e, case):
    lanes = {}
    for line in [x for x in e.ledger if x["kind"] == "order"]:
        row = case.rows[line["order"]["client_order_id"]]
        lane = (row["account"], row["symbol"], row["source_topic_id"], row["source_partition"])
        other = lanes.setdefault(lane, line)
        if other is not line and case.rows[other["order"]["client_order_id"]]["source_offset"] < row["source_offset"] and row["opening_qty"] > 0:
            relined(e, other, n=line["n"])
            relined(e, line, n=other["n"])
            return
    raise Impossible("no lane with two orders")


@plant("A12", "an order of a halted symbol came after the acknowledgement")
def _(e, case):
    halt = first(e.halts, "halt")
    line = line_of(e, filled(e, case)["idempotency_key"])
    late = utc(halt["acknowledged_at"]) + timedelta(milliseconds=1)
    relined(e, line, halt["scope"], received_at=late.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def cancelled(e: Evidence, case: Case, code: str) -> dict:
    """The ledger's line of an order that was cancelled at the broker for this reason."""
    lines = (x for x in e.ledger if x["kind"] == "update" and x["status"] == "cancelled" and x.get("code") == code)
    return first(lines, f"order cancelled as {code}")


def late(e: Evidence) -> str:
    return datetime.fromtimestamp(e.priced_at + 1, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@plant("A12", "an order worked on though its symbol was halted")
def _(e, case):
    line = cancelled(e, case, "halted")
    e.ledger[e.ledger.index(line)] = {**line, "status": "filled", "at": late(e)}


@plant("A12", "an order worked on though a person had cancelled it")
def _(e, case):
    told = {one["key"] for one in e.cancels}
    lines = (x for x in e.ledger if x["kind"] == "update" and x.get("code") == "cancelled_by_hand" and x["client_order_id"] in told)
    line = first(lines, "order cancelled by hand")
    e.ledger[e.ledger.index(line)] = {**line, "status": "filled", "at": late(e)}


@plant("A12", "a person was told of another end than the order's")
def _(e, case):
    told = first((one for one in e.cancels if one["state"] == "CANCELLED"), "order that was told to be CANCELLED")
    change(e.tables["outbox_orders"], case.rows[told["key"]], state="FILLED")


@plant("A2", "an order is cancelled by hand, and nobody wanted that")
def _(e, case):
    key = cancelled(e, case, "cancelled_by_hand")["client_order_id"]
    e.tables["order_cancels"] = [w for w in e.tables["order_cancels"] if w["idempotency_key"] != key]


@plant("A2", "an order is cancelled by a halt that nobody ordered")
def _(e, case):
    cancelled(e, case, "halted")
    e.tables["halts"] = []


@plant("A2", "a time-out was taken for a refusal")
def _(e, case):
    row = filled(e, case)
    line = line_of(e, row["idempotency_key"])
    e.ledger = [x for x in e.ledger if x is not line and x.get("client_order_id") != row["idempotency_key"]]
    change(e.tables["outbox_orders"], row, state="REJECTED", executed_qty=Decimal(0))


@plant("A13", "an order stays UNKNOWN")
def _(e, case):
    change(e.tables["outbox_orders"], filled(e, case), state="UNKNOWN")


@plant("A13", "an order is PARKED though the broker tells of it")
def _(e, case):
    change(e.tables["outbox_orders"], filled(e, case), state="PARKED")


@plant("A13", "it took too long until all was known")
def _(e, case):
    key, healed = filled(e, case)["idempotency_key"], datetime.fromtimestamp(e.healed_at, timezone.utc)
    for n, state, seconds in ((10**9, "UNKNOWN", -1), (10**9 + 1, "FILLED", auditor.HEALED_S + 1)):
        e.tables["campaign_states"].append({"n": n, "idempotency_key": key, "state": state, "at": healed + timedelta(seconds=seconds)})


@plant("A13", "an order was PARKED and nobody was alerted")
def _(e, case):
    e.broker = replace(e.broker, queryable=False)
    change(e.tables["outbox_orders"], filled(e, case), state="PARKED")


@plant("A14", "a byte of a dead letter changed")
def _(e, case):
    letter = first((x for x in e.topics["dead-letters"] if x.value), "dead letter with a value")
    e.topics["dead-letters"][e.topics["dead-letters"].index(letter)] = replace(letter, value=letter.value[:-1] + bytes([letter.value[-1] ^ 1]))


@plant("A14", "a dead letter's partition and offset are swapped")
def _(e, case):
    swap = {"noctus-origin-partition": "noctus-origin-offset", "noctus-origin-offset": "noctus-origin-partition"}
    letters = (x for x in e.topics["dead-letters"] if x.header("noctus-origin-partition") != x.header("noctus-origin-offset"))
    letter = first(letters, "dead letter")
    values = dict(letter.headers)
    headers = [(n, values[swap[n]] if n in swap else v) for n, v in letter.headers]
    e.topics["dead-letters"][e.topics["dead-letters"].index(letter)] = replace(letter, headers=headers)


@plant("A14", "an original header is gone")
def _(e, case):
    letter = first((x for x in e.topics["dead-letters"] if x.headers[-1][0] == "campaign-n"), "dead letter")
    e.topics["dead-letters"][e.topics["dead-letters"].index(letter)] = replace(letter, headers=letter.headers[:-1])


@plant("A15", "a row made anew differs")
def _(e, case):
    rows = (e.rebuilt or {}).get("obs_decisions") or first([], "table made anew")
    change(rows, rows[0], reason="otherwise")


@plant("A15", "a row is not made anew")
def _(e, case):
    ((e.rebuilt or {}).get("obs_do_metrics") or first([], "table made anew")).pop()


@plant("A16", "a secret is in a log")
def _(e, case):
    e.texts["gate.log"] = b"key " + first(e.canaries.values(), "secret").encode()


@plant("A16", "a secret is in a topic")
def _(e, case):
    record = first(e.topics["alerts"], "alert")
    e.topics["alerts"][0] = replace(record, headers=[("oops", first(e.canaries.values(), "secret").encode())])


def check(evidence: Evidence) -> list[dict]:
    """Every planted violation: {invariant, what, caught, why}. One that cannot be planted is not caught."""
    case, told_of = Case(evidence), []
    before = {name: verdict["count"] for name, verdict in auditor.audit(evidence).items()}
    for invariant, text, act in PLANTED:
        copy = evidence.copy()
        try:
            act(copy, case)
            found = auditor.audit(copy, {invariant})[invariant]
            caught, why = found["count"] > before[invariant], (found["violations"] or [""])[0]
        except Impossible as reason:
            caught, why = False, f"could not be planted: {reason}"
        told_of.append({"invariant": invariant, "what": text, "caught": caught, "why": why[:200]})
    return told_of


if __name__ == "__main__":
    results = check(Evidence.load(sys.argv[1]))
    for result in results:
        print("caught" if result["caught"] else "MISSED", result["invariant"], result["what"], "—", result["why"])
    sys.exit(not all(result["caught"] for result in results))
