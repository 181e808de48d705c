"""How long an order was of unknown outcome (C-OUT-3): from the moment that it became UNKNOWN to the step that ended that.

Where the last fault ended in between, the clock begins there: nobody can tell before the broker can. All other times
contain whatever the broker was still doing wrong.
"""

from evidence import Evidence
from readings import Case


def measure(evidence: Evidence) -> list[float]:
    """Milliseconds, of each time; those that were left PARKED count up to then."""
    healed = evidence.healed_at or 0.0
    return sorted(
        round((over - (healed if begun < healed < over else begun)) * 1000, 1)
        for _, begun, over in Case(evidence).doubts()
        if over is not None
    )
