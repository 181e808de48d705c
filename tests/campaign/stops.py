"""Orders that are stopped while they are on their way: by a halt of their symbol, or one by one by a person (C-OUT-6).

What was stopped is written down here as the command told it; whether it was is the auditor's question.
"""

import json
import time

import psycopg

from generator import HALTED, WORKING
from line import AWAY, Line, Trouble

# A halt is asked for again for so long until it is acknowledged: a sender that was killed still has its lease.
HALT_S = 60
# After the last fault, so long until every cancel that is wanted has ended its order.
CANCELS_S = 120
SENT = "SELECT count(*) FROM outbox_orders WHERE symbol = %s AND state NOT IN ('NOT_SENT','NEW')"
WORKS = "SELECT count(*) FROM outbox_orders WHERE symbol = %s AND state = 'ACCEPTED'"
NEXT = """SELECT o.idempotency_key FROM outbox_orders o
 WHERE o.symbol = ANY(%s) AND o.state IN ('NEW','SENT','ACCEPTED','PARTIALLY_FILLED')
   AND NOT EXISTS (SELECT FROM order_cancels c WHERE c.idempotency_key = o.idempotency_key)
 ORDER BY random() LIMIT 1"""
WANTED = """SELECT count(*) FROM order_cancels c JOIN outbox_orders o USING (idempotency_key)
 WHERE c.answer IS NULL AND o.state IN ('NEW','SENT','ACCEPTED','PARTIALLY_FILLED','UNKNOWN')"""
HALTED_STILL = """SELECT count(*) FROM outbox_orders o JOIN halts h ON h.symbol = o.symbol AND h.mode = 'halted'
 WHERE o.state IN ('NEW','SENT','ACCEPTED','PARTIALLY_FILLED','UNKNOWN')
   AND NOT EXISTS (SELECT FROM order_cancels c WHERE c.idempotency_key = o.idempotency_key AND c.answer IS NOT NULL)"""


def halts(line: Line, schedule, told: list) -> None:
    """Halts a symbol whose orders fill at once, then two whose orders work at the broker, under load."""
    _halt(line, schedule, told, HALTED, SENT, 5)
    for symbol in WORKING[:2]:
        if schedule.ending.wait(schedule.random.uniform(4, 10)):
            break
        _halt(line, schedule, told, symbol, WORKS, 2)


def _halt(line: Line, schedule, told: list, symbol: str, what: str, at_least: int) -> None:
    deadline = time.monotonic() + HALT_S
    while time.monotonic() < deadline and not schedule.ending.is_set():
        if line.ask(what, symbol)[0][0] >= at_least:
            break
        schedule.ending.wait(0.3)
    deadline = time.monotonic() + HALT_S
    while time.monotonic() < deadline:
        answer = line.noctus("halt", "--symbol", symbol, "--reason", "campaign", "--as", "auditor", "--json", expect=(0, 1))
        for text in answer.splitlines():
            halt = json.loads(text)
            if halt.get("acknowledged_at"):
                told.append({"scope": {"symbol": symbol}, "acknowledged_at": halt["acknowledged_at"]})
                schedule.count("a symbol halted under load")
                return
    raise Trouble(f"no halt of {symbol} was acknowledged within {HALT_S} s")


def cancels(line: Line, schedule, told: list) -> None:
    """One order after the other, picked at random from those that wait or work, is cancelled by hand."""
    while not schedule.ending.wait(schedule.random.uniform(0.1, 0.4)):
        try:
            found = line.ask(NEXT, WORKING)
        except psycopg.OperationalError:
            continue  # a fault of the campaign's own: Postgres is away
        if not found:
            continue
        key = found[0][0]
        command = ("orders", "cancel", key, "--reason", "campaign", "--by", "auditor", "--timeout", "1", "--json")
        answer = line.noctus(*command, expect=(0, 1, AWAY)).strip()
        if answer:  # empty: it was over, or of unknown outcome, or Postgres is away; nothing was noted, as far as one knows
            told.append({"key": key, **json.loads(answer)})
            schedule.count("an order cancelled by hand")


def await_cancels(line: Line) -> str | None:
    """Waits until whatever is to be cancelled has ended; says so if something has not."""
    deadline = time.monotonic() + CANCELS_S
    while True:
        left = (line.ask(WANTED)[0][0], line.ask(HALTED_STILL)[0][0])
        if left == (0, 0):
            return None
        if time.monotonic() > deadline:
            return f"{CANCELS_S} s after the last fault {left[0]} cancels are not over and {left[1]} halted orders are not ended"
        time.sleep(0.2)
