"""Negative controls: with a safeguard switched off by a planted mistake (`NOCTUS_PLANTED`, only in builds with the feature
`faults`) a small campaign must turn red, and red for the right reason."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from line import Options, Unavailable
from play import Outcome, Plan, play, say


@dataclass
class Control:
    """A mistake, what is done to a line that makes it, and which invariants must notice (one of them is enough)."""

    mistake: str
    what: str
    noticed_by: set
    plan: Plan
    lies: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    tries: int = 1


ORDERS = {"limit": 900, "market": 100}
DYING = [("dispatch/answer-read", 3), ("dispatch/answer-read", 6), ("dispatch/all-written", 4)]


def _small(**more) -> Plan:
    return Plan(per_second=40, most=3_000, mix=ORDERS, rebuild=False, **more)


def _woken(line, schedule) -> list:
    """Both gates are stopped in turn, until the other one has their partitions and has moved on. More comes than they can
    judge, so that each has records in hand when it is stopped."""
    return [schedule.begin("zombies", schedule.zombies_among, ["gate-1", "gate-2"], 2.0, 3, 5.0)]


CONTROLS = [
    Control(
        "no-attempt-row", "orders are sent without an attempt row that is committed first", {"A5"},
        _small(at_least_s=6),
    ),
    Control(
        "no-dedupe", "every process makes client order ids of its own, so a repeat is a second order", {"A1", "A5"},
        _small(points={"dispatch-1": DYING}, workers={"gate": 1, "dispatch": 1, "sink": 1}),
    ),
    Control(
        "reserve-outside", "what is reserved is committed after the decision instead of with it", {"A6"},
        Plan(per_second=300, most=1_500, mix={"capped": 1}, rebuild=False, at_least_s=5, workers={"gate": 2, "dispatch": 1, "sink": 1}),
        tries=2,
    ),
    Control(
        "no-fence", "a worker moves an input's position though another one owns it", {"A10"},
        Plan(per_second=700, most=3_500, mix={"limit": 200, "flat": 800}, rebuild=False, more=_woken, lanes=20,
             workers={"gate": 2, "dispatch": 1, "sink": 1}),
        tries=3,
    ),
    Control(
        "blind-resend", "an order of unknown outcome is sent again without asking, to a broker that does not dedupe", {"A1"},
        _small(points={"dispatch-1": DYING[:1]}, modes=["drops answers"], mode_s=60, at_least_s=5),
        lies={"no_dedupe": True},
    ),
]


def run(folder: Path, names: list[str] | None, seed: int, unavailable: list | None = None) -> list[dict]:
    """Plays the controls; {mistake, what, red, noticed_by, tries, seconds} of each. One that needs a lie which this build's
    broker does not have is named in `unavailable`."""
    told = []
    for control in CONTROLS:
        if names is not None and control.mistake not in names:
            continue
        began = time.monotonic()
        red, noticed, tries, why = False, [], 0, ""
        while not red and tries < control.tries:
            tries += 1
            options = Options(seed=seed + tries, planted=control.mistake, lies=control.lies, config=control.config)
            say(f"negative control {control.mistake}, try {tries}")
            try:
                outcome: Outcome = play(folder / f"{control.mistake}-{tries}", options, control.plan)
            except Unavailable:
                if unavailable is None:
                    raise
                say(f"negative control {control.mistake} is not available: {control.lies}")
                unavailable.append(f"negative control {control.mistake}")
                break
            noticed = [name for name, verdict in outcome.verdicts.items() if verdict["verdict"] == "violated"]
            red = bool(control.noticed_by & set(noticed))
            examples = [v for name in sorted(control.noticed_by & set(noticed)) for v in outcome.verdicts[name]["violations"]]
            why = examples[0] if examples else "; ".join(outcome.failures)[:300]
        else:
            told.append(_told(control, red, noticed, tries, why, began))
    return told


def _told(control: Control, red: bool, noticed: list, tries: int, why: str, began: float) -> dict:
    say(f"negative control {control.mistake}: {'red, by ' + ', '.join(noticed) if red else 'NOT NOTICED'}")
    return {
        "mistake": control.mistake, "what": control.what, "red": red, "noticed_by": noticed, "tries": tries,
        "example": why, "seconds": round(time.monotonic() - began, 1),
    }
