"""What the long campaign plays: batches, each a line of its own with a name, a plan, and what it needs of the machine.

  recovery   one kill at a time, alone on the machine: how long it takes until the work goes on
  cells      dispatch's crash points × every mode of the broker × the four classes of broker
  kills      random SIGKILL and SIGSTOP, fast; halts and cancels
  bulk       many orders at a high rate, with random kills and a few of everything
  services   Postgres, Kafka, the registry, networks and disks break, on services of the campaign's own
  controls   every negative control
  pairs      every ordered pair of crash points of a role: the second process dies where it picks up what the first left
"""

import itertools
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import breakage
import cluster
import controls
import disks
from faults import MODES, OVER_FILLS, POINTS, pointed, within_dispatch
from line import ROOT, Options, Services
from play import Plan, play

FOLDER = ROOT / "target" / "campaign" / "long"
STACK = FOLDER / "stack"
CLASSES = {
    "dedupes and can be queried": {},
    "dedupes": {"no_query": True},
    "can be queried": {"no_dedupe": True},
    "neither": {"no_dedupe": True, "no_query": True},
}
# What there must be in the end; beside every cell.
TARGETS = {"pointed kills": 300, "random kills": 500, "orders": 200_000, "zombies": 50}
RECOVERIES, KILLS, BULK = 3, 10, 16
CELLS = {"limit": 640, "market": 180, "reference": 80, "working": 100}
MANY = {
    "limit": 560, "market": 220, "reference": 60, "capped": 20, "traced": 10, "rated": 2, "flat": 10, "proposals": 30, "v1_0": 10,
    "again": 30, "again_elsewhere": 10, "conflict": 10, "expired": 4, "bad_signature": 10, "unsigned": 2, "bad_avro": 6, "invalid_qty": 6,
}
SIMPLE = {"limit": 700, "market": 200, "reference": 80, "working": 20}
POISON = {"limit": 100, "bad_signature": 250, "unsigned": 100, "bad_wire": 150, "bad_avro": 200, "invalid_qty": 100, "key_mismatch": 100}


@dataclass
class Batch:
    """A batch: `go` plays it and returns an outcome, or what controls told."""

    name: str
    go: object
    # Of `WIDTH` in hours.py; a batch that takes all of it is alone on the machine.
    weight: int = 1
    # On the second stack: one at a time.
    breaks_stack: bool = False

    def kind(self) -> str:
        return self.name.split(":")[0]

    def slug(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.name)


def every_pair(alphabet: list) -> list:
    """A sequence in which every ordered pair stands once side by side (de Bruijn, order 2)."""
    around = []
    for n, one in enumerate(alphabet):
        around.append(one)
        for other in alphabet[n + 1:]:
            around += [one, other]
    return [*around, alphabet[0]]


def folder(name: str) -> Path:
    """The folder of a batch's line, empty."""
    of = FOLDER / "lines" / Batch(name, None).slug()
    shutil.rmtree(of, ignore_errors=True)
    return of


def _played(name: str, options: Options, plan: Plan, **more) -> Batch:
    return Batch(name, lambda: play(folder(name), options, plan), **more)


def _recovery(seed: int):
    for n in range(RECOVERIES):
        chance = random.Random(f"{seed} recovery {n}")
        plan = Plan(per_second=30, most=20_000, kills=36, kill_pause=(3.2, 4.4), modes=["honest"], rebuild=False, mix=SIMPLE)
        yield _played(f"recovery: {n}", Options(seed=chance.randrange(2**31)), plan, weight=99)


def every_cell() -> set:
    """(class, mode, point) of everything that `cells` must come to."""
    return {
        (name, mode, point)
        for (name, lies), mode in itertools.product(CLASSES.items(), [*MODES, *OVER_FILLS])
        for point in within_dispatch(lies)
    }


def _cells(seed: int):
    every = list(itertools.product(CLASSES.items(), [*MODES, *OVER_FILLS]))
    random.Random(seed).shuffle(every)  # so that an hour has some of everything
    for (name, lies), mode in every:
        chance = random.Random(f"{seed} {name} {mode}")
        points = within_dispatch(lies)
        chance.shuffle(points)
        plan = Plan(
            per_second=25, most=20_000, points={"dispatch-1": [(p, chance.randint(1, 3)) for p in points]}, zombies=1,
            zombie_pause=4.0, modes=[mode], mode_s=3_600, rebuild=False, mix=CELLS, cancels=True,
            lanes=0 if not lies else 40, life_s=20.0 if lies else 0.0, workers={"gate": 1, "dispatch": 2, "sink": 1},
        )
        yield _played(f"cells: {name}, {mode}", Options(seed=chance.randrange(2**31), lies=lies), plan)


def _pairs(seed: int):
    for role, points in POINTS.items():
        sequence = every_pair(points)
        for at in range(0, len(sequence) - 1, 24):
            chance = random.Random(f"{seed} {role} {at}")
            part = [(point, 1) for point in sequence[at: at + 25]]
            plan = Plan(per_second=30, most=20_000, points={f"{role}-1": part}, modes=["honest", "drops answers"], rebuild=False, cancels=True)
            yield _played(f"pairs: {role} from {at}", Options(seed=chance.randrange(2**31)), plan)


def _kills(seed: int):
    for n in range(KILLS):
        chance = random.Random(f"{seed} kills {n}")
        plan = Plan(per_second=40, most=20_000, kills=60, kill_pause=(0.2, 2.0), zombies=4, modes=list(MODES), broker_kills=2, halts=True, cancels=True)
        yield _played(f"kills: {n}", Options(seed=chance.randrange(2**31)), plan)


def _bulk(seed: int):
    for n in range(BULK):
        chance = random.Random(f"{seed} bulk {n}")
        points = {"gate-1": pointed("gate", chance)[:2]}
        plan = Plan(per_second=250, most=10_000, points=points, kills=10, kill_pause=(2.5, 4.0), zombies=1,
                    modes=["honest", "fills in parts", "drops answers"], mode_s=10, whole_load=True, rebuild=n % 6 == 0, lanes=24, mix=MANY)
        config = {"gate": {"batch_max": 200}, "sink": {"batch_max": 500}}
        yield _played(f"bulk: {n}", Options(seed=chance.randrange(2**31), config=config), plan, weight=2)


def _services(seed: int, stack):
    """Each breaks one thing. What breaks the stack's services has the stack to itself."""
    def options(n: int, **more) -> Options:
        return Options(seed=seed * 1_000 + n, **more)

    def plan(kills: int, mix=None) -> Plan:
        return Plan(per_second=25, most=20_000, kills=kills, at_least_s=75, supervised=True, mix=mix, cancels=mix is None)

    # Where it is measured how soon all goes on after a service is back, nothing else happens.
    measured = (breakage.postmaster, breakage.kafka)

    on_stack = [
        ("a Postgres backend", breakage.backends), ("the postmaster", breakage.postmaster), ("Kafka", breakage.kafka),
        ("the registry", breakage.registry), ("signing keys", breakage.rotation), ("the network to the broker", breakage.cuts),
        ("the disk under the broker's ledger", breakage.full_disk), ("poison", None),
    ]
    for n, (what, act) in enumerate(on_stack):
        name, of = f"services: {what}", options(n, has_proxy=act is breakage.cuts)
        yield Batch(name, _on_stack(name, act, of, plan(0 if act in measured else 6, POISON if what == "poison" else None), stack), breaks_stack=True)
    on_cluster = [
        ("the leader of three Kafka nodes", cluster.leaders, False), ("two of three Kafka nodes", cluster.two_nodes, False),
        ("the disk of a Kafka node", cluster.full_disk, True),
    ]
    for n, (what, act, on_disk) in enumerate(on_cluster):
        name = f"services: {what}"
        # As by default: what waits for an election is not taken for left behind, and told again by everybody.
        of = options(20 + n, replication=3, config={"kafka": {"orphan_after_ms": 5_000}})
        yield Batch(name, _on_cluster(name, act, on_disk, of, plan(0)), weight=2)
    name = "services: the disk under Postgres"
    yield Batch(name, _on_small_postgres(name, options(30), plan(0)))


def _on_stack(name: str, act, options: Options, plan: Plan, stack):
    def go():
        options.services = stack().services
        if act is not None:
            plan.more = lambda line, schedule: schedule.begin(name, act, line, schedule, stack()) and []
        disk = None
        if act is breakage.full_disk:
            disk = disks.Disk(folder(name).with_suffix(".disk"), 64)
            options.ledger_in = disk.place
        try:
            return play(folder(name), options, plan)
        finally:
            if disk is not None:
                disk.remove()

    return go


def _on_cluster(name: str, act, on_disk: bool, options: Options, plan: Plan):
    def go():
        home = folder(name)
        disk = disks.Disk(home.with_suffix(".disk"), 384) if on_disk else None
        three = None
        try:
            three = cluster.Cluster(home.with_suffix(".cluster"), {1: disk.place / "kafka"} if disk else None)
            found = Services.find()
            options.services = Services(three.brokers, found.registry, found.database)
            more = (disk,) if disk else ()
            plan.more = lambda line, schedule: schedule.begin(name, act, line, schedule, three, *more) and []
            return play(home, options, plan)
        finally:
            if three is not None:
                three.down()
            if disk is not None:
                disk.remove()

    return go


def _on_small_postgres(name: str, options: Options, plan: Plan):
    def go():
        home = folder(name)
        home.mkdir(parents=True)
        postgres = disks.SmallPostgres(home)
        try:
            found = Services.find()
            options.services = Services(found.brokers, found.registry, postgres.url)
            plan.more = lambda line, schedule: schedule.begin(name, disks.full_postgres, line, schedule, postgres) and []
            return play(home, options, plan)
        finally:
            postgres.down()

    return go


def _control(mistake: str, seed: int) -> Batch:
    return Batch(f"controls: {mistake}", lambda: controls.run(folder(f"controls: {mistake}"), [mistake], seed + 5_000), weight=2)


def batches(seed: int, stack) -> list[Batch]:
    """All of them, in the order in which they begin: what is alone first, then those that take long, pairs at the end."""
    taking_turns = [list(_services(seed, stack)), list(_bulk(seed)), list(_kills(seed)), list(_cells(seed)), [_control(c.mistake, seed) for c in controls.CONTROLS]]
    longest = max(len(of) for of in taking_turns)
    shares = [((n + 0.5) * longest / len(of), kind, n) for kind, of in enumerate(taking_turns) for n in range(len(of))]
    return [*_recovery(seed), *(taking_turns[kind][n] for _, kind, n in sorted(shares)), *_pairs(seed)]
