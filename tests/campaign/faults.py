"""The faults of a run, from a seed: crash points one after the other, random kills, zombies, a broker that lies.

Whoever injects a fault makes sure that it happened: an armed point at which nobody died is a failure of the campaign.
"""

import random
import signal
import threading
import time

from evidence import BrokerClass
from generator import NEAR
from line import AWAY, LEASE_MS, SESSION_MS, Line, Trouble

# The modes of the broker, by the lies that make them.
MODES = {
    "honest": {},
    "drops answers": {"drop_answer_every": 3},
    "resets before applying": {"reset_before_apply_every": 4},
    "slow": {"delay_ms": 40},
    "fills in parts": {"fill_parts": 3},
    "5xx before applying": {"error_before_every": 4},
    "5xx after applying": {"error_after_every": 4},
    "rejects": {"reject_every": 6},
    "429": {"rate_limit_every": 9},
    "drips": {"drip_every": 12},
    "malformed": {"malformed_every": 5},
    "huge": {"huge_every": 5},
    "tells fills again": {"duplicate_fill_every": 2},
    "fills late": {"late_fill_every": 5},
    "shows late": {"visible_after_ms": 1_200},
}
# It halts the symbols it meets: only where that is what is looked at.
OVER_FILLS = {"fills too much": {"over_fill_every": 40}}
# Whether a mode that the running executable does not know is a failure.
MODES_MUST_EXIST = True

POINTS = {
    "gate": [
        "gate/after-poll", "gate/verified", "gate/decoded", "gate/judged", "gate/rows-written", "gate/commit-in-flight",
        "gate/after-commit", "gate/offset-stored", "gate/in-revoke", "gate/dead-letter-unacked", "emission/produced",
        "emission/acked", "emission/settled",
    ],
    "dispatch": [
        "dispatch/claim-in-flight", "dispatch/after-claim", "dispatch/connected", "dispatch/half-written",
        "dispatch/all-written", "dispatch/answer-read", "dispatch/settled", "dispatch/commit-in-flight",
        "dispatch/after-commit", "dispatch/reconcile-queried", "dispatch/reconcile-decided", "dispatch/cancel-noted",
        "dispatch/cancel-in-flight", "dispatch/cancel-answered", "emission/produced", "emission/acked", "emission/settled",
    ],
    "sink": [
        "sink/polled", "sink/upserted", "sink/commit-in-flight", "sink/committed", "sink/upkeep-noted",
        "sink/upkeep-detached", "sink/upkeep-refreshed",
    ],
    "notify": ["notify/before-post", "notify/after-post"],
}
# Of verbs, which no run of the campaign has: tests/it/line/rebuilt.rs and tests/long rebuild kill them there.
OF_VERBS = [
    "sink/rebuild-written", "sink/rebuild-commit-in-flight", "sink/rebuild-copied", "sink/rebuild-before-swap",
    "sink/rebuild-exchanged", "sink/rebuild-swap-in-flight", "sink/rebuild-swapped",
]
# Points passed once a record rather than once a batch: a later pass is much later.
PER_RECORD = {"gate/verified": 60, "dispatch/connected": 8, "dispatch/half-written": 8, "dispatch/all-written": 8, "dispatch/answer-read": 12}
# An armed process that does not come to its point within this time did not die there, seconds.
POINT_LIMIT_S = 120


def within_dispatch(lies: dict) -> list[str]:
    """Dispatch's own points, as far as a broker of this class lets a process come to them."""
    unasked = {"dispatch/reconcile-queried"} if lies.get("no_query") else set()
    return [point for point in POINTS["dispatch"] if point.startswith("dispatch/") and point not in unasked]


def pointed(role: str, chance: random.Random) -> list[tuple[str, int]]:
    """Every point of a role at its first pass and, shuffled, at a later one (upkeep does its work once a day)."""
    later = []
    for point in POINTS[role]:
        if point.startswith("sink/upkeep"):
            continue
        nth = chance.randint(2, PER_RECORD.get(point, 4))
        later.append((point, 2 if point in ("gate/in-revoke", "gate/dead-letter-unacked") else nth))
    chance.shuffle(later)
    return [(point, 1) for point in POINTS[role]] + later


class Schedule:
    """What has happened, and what stopped it."""

    def __init__(self, line: Line, seed: int):
        self.line, self.random = line, random.Random(seed)
        self.cells: list[dict] = []
        self.zombies: list[dict] = []
        self.missed: list[str] = []
        self.unavailable: list[str] = []
        self.modes_seen: dict[str, int] = {}
        self.more_faults: dict[str, int] = {}
        self.outages: list[dict] = []
        self.months_made = 0
        self.ending = threading.Event()
        self.broken: list[str] = []
        self.threads: list[threading.Thread] = []
        self.pinned: str | None = None  # the broker's mode while a point needs it

    def begin(self, name: str, act, *arguments) -> threading.Thread:
        def guarded() -> None:
            try:
                act(*arguments)
            except Exception as error:
                self.broken.append(f"{name}: {type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    # Crash points ----------------------------------------------------------------------------------------------

    def points(self, slot_name: str, points: list[tuple[str, int]]) -> None:
        """Arms one point after the other in a slot, each in a process of its own."""
        slot = self.line.slots[slot_name]
        for point, nth in points:
            if self.ending.is_set():
                self.missed.append(f"{point}:{nth} was not tried: the run was over")
                continue
            self._at_point(slot, point, nth)
        slot.start()

    def _at_point(self, slot, point: str, nth: int) -> None:
        needs_unknown = point.startswith("dispatch/reconcile")
        if needs_unknown:  # something to ask about, whatever the mode is
            self.pinned = self.line.broker.mode
            self.line.broker.tell(self.pinned, {**self.line.broker.lies, **MODES["drops answers"]})
        if point.startswith("sink/upkeep"):  # something to drop, and to refresh
            # Another month each time: the one before may be detached and not dropped yet.
            self.months_made += 1
            self.line.ask(f"SELECT obs_make_month('{2024 - self.months_made // 12}-{self.months_made % 12 + 1:02}-01T00:00Z')")
            self.line.ask("UPDATE obs_upkeep SET finished_at = NULL RETURNING task")
        slot.start((point, nth))
        if point == "gate/in-revoke":
            fired = self._revoked(slot)
        elif point.startswith("dispatch/cancel"):
            fired = self._given_lanes(slot)
        else:
            fired = slot.died_at_its_point(POINT_LIMIT_S)
        if needs_unknown:
            self.line.broker.tell(self.pinned, {**MODES, **OVER_FILLS}[self.pinned])
            self.pinned = None
        if not fired:
            self.missed.append(f"{point}:{nth} never fired within {POINT_LIMIT_S} s in {slot.role}")
            slot.kill("gave up waiting for its point")
        broker = self.line.options.lies
        self.cells.append({
            "point": point, "nth": nth, "role": slot.role, "mode": self.line.broker.mode, "fired": fired,
            "dedupes": not broker.get("no_dedupe"), "queryable": not broker.get("no_query"),
            "class": BrokerClass(not broker.get("no_dedupe"), not broker.get("no_query")).name(),
        })

    def _revoked(self, slot) -> bool:
        """Another gate comes and goes, so that partitions are taken away."""
        other = self.line.slot("gate-guest", "gate")
        deadline = time.monotonic() + POINT_LIMIT_S
        while time.monotonic() < deadline:
            other.start()
            if slot.died_at_its_point(6):
                other.stop()
                return True
            other.stop()
            if slot.died_at_its_point(4):
                return True
        return False

    def _given_lanes(self, slot) -> bool:
        """A lane with working orders is never let go: other senders are killed until this one has some."""
        deadline = time.monotonic() + POINT_LIMIT_S
        while time.monotonic() < deadline:
            if slot.died_at_its_point(6):
                return True
            for other in [o for o in self.line.slots.values() if o.role == slot.role and o is not slot]:
                with other.lock:
                    if other.runs():
                        other.kill("SIGKILL, so that its lanes go to another")
                        other.start()
        return False

    def supervise(self, slot_names: list[str]) -> None:
        """Starts a role again that has ended because a service was away."""
        while not self.ending.wait(0.5):
            for slot in [self.line.slots[name] for name in slot_names]:
                if not slot.runs() and slot.process is not None and slot.process.returncode == AWAY:
                    self.count(f"{slot.role} ended with {AWAY}, a service being away, and was started again")
                    slot.start()

    # Kills and zombies -------------------------------------------------------------------------------------------

    def kills(self, slot_names: list[str], pause: tuple[float, float], most: int) -> None:
        """SIGKILL at any moment, and now and then SIGSTOP for longer than a session and a lease."""
        killed = 0
        while not self.ending.is_set() and killed < most:
            if self.ending.wait(self.random.uniform(*pause)):
                return
            slot = self.line.slots[self.random.choice(slot_names)]
            with slot.lock:
                if not slot.runs():
                    if slot.process.returncode == AWAY:
                        continue  # a service is away: whoever supervises starts it again
                    raise Trouble(f"{slot.name} ended by itself with {slot.process.returncode}")
                slot.kill("SIGKILL at a random moment")
                slot.start()
            killed += 1

    def zombie(self, slot_name: str, seconds: float | None = None) -> None:
        """Stopped until its session, its lease and its transactions are over; then it wakes and goes on as if nothing were."""
        slot = self.line.slots[slot_name]
        seconds = seconds or (max(SESSION_MS, LEASE_MS) / 1000) * self.random.uniform(1.6, 2.4)
        stopped_at, pid = time.time(), slot.process.pid
        slot.signal(signal.SIGSTOP)
        try:
            self.ending.wait(seconds)
        finally:
            slot.signal(signal.SIGCONT)
        self.zombies.append({
            "slot": slot_name, "seconds": round(seconds, 1), "stopped_at": stopped_at, "at": time.time(), "pid": pid,
            "mode": self.line.broker.mode,
        })

    def zombies_among(self, slot_names: list[str], pause: float, times: int, seconds: float | None = None) -> None:
        for n in range(times):
            if self.ending.wait(pause):
                self.missed.append(f"zombie {n + 1} of {times} was not made: the run was over")
                continue
            self.zombie(slot_names[n % len(slot_names)], seconds)

    # The broker --------------------------------------------------------------------------------------------------

    def lies(self, names: list[str], each_s: float) -> None:
        """One mode after the other, round and round."""
        known = []
        for name in names:
            if self.line.broker.knows({**MODES, **OVER_FILLS}[name]):
                known.append(name)
            else:
                self.unavailable.append(name)
        if MODES_MUST_EXIST and self.unavailable:
            self.broken.append(f"the paper broker does not know {self.unavailable}")
        while not self.ending.is_set():
            self.random.shuffle(known)
            for name in known:
                if self.pinned is None:
                    self.line.broker.tell(name, {**MODES, **OVER_FILLS}[name])
                    self.modes_seen[name] = self.modes_seen.get(name, 0) + 1
                if self.ending.wait(each_s):
                    return

    def broker_kills(self, pause: float, times: int) -> None:
        for n in range(times):
            if self.ending.wait(pause):
                self.missed.append(f"kill {n + 1} of {times} of the broker was not made: the run was over")
                continue
            self.line.broker.kill_and_restart()
            self.count("the paper broker killed, and started again on its ledger")

    def count(self, what: str) -> None:
        self.more_faults[what] = self.more_faults.get(what, 0) + 1

    def outage(self, what: str, led: list | None) -> None:
        """From now a service is away (then with the partitions that it led), or ready again (then without)."""
        self.outages.append({"what": what, "at": time.time(), "led": led})

    def end(self) -> None:
        """No more faults; what works at the broker goes on working."""
        self.ending.set()
        for thread in self.threads:
            thread.join(POINT_LIMIT_S + 30)
            if thread.is_alive():
                self.broken.append(f"{thread.name} does not end")
        self.line.broker.tell("honest", {})

    def fill(self) -> None:
        """The price comes: whatever works at the broker and is not cancelled by now is filled."""
        self.line.broker.quote(NEAR)
