"""The long campaign: batches, one after the other, until there are no more or the time is over.

Every batch is a line of its own and has a name; what is finished is kept in target/campaign/long, so a campaign that was
ended goes on where it was. Batches, in the order in which they take turns:

  cells      dispatch's crash points × every mode of the broker × the four classes of broker
  pairs      every ordered pair of crash points of a role: the second process dies where it picks up what the first left
  kills      random SIGKILL and SIGSTOP, fast
  services   Postgres, Kafka, the registry, the network and the disk break, on a stack of the campaign's own
  bulk       many orders at a high rate, with a few of everything
  controls   every negative control
"""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import breakage
import controls
import planted
import report
from faults import MODES, OVER_FILLS, POINTS, pointed, within_dispatch
from line import ROOT, Options, Unavailable
from play import Plan, play, say

OUT = ROOT / "target" / "campaign"
FOLDER = OUT / "long"
STACK = FOLDER / "stack"
CLASSES = {
    "dedupes and can be queried": {},
    "dedupes": {"no_query": True},
    "can be queried": {"no_dedupe": True},
    "neither": {"no_dedupe": True, "no_query": True},
}
BULK = 24
KILLS = 10
SIMPLE = {"limit": 700, "market": 200, "reference": 100}
POISON = {"limit": 100, "bad_signature": 250, "unsigned": 100, "bad_wire": 150, "bad_avro": 200, "invalid_qty": 100, "key_mismatch": 100}


def every_pair(alphabet: list) -> list:
    """A sequence in which every ordered pair stands once side by side (de Bruijn, order 2)."""
    around = []
    for n, one in enumerate(alphabet):
        around.append(one)
        for other in alphabet[n + 1:]:
            around += [one, other]
    return [*around, alphabet[0]]


def _cells(seed: int):
    every = list(itertools.product(CLASSES.items(), [*MODES, *OVER_FILLS]))
    random.Random(seed).shuffle(every)  # so that an hour has some of everything
    for (name, lies), mode in every:
        chance = random.Random(f"{seed} {name} {mode}")
        points = within_dispatch(lies)
        chance.shuffle(points)
        plan = Plan(
            per_second=40, most=6_000, points={"dispatch-1": [(p, chance.randint(1, 3)) for p in points]}, zombies=1,
            zombie_pause=4.0, modes=[mode], mode_s=3_600, rebuild=False, mix=SIMPLE,
            lanes=0 if not lies else 40, life_s=20.0 if lies else 0.0,
        )
        yield f"cells: {name}, {mode}", Options(seed=chance.randrange(2**31), lies=lies), plan


def _pairs(seed: int):
    for role, points in POINTS.items():
        sequence = every_pair(points)
        for at in range(0, len(sequence) - 1, 24):
            chance = random.Random(f"{seed} {role} {at}")
            part = [(point, 1) for point in sequence[at: at + 25]]
            plan = Plan(per_second=30, most=20_000, points={f"{role}-1": part}, modes=["honest", "drops answers"], rebuild=False)
            yield f"pairs: {role} from {at}", Options(seed=chance.randrange(2**31)), plan


def _kills(seed: int):
    for n in range(KILLS):
        chance = random.Random(f"{seed} kills {n}")
        plan = Plan(per_second=40, most=20_000, kills=60, kill_pause=(0.2, 2.0), zombies=4, modes=list(MODES), broker_kills=2, halts=True)
        yield f"kills: {n}", Options(seed=chance.randrange(2**31)), plan


def _bulk(seed: int):
    for n in range(BULK):
        chance = random.Random(f"{seed} bulk {n}")
        points = {"gate-1": pointed("gate", chance)[:4], "dispatch-1": pointed("dispatch", chance)[:4]}
        plan = Plan(per_second=250, most=10_000, points=points, kills=4, zombies=1, modes=["honest", "fills in parts", "drops answers"],
                    mode_s=10, at_least_s=45, rebuild=n % 6 == 0)
        yield f"bulk: {n}", Options(seed=chance.randrange(2**31), config={"gate": {"batch_max": 200}}), plan


def _services(seed: int):
    """(name, what breaks, options, plan): `run` gives them the stack."""
    for n, (name, act) in enumerate([
        ("a Postgres backend", breakage.backends), ("the postmaster", breakage.postmaster), ("Kafka", breakage.kafka),
        ("the registry", breakage.registry), ("signing keys", breakage.rotation), ("the network to the broker", breakage.cuts),
        ("the disk under the broker's ledger", breakage.full_disk), ("poison", None),
    ]):
        mix = POISON if name == "poison" else None
        plan = Plan(per_second=25, most=20_000, kills=6, at_least_s=75, supervised=True, mix=mix)
        options = Options(seed=seed * 1_000 + n, has_proxy=act is breakage.cuts)
        yield f"services: {name}", act, options, plan


def batches(seed: int, stack) -> list:
    """All batches as (name, function that plays it), the kinds taking turns so that every hour has some of each."""
    kinds = {
        kind: [(name, _player(name, options, plan)) for name, options, plan in make(seed)]
        for kind, make in (("cells", _cells), ("pairs", _pairs), ("kills", _kills), ("bulk", _bulk))
    }
    kinds["services"] = [(name, _breaker(name, act, options, plan, stack)) for name, act, options, plan in _services(seed)]
    kinds["controls"] = [(f"controls: {c.mistake}", _control(c.mistake, seed)) for c in controls.CONTROLS]
    longest = max(len(of) for of in kinds.values())
    shares = [((n + 0.5) * longest / len(of), kind, n) for kind, of in kinds.items() for n in range(len(of))]
    return [kinds[kind][n] for _, kind, n in sorted(shares)]


def _folder(name: str) -> Path:
    folder = FOLDER / "lines" / "".join(c if c.isalnum() else "-" for c in name)
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _player(name: str, options: Options, plan: Plan):
    return lambda: play(_folder(name), options, plan)


def _breaker(name: str, act, options: Options, plan: Plan, stack):
    def go():
        options.services = stack().services
        if act is not None:
            plan.more = lambda line, schedule: schedule.begin(name, act, line, schedule, stack()) and []
        if act is breakage.full_disk:
            options.ledger_in = breakage.small_disk(_folder(name).with_suffix(".disk"))
            if options.ledger_in is None:
                raise Unavailable("no file system can be mounted here: needs root and CAP_SYS_ADMIN")
        try:
            return play(_folder(name), options, plan)
        finally:
            if options.ledger_in is not None:
                breakage.unmount(options.ledger_in)

    return go


def _control(mistake: str, seed: int):
    return lambda: controls.run(_folder(f"control {mistake}"), [mistake], seed + 5_000)


class State:
    """What is finished, on disk after every batch."""

    def __init__(self, seed: int, anew: bool):
        self.file = FOLDER / f"state-{seed}.json"
        FOLDER.mkdir(parents=True, exist_ok=True)
        if anew:
            self.file.unlink(missing_ok=True)
        empty = {"done": {}, "controls": {}, "unavailable": {}, "planted": [], "seconds": 0.0,
                 "started_at": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        self.is_new = not self.file.exists()
        self.data = empty if self.is_new else json.loads(self.file.read_text(encoding="utf-8"))

    def has(self, name: str) -> bool:
        return any(name in self.data[part] for part in ("done", "controls", "unavailable"))

    def keep(self) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps(self.data, default=str), encoding="utf-8")
        beside.replace(self.file)

    def report(self, seed: int, command: str, total: int) -> dict:
        data = self.data
        about = {
            "seed": seed, "started_at": data["started_at"], "seconds": data["seconds"], "command": command,
            "unavailable": [f"{name}: {why}" for name, why in data["unavailable"].items()],
            "batches": {"finished": len(data["done"]) + len(data["controls"]), "of": total},
        }
        made = report.summary(list(data["done"].values()), list(data["controls"].values()), data["planted"], about)
        report.write(FOLDER, made)
        return made


def one(seed: int, name: str, result: Path) -> int:
    """Plays one batch in this process and writes what it came to."""
    from run import show, told

    stacks: list = []

    def stack() -> breakage.Stack:
        if not stacks:
            stacks.append(breakage.Stack(STACK))
        return stacks[0]

    act = dict(batches(seed, stack))[name]
    found: dict = {}
    try:
        played = act()
    except Unavailable as why:
        found["unavailable"] = str(why)
    else:
        if isinstance(played, list):
            found["control"] = played[0]
        else:
            show(name, played)
            found["done"] = told(name, played)
            if played.evidence.rebuilt is not None and played.evidence.halts:
                found["planted"] = planted.check(played.evidence)
            if played.violations():
                played.evidence.save(str(_kept(name)))
    result.write_text(json.dumps(found, default=str), encoding="utf-8")
    return 0


def _apart(seed: int, name: str) -> dict:
    """A batch in a process of its own: however that ends, the next one begins anew."""
    result = FOLDER / "result.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--long", "--seed", str(seed), "--batch", name]
    child = subprocess.Popen(command)
    try:
        code = child.wait()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        child.wait(120)
        raise
    finally:
        _sweep()
    if result.exists():
        return json.loads(result.read_text(encoding="utf-8"))
    return {"done": _broken(name, f"it ended with {code}; what it said is above")}


def _sweep() -> None:
    """Ends what a batch left behind: processes whose configuration or ledger lies in our folder."""
    ours = str(FOLDER / "lines").encode()
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and ours in (place / "cmdline").read_bytes():
                os.kill(int(place.name), signal.SIGKILL)
        except OSError:
            continue  # it is gone


def run(seed: int, minutes: float, only: set | None, anew: bool) -> int:
    """Plays what is not finished yet, for so long; 0 if nothing was found so far."""
    state, began = State(seed, anew), time.monotonic()
    if not state.is_new:
        say(f"going on: {len(state.data['done']) + len(state.data['controls'])} batches are finished (--anew forgets them)")
    names = [name for name, _ in batches(seed, lambda: None) if only is None or name.split(":")[0] in only]
    try:
        for number, name in enumerate(names):
            if state.has(name):
                continue
            if time.monotonic() - began > minutes * 60:
                say(f"{minutes:.0f} minutes are over; the same command goes on")
                break
            say(f"batch {number + 1} of {len(names)}: {name}")
            at = time.monotonic()
            found = _apart(seed, name)
            for part, of in (("done", "done"), ("control", "controls"), ("unavailable", "unavailable")):
                if part in found:
                    state.data[of][name] = found[part]
            state.data["planted"] = state.data["planted"] or found.get("planted", [])
            state.data["seconds"] += time.monotonic() - at
            state.keep()
            made = state.report(seed, f"make campaign-long SEED={seed}", len(names))
            say(f"so far: {made['runs']} runs, {made['orders']} orders, {len(made['violations'])} violations, {len(made['failures'])} failures")
    except KeyboardInterrupt:
        say("ended by hand; what is finished is kept")
    finally:
        if (STACK / "ports.json").exists():
            breakage.Stack(STACK).down()
            shutil.rmtree(STACK, ignore_errors=True)
    made = state.report(seed, f"make campaign-long SEED={seed}", len(names))
    say(f"{FOLDER / 'report.html'}: {'all is well' if report.is_good(made) else 'something is wrong'}")
    return 0 if report.is_good(made) else 1


def _kept(name: str) -> Path:
    return FOLDER / ("".join(c if c.isalnum() else "-" for c in name) + ".evidence.gz")


def _broken(name: str, why: str) -> dict:
    """A batch that could not be played to its end counts as a failure of the campaign."""
    nothing = {"verdict": "not applicable", "why": "the batch broke off", "violations": [], "count": 0, "live_checks": 0}
    return {
        "name": name, "seed": 0, "broker": "", "records": 0, "orders": 0, "seconds": 0.0,
        "verdicts": {n: dict(nothing) for n in report.INVARIANTS}, "violations": [],
        "failures": [why], "recoveries": [], "doubts_ms": [], "kills": 0, "zombies": 0, "faults": {}, "cells": [], "modes_unavailable": [],
    }
