"""The long campaign: plays batches (batches.py) side by side, each in a process of its own, until there are no more or the
time is over.

What is finished is kept in target/campaign/long, so a campaign that was ended goes on where it was. `--plan` says what is
still missing to what there must be in the end, and plays nothing.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import breakage
import planted
import report
from batches import FOLDER, STACK, TARGETS, Batch, batches, every_cell
from line import Unavailable
from play import say

# How much goes on side by side: lines mostly wait, for sessions and leases.
WIDTH = int(os.environ.get("WIDTH") or 3)


class State:
    """What is finished, on disk after every batch."""

    def __init__(self, seed: int, anew: bool = False):
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

    def add(self, name: str, found: dict) -> None:
        for part, of in (("done", "done"), ("control", "controls"), ("unavailable", "unavailable")):
            if part in found:
                self.data[of][name] = found[part]
        self.data["planted"] = self.data["planted"] or found.get("planted", [])
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps(self.data, default=str), encoding="utf-8")
        beside.replace(self.file)

    def report(self, seed: int) -> dict:
        data = self.data
        every = [batch.name for batch in batches(seed, lambda: None)]
        about = {
            "seed": seed, "started_at": data["started_at"], "seconds": data["seconds"], "command": f"make campaign-long SEED={seed}",
            "unavailable": [f"{name}: {why}" for name, why in data["unavailable"].items()],
            "batches": {"finished": sum(self.has(name) for name in every), "of": len(every)},
        }
        made = report.summary(list(data["done"].values()), list(data["controls"].values()), data["planted"], about)
        cells = {(c["class"], c["mode"], c["point"]) for c in made["cells"] if c["fired"] and c["role"] == "dispatch"}
        missing = sorted(every_cell() - cells)
        made["cells_of"] = {"fired": len(every_cell()) - len(missing), "of": len(every_cell()), "missing": missing}
        return made


def missing(made: dict) -> list[str]:
    """What there must be in the end and is not there yet; promised times that were not kept, too."""
    have = {"pointed kills": made["pointed"], "random kills": made["random"], "orders": made["orders"], "zombies": made["zombies"]}
    left = [f"{TARGETS[what] - n:,} {what} of {TARGETS[what]:,}" for what, n in have.items() if n < TARGETS[what]]
    cells, of = made["cells_of"], made["batches"]
    left += [f"{len(cells['missing'])} cells of {cells['of']}"] if cells["missing"] else []
    for name, most in report.PROMISED.items():
        p99, what = made[name]["p99"], name.removesuffix("_ms").replace("_", " ")
        if p99 is None or p99 > most:
            left.append(f"{what} within {most / 1000:g} s: " + ("not measured yet" if p99 is None else f"p99 is {p99 / 1000:.1f} s"))
    return left + ([f"{of['of'] - of['finished']} batches of {of['of']}"] if of["finished"] < of["of"] else [])


def plan(seed: int) -> int:
    """Prints what is there and what is missing; 0 if nothing is."""
    made = State(seed).report(seed)
    print(report.text(made))
    left = missing(made)
    print("missing         " + ("; ".join(left) if left else "nothing"))
    for one in made["cells_of"]["missing"][:20] if made["cells_of"]["fired"] else []:
        print("  no cell       " + ", ".join(one))
    return 0 if report.is_good(made) and not left else 1


def one(seed: int, name: str, result: Path) -> int:
    """Plays one batch in this process and writes what it came to."""
    from run import show, told

    stacks: list = []

    def stack() -> breakage.Stack:
        if not stacks:
            stacks.append(breakage.Stack(STACK))
        return stacks[0]

    batch = next(b for b in batches(seed, stack) if b.name == name)
    found: dict = {}
    try:
        played = batch.go()
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
                played.evidence.save(str(FOLDER / f"{batch.slug()}.evidence.gz"))
    result.write_text(json.dumps(found, default=str), encoding="utf-8")
    return 0


@dataclass
class Running:
    """A batch in a process of its own: however that ends, the others go on."""

    batch: Batch
    child: subprocess.Popen
    result: Path
    log: Path
    began: float

    @staticmethod
    def begin(seed: int, batch: Batch) -> "Running":
        (FOLDER / "results").mkdir(exist_ok=True)
        result, log = (FOLDER / "results" / f"{batch.slug()}.{kind}" for kind in ("json", "log"))
        result.unlink(missing_ok=True)
        command = [sys.executable, str(Path(__file__).with_name("run.py")), "--long", "--seed", str(seed), "--batch", batch.name, "--result", str(result)]
        with open(log, "wb") as out:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        return Running(batch, child, result, log, time.monotonic())

    def ended(self) -> dict | None:
        if self.child.poll() is None:
            return None
        _sweep(self.batch)
        if self.result.exists():
            return json.loads(self.result.read_text(encoding="utf-8"))
        last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        return {"done": _broken(self.batch.name, f"it ended with {self.child.returncode}: {last[0][:300]}; see {self.log}")}

    def interrupt(self) -> None:
        self.child.send_signal(signal.SIGINT)
        try:
            self.child.wait(120)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        _sweep(self.batch)


def _sweep(batch: Batch) -> None:
    """Ends what a batch left behind: processes whose configuration, ledger or data lie in its folders."""
    ours = [str(FOLDER / "lines" / (batch.slug() + end)).encode() for end in ("/", ".cluster/", ".disk/")]
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and any(one in (place / "cmdline").read_bytes() for one in ours):
                os.kill(int(place.name), signal.SIGKILL)
        except OSError:
            continue  # it is gone


def _next(waiting: list[Batch], running: list[Running]) -> Batch | None:
    """The first, if there is room for it; nobody overtakes it, but while another batch breaks the stack."""
    room = WIDTH - sum(min(r.batch.weight, WIDTH) for r in running)
    is_broken = any(r.batch.breaks_stack for r in running)
    for batch in waiting:
        if not (batch.breaks_stack and is_broken):
            return batch if min(batch.weight, WIDTH) <= room else None
    return None


def run(seed: int, minutes: float, only: set | None, anew: bool) -> int:
    """Plays what is not finished yet, for so long; 0 if nothing was found so far."""
    state, began = State(seed, anew), time.monotonic()
    every = batches(seed, lambda: None)
    waiting = [b for b in every if (only is None or b.kind() in only) and not state.has(b.name)]
    before = state.data["seconds"]
    if not state.is_new:
        say(f"going on: {sum(state.has(b.name) for b in every)} of {len(every)} batches are finished (--anew forgets them)")
    running: list[Running] = []
    try:
        while waiting or running:
            if waiting and time.monotonic() - began > minutes * 60:
                say(f"{minutes:.0f} minutes are over; the same command goes on")
                waiting = []
            while (batch := _next(waiting, running)) is not None:
                waiting.remove(batch)
                running.append(Running.begin(seed, batch))
            time.sleep(0.2)
            for one in list(running):
                found = one.ended()
                if found is not None:
                    running.remove(one)
                    state.data["seconds"] = before + time.monotonic() - began
                    state.add(one.batch.name, found)
                    _tell(state, seed, one, found, len(waiting) + len(running))
    except KeyboardInterrupt:
        say("ended by hand; what is finished is kept")
        for one in running:
            one.interrupt()
    finally:
        if (STACK / "ports.json").exists():
            breakage.Stack(STACK, is_wanted=False).down()
            shutil.rmtree(STACK, ignore_errors=True)
    made = state.report(seed)
    report.write(FOLDER, made)
    left = missing(made)
    say(f"missing: {'; '.join(left) if left else 'nothing'}")
    say(f"{FOLDER / 'report.html'}: {'all is well' if report.is_good(made) else 'something is wrong'}")
    return 0 if report.is_good(made) else 1


def _tell(state: State, seed: int, one: Running, found: dict, left: int) -> None:
    done, took = found.get("done"), time.monotonic() - one.began
    if done is not None:
        bad = sorted({v["invariant"] for v in done["violations"]})
        what = f"{done['orders']} orders, {'violated: ' + ', '.join(bad) if bad else 'every invariant holds'}"
        what += "".join(f"\n    {text}" for text in [*(v["what"] for v in done["violations"][:5]), *done["failures"][:5]])
    elif "control" in found:
        what = "red" if found["control"]["red"] else "NOT NOTICED"
    else:
        what = f"not available: {found['unavailable']}"
    say(f"{one.batch.name}: {what} ({took:.0f} s)")
    made = state.report(seed)
    report.write(FOLDER, made)
    say(f"so far: {made['pointed']} pointed and {made['random']} random kills, {made['zombies']} zombies, {made['orders']} orders, "
        f"{len(made['violations'])} violations, {len(made['failures'])} failures; {left} batches to go")


def _broken(name: str, why: str) -> dict:
    """A batch that could not be played to its end counts as a failure of the campaign."""
    nothing = {"verdict": "not applicable", "why": "the batch broke off", "violations": [], "count": 0, "live_checks": 0}
    return {
        "name": name, "seed": 0, "broker": "", "records": 0, "orders": 0, "seconds": 0.0,
        "verdicts": {n: dict(nothing) for n in report.INVARIANTS}, "violations": [],
        "failures": [why], "recoveries": [], "outages_ms": {}, "doubts_ms": [], "doubts_unwanted_ms": [], "pointed": 0, "random": 0, "zombies": 0,
        "faults": {}, "cells": [], "modes_unavailable": [],
    }
