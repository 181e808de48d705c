"""How long what a killed process had in hand stood still: from the kill to the first step a successor made with it."""

import bisect
from collections import defaultdict

from evidence import Evidence
from line import Death

# A pid stands in a worker's name: <host>-<pid>-<random>.


def _pid(worker: str) -> int | None:
    parts = worker.rsplit("-", 2)
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else None


def measure(evidence: Evidence, deaths: list[Death]) -> list[float]:
    """Milliseconds, one for each death after which somebody had something to do; written into the deaths too."""
    steps = defaultdict(list)  # what is worked on → [(time, pid, what moved)]
    for move in sorted(evidence.tables["campaign_moves"], key=lambda m: m["n"]):
        place = (move["reader"], move["topic"], move["partition"])
        steps[place].append((move["at"].timestamp(), _pid(move["owner"]), move["next_offset"]))
    lanes = {row["idempotency_key"]: (row["account"], row["symbol"]) for row in evidence.tables["outbox_orders"]}
    for n, attempt in enumerate(sorted(evidence.tables["send_attempts"], key=lambda a: a["started_at"])):
        place = ("dispatch", *lanes[attempt["idempotency_key"]])
        steps[place].append((attempt["started_at"].timestamp(), _pid(attempt["worker"]), n))
    found = []
    for death in deaths:
        soonest = None
        for place, moves in steps.items():
            if place[0] != death.role:
                continue
            at = bisect.bisect_right(moves, (death.at, float("inf"), 0))
            if at == 0 or moves[at - 1][1] != death.pid:
                continue
            reached = moves[at - 1][2]
            for time, pid, step in moves[at:]:
                if pid != death.pid and step > reached:
                    soonest = min(soonest or time, time)
                    break
        if soonest is not None:
            death.recovery_ms = round((soonest - death.at) * 1000, 1)
            found.append(death.recovery_ms)
    return sorted(found)


def percentile(values: list[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(share * len(values)))] if values else None
