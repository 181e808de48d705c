"""How long an order was of unknown outcome (C-OUT-3): from the moment that it became UNKNOWN to the step that ended that.

Where the last fault ended in between, the clock begins there: nobody can tell before the broker can. All other times
contain whatever the broker was still doing wrong.
"""

from evidence import Evidence
from readings import Case


def measure(evidence: Evidence) -> tuple[list[float], list[float]]:
    """Milliseconds, of each time; those that were left PARKED count up to then. Apart: orders that a halt covered or that were
    cancelled. They are not sent again to find out, so only the end of their life may tell.
    """
    case = Case(evidence)
    cancelled = {row["idempotency_key"] for row in evidence.tables.get("order_cancels", [])}
    healed = evidence.healed_at or 0.0

    def is_unwanted(key: str) -> bool:
        row = case.rows.get(key)
        covered = row is not None and any(all(row[n] == v for n, v in halt["scope"].items()) for halt in evidence.halts)
        return covered or key in cancelled

    found: tuple[list[float], list[float]] = ([], [])
    for key, begun, over in case.doubts():
        if over is not None:
            found[is_unwanted(key)].append(round((over - (healed if begun < healed < over else begun)) * 1000, 1))
    return sorted(found[0]), sorted(found[1])
