"""One line under load and faults, from its start to its audit."""

import json
import signal
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg

import auditor
import recovery
import stops
from collect import OBS, collect, ends, rows
from evidence import Evidence
from faults import AWAY, Schedule
from generator import Load
from line import Line, Options, Trouble
from live import Live
from readings import INPUTS

# Nothing has moved for so long: it never comes to rest, seconds.
STUCK_S = 75
OUTPUTS = ("decisions", "alerts", "exec-events")


@dataclass
class Plan:
    """What is done to a line."""

    per_second: float
    most: int  # records
    points: dict = field(default_factory=dict)  # slot → [(point, nth)]
    kills: int = 0
    zombies: int = 0
    kill_pause: tuple = (4.0, 9.0)
    zombie_pause: float = 12.0
    modes: list = field(default_factory=list)
    mode_s: float = 6.0
    broker_kills: int = 0
    halts: bool = False
    cancels: bool = False
    mix: dict | None = None
    workers: dict = field(default_factory=lambda: {"gate": 2, "dispatch": 2, "sink": 2, "notify": 1})
    rebuild: bool = True
    at_least_s: float = 0.0
    whole_load: bool = False  # not over before `most` records are out
    more: object = None  # what else is begun: a function of line and schedule that returns threads to wait for
    lanes: int = 0  # accounts; more lanes than usual, so that a PARKED order blocks few others
    life_s: float = 0.0  # of every order: what waits behind a PARKED one ends by it
    supervised: bool = False  # services are away at times: a role that ends with 69 is started again, as in life


@dataclass
class Outcome:
    """What a run came to."""

    options: Options
    verdicts: dict
    evidence: Evidence
    schedule: Schedule
    deaths: list
    recoveries: list  # recovery.Recovery
    outages_ms: dict
    failures: list  # of the campaign itself: a point that never fired, a process that ended by itself
    seconds: float

    def violations(self) -> list[dict]:
        found = []
        for name, told in self.verdicts.items():
            found += [{"invariant": name, "what": text, "seed": self.options.seed} for text in told["violations"]]
        return found


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def play(folder: Path, options: Options, plan: Plan, keep: bool = False) -> Outcome:
    """Plays it; the line is gone afterwards, its folder stays."""
    began = time.monotonic()
    line = Line(folder, options)
    try:
        return _play(line, plan, began)
    finally:
        line.close()


def _play(line: Line, plan: Plan, began: float) -> Outcome:
    halts: list[dict] = []
    cancels: list[dict] = []
    schedule = Schedule(line, line.options.seed)
    live = Live(line, halts)
    made = line.generator(line.options.seed)
    if plan.lanes:
        made.accounts = [f"account-{n}" for n in range(plan.lanes)]
    made.life = timedelta(seconds=plan.life_s) if plan.life_s else None
    load = Load(made, plan.per_second, plan.most, plan.mix)
    for role, count in plan.workers.items():
        for n in range(1, count + 1):
            slot = line.slot(f"{role}-{n}", role)
            if slot.name not in plan.points:
                slot.start()
    live.start()
    load.start()
    waited = [schedule.begin(f"points of {name}", schedule.points, name, points) for name, points in plan.points.items()]
    others = [name for name in line.slots if name not in plan.points]
    if plan.kills:
        waited.append(schedule.begin("kills", schedule.kills, others, plan.kill_pause, plan.kills))
    if plan.zombies:
        waited.append(schedule.begin("zombies", schedule.zombies_among, others, plan.zombie_pause, plan.zombies))
    if plan.modes:
        schedule.begin("lies", schedule.lies, plan.modes, plan.mode_s)
    if plan.broker_kills:
        waited.append(schedule.begin("kills of the broker", schedule.broker_kills, 20.0, plan.broker_kills))
    if plan.halts:
        waited.append(schedule.begin("halts", stops.halts, line, schedule, halts))
    if plan.cancels:
        schedule.begin("cancels", stops.cancels, line, schedule, cancels)
    if plan.supervised:
        schedule.begin("supervisor", schedule.supervise, others)
    if plan.more is not None:
        waited += plan.more(line, schedule)
    while any(t.is_alive() for t in waited) or time.monotonic() - began < plan.at_least_s or (plan.whole_load and load.is_alive()):
        time.sleep(0.2)
        if load.broken or live.broken or schedule.broken:
            break
    schedule.end()
    load.ending.set()
    load.join(90)
    healed = time.time()
    allowed = ((0, -signal.SIGKILL, AWAY),) if plan.supervised else ()
    failures = [*schedule.missed, *schedule.broken, *line.died_by_itself(*allowed)]
    failures += [text for text in (load.broken, live.broken, *load.generator.failed[:5]) if text]
    _start_what_ended(line)
    stuck = stops.await_cancels(line)
    priced = time.time()
    schedule.fill()
    say(f"{load.generator.n} records in {time.monotonic() - began:.0f} s; no more faults")
    stuck = _rest(line) or stuck
    if "notify" in plan.workers:
        failures += [f"people: {text}" for text in line.people.rest(line)]
    live.ending.set()
    live.join(20)
    failures += line.died_by_itself(*allowed)
    say(f"at rest after {time.monotonic() - began:.0f} s; collecting")
    evidence = collect(line, load, live)
    evidence.halts, evidence.cancels = halts, cancels
    evidence.healed_at, evidence.priced_at = healed, priced
    if plan.rebuild and not stuck:
        evidence.rebuilt = _anew(line, evidence)
    say(f"collected after {time.monotonic() - began:.0f} s; auditing")
    verdicts = auditor.audit(evidence)
    if stuck:
        verdicts["A2"]["violations"].insert(0, stuck)
        verdicts["A2"]["verdict"] = "violated"
    recovered = recovery.measure(evidence, line.deaths, schedule.zombies)
    outages = recovery.outages(evidence, schedule.outages)
    return Outcome(line.options, verdicts, evidence, schedule, line.deaths, recovered, outages, failures, time.monotonic() - began)


def _behind(line: Line, database: str, reader: str, topics) -> int:
    """Records that a reader has not read yet."""
    with psycopg.connect(database, autocommit=True, connect_timeout=5) as connection:
        known = {
            (topic, partition): offset
            for topic, partition, offset in connection.execute(
                "SELECT topic, partition, next_offset FROM input_positions WHERE reader = %s", (reader,)
            ).fetchall()
        }
    return sum(max(0, end - known.get(place, 0)) for place, end in ends(line.admin, [line.prefix + t for t in topics]).items())


MOVING = """SELECT (SELECT count(*) FROM outbox_orders
                     WHERE state NOT IN ('NOT_SENT','FILLED','REJECTED','CANCELLED','EXPIRED','PARKED')),
                   (SELECT count(*) FROM owed_events),
                   (SELECT coalesce(sum(exec_seq), 0) FROM outbox_orders)"""


def _rest(line: Line) -> str | None:
    """Waits until nothing moves; says what still does if nothing has for a while."""
    last, moved = None, time.monotonic()
    while True:
        ((moving, owed, steps),) = line.ask(MOVING)
        behind = _behind(line, line.database, "gate", INPUTS)
        unwritten = _behind(line, line.database, "sink", OUTPUTS)
        left = (moving, owed, behind, unwritten)
        if left == (0, 0, 0, 0):
            return None
        if (left, steps) != last:
            last, moved = (left, steps), time.monotonic()
        if time.monotonic() - moved > STUCK_S:
            return f"never at rest: {moving} orders not final, {owed} batches owed, {behind} inputs unread, {unwritten} events unwritten"
        _start_what_ended(line)
        time.sleep(0.4)


def _start_what_ended(line: Line) -> None:
    for slot in line.slots.values():
        if not slot.runs() and slot.name != "gate-guest":
            slot.start()


def _anew(line: Line, evidence: Evidence) -> dict:
    """The tables of a second database, into which a sink has read the same topics from their beginnings."""
    line.second_database = line.database + "_anew"
    with psycopg.connect(line.services.database, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{line.second_database.rpartition("/")[2]}"')
    config = json.loads(json.dumps(line.config))
    config["database"]["url"] = line.second_database
    config["kafka"]["group_prefix"] = line.prefix + "anew-"
    first = line.config_file
    line.config_file = line.folder / "anew.yml"
    line.config_file.write_text(json.dumps(config), encoding="utf-8")
    try:
        line.noctus("migrate")
        slot = line.slot("sink-anew", "sink")
        slot.start()
        before, moved = None, time.monotonic()
        while left := _behind(line, line.second_database, "sink", OUTPUTS):
            if left != before:
                before, moved = left, time.monotonic()
            if time.monotonic() - moved > STUCK_S or not slot.runs():
                raise Trouble(f"the tables were not made anew; see {line.folder / 'sink-anew.log'}")
            time.sleep(0.2)
        slot.stop()
    finally:
        line.config_file = first
    with psycopg.connect(line.second_database, autocommit=True) as connection:
        return {table: rows(connection, table) for table in OBS}

