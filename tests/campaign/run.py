"""The campaign: load, faults, audit, report.

    make campaign                      what CI runs; SEED=…, ONLY=main|classes|controls
    make campaign-long MINUTES=240     by hand: every cell, pairs of points, broken services; goes on where it was ended
    tests/campaign/run.py --long --plan     what of it is there, and what is missing

Ends with 0 if every invariant held, every armed point fired, and everything planted was caught; else with 1; with 69 if a
service is missing.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import controls
import doubts
import planted
import report
from faults import MODES, MODES_MUST_EXIST, POINTS, pointed, within_dispatch
from line import NOCTUS, ROOT, Options, Services, Trouble, Unavailable
from play import Outcome, Plan, play, say

OUT = ROOT / "target" / "campaign"
CI_CONTROLS = ["no-attempt-row", "no-dedupe", "reserve-outside", "no-fence", "blind-resend"]
# Brokers that promise less (C-OUT-2), by the lies that make them so.
CLASSES = {
    "can be queried, does not dedupe": {"no_dedupe": True},
    "neither dedupes nor can be queried": {"no_dedupe": True, "no_query": True},
}


def told(name: str, outcome: Outcome) -> dict:
    """What the report keeps of a run."""
    schedule, evidence = outcome.schedule, outcome.evidence
    faults: dict = {}

    def add(what: str, times: int = 1) -> None:
        faults[what] = faults.get(what, 0) + times

    for death in outcome.deaths:
        add(f"{death.role} killed at {death.point}" if death.point else f"{death.role}: {death.cause}")
    for zombie in schedule.zombies:
        add(f"{zombie['slot'].split('-')[0]} stopped for longer than its session and lease, and woken")
    for mode in schedule.modes_seen:
        if mode != "honest":
            add(f"the broker: {mode} (times in force)")
    for what, times in schedule.more_faults.items():
        add(what, times)
    return {
        "name": name, "seed": outcome.options.seed, "broker": evidence.broker.name(), "records": len(evidence.intents),
        "orders": sum(1 for line in evidence.ledger if line["kind"] == "order"), "seconds": outcome.seconds,
        "verdicts": outcome.verdicts, "violations": outcome.violations(), "failures": outcome.failures,
        "recoveries": [asdict(r) for r in outcome.recoveries],
        "outages_ms": outcome.outages_ms, **dict(zip(("doubts_ms", "doubts_unwanted_ms"), doubts.measure(evidence))), "pointed": sum(d.point is not None for d in outcome.deaths), "random": sum(d.point is None for d in outcome.deaths),
        "zombies": len(schedule.zombies), "faults": faults, "cells": schedule.cells,
        "modes_unavailable": schedule.unavailable,
    }


def show(name: str, outcome: Outcome) -> None:
    bad = [n for n, v in outcome.verdicts.items() if v["verdict"] == "violated"]
    say(f"{name}: {'violated: ' + ', '.join(bad) if bad else 'every invariant holds'}"
        f"{'; ' + str(len(outcome.failures)) + ' failures' if outcome.failures else ''}, {outcome.seconds:.0f} s")
    for violation in outcome.violations()[:10]:
        print(f"    {violation['invariant']} {violation['what']}")
    for failure in outcome.failures[:10]:
        print(f"    {failure}")


def main_plan(seed: int) -> Plan:
    """Every crash point at its first and at a later pass, random kills, zombies, all that the broker can do wrong."""
    chance = random.Random(seed)
    return Plan(
        per_second=25, most=30_000, points={f"{role}-1": pointed(role, chance) for role in POINTS},
        kills=20, zombies=4, modes=list(MODES), broker_kills=3, halts=True, cancels=True,
    )


def class_plan(lies: dict) -> Plan:
    """Dispatch's points with a broker that promises less; answers are lost, so that it matters."""
    return Plan(
        per_second=25, most=4_000, points={"dispatch-1": [(p, 1) for p in within_dispatch(lies)]}, zombies=1, zombie_pause=5.0,
        modes=["honest", "drops answers", "resets before applying"], mode_s=4.0, rebuild=False,
        mix={"limit": 750, "market": 150, "working": 100}, cancels=True, lanes=40, life_s=20.0,
    )


def ci(seed: int, only: set | None) -> int:
    began, started = time.monotonic(), datetime.now(timezone.utc).isoformat(timespec="seconds")
    folder = OUT / f"run-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    outcomes, caught, turned, unavailable = [], [], [], []
    wanted = lambda part: only is None or part in only
    if wanted("main"):
        outcome = play(folder / "main", Options(seed=seed), main_plan(seed))
        show("main", outcome)
        outcomes.append(told("main", outcome))
        outcome.evidence.save(folder / "evidence.gz")
        caught = planted.check(outcome.evidence)
        say(f"planted violations: {sum(p['caught'] for p in caught)} of {len(caught)} caught")
    if wanted("classes"):
        for number, (name, lies) in enumerate(CLASSES.items()):
            options = Options(seed=seed + 1 + number, lies=lies)
            try:
                outcome = play(folder / f"class-{number + 1}", options, class_plan(lies))
            except Unavailable:
                say(f"mode not available: {name}")
                unavailable.append(name)
                continue
            show(name, outcome)
            outcomes.append(told(name, outcome))
            if outcome.violations():
                outcome.evidence.save(folder / f"class-{number + 1}.evidence.gz")
    if wanted("controls"):
        turned = controls.run(folder / "controls", CI_CONTROLS, seed + 100, unavailable)
    return finish(outcomes, turned, caught, {"unavailable": unavailable, "seed": seed, "started_at": started, "seconds": time.monotonic() - began})


def finish(outcomes: list, turned: list, caught: list, about: dict) -> int:
    made = report.summary(outcomes, turned, caught, {**about, "command": " ".join(["python", *sys.argv])})
    if MODES_MUST_EXIST and made["modes_unavailable"]:
        made["failures"].append(f"the paper broker does not know: {made['modes_unavailable']}")
    report.write(OUT, made)
    good = report.is_good(made)
    say(f"{made['runs']} runs, {made['records']} records, {made['orders']} orders; lost {made['lost']}, sent twice {made['sent_twice']}, "
        f"caps exceeded {made['caps_exceeded']}; planted {made['planted_caught']}/{made['planted_total']}; {about['seconds']:.0f} s")
    for text in made["failures"]:
        print(f"    {text}")
    for plant in [p for p in caught if not p["caught"]] + [c for c in turned if not c["red"]]:
        print(f"    not caught: {plant}")
    say(f"{OUT / 'report.html'}: {'all is well' if good else 'something is wrong'}")
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 1))
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or 240))
    parser.add_argument("--only", default=os.environ.get("ONLY") or None)
    parser.add_argument("--batch", help=argparse.SUPPRESS)  # the long campaign's own
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plan", action="store_true", help="what an earlier long campaign has done, and what is missing; plays nothing")
    parser.add_argument("--anew", action="store_true", help="forget what an earlier long campaign has done")
    arguments = parser.parse_args()
    if not NOCTUS.exists():
        print(f"{NOCTUS} is not there; cargo build --locked --features faults", file=sys.stderr)
        return 69
    only = set(arguments.only.split(",")) if arguments.only else None
    # However it is ended, its processes, topics and databases go with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        Services.find()
        if arguments.long:
            import hours

            if arguments.batch:
                return hours.one(arguments.seed, arguments.batch, arguments.result)
            if arguments.plan:
                return hours.plan(arguments.seed)
            return hours.run(arguments.seed, arguments.minutes, only, arguments.anew)
        return ci(arguments.seed, only)
    except KeyboardInterrupt:
        print("ended by hand", file=sys.stderr)
        return 130
    except Trouble as trouble:
        print(f"the campaign cannot go on: {trouble}", file=sys.stderr)
        return 69


if __name__ == "__main__":
    sys.exit(main())
