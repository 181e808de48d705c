"""A production line of the campaign's own: database, topics, paper broker, and roles as processes.

Everything it makes has a name that nobody else has, and goes with it. It speaks to the services of the test stack and
never stops one of them.
"""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from confluent_kafka.admin import AdminClient

import generator
import wire
from people import People
from proxy import Proxy

ROOT = Path(__file__).resolve().parent.parent.parent
NOCTUS = Path(os.environ.get("NOCTUS_EXECUTABLE", ROOT / "target" / "debug" / "noctus"))
# Another build's paper broker can be looked at too.
BROKER = Path(os.environ.get("NOCTUS_BROKER_EXECUTABLE", NOCTUS))
START = "start the services with: tests/stack/up"
PARTITIONS = 4
# The exit code of a role or a command for which a service is away.
AWAY = 69
SESSION_MS = 1_500
LEASE_MS = 1_500
# Beside the tables, in the campaign's own database: every move of an input position, every state of an order and every holder
# of a lane, when it was written, so that none is missed.
HISTORY = """
CREATE TABLE campaign_states (n BIGSERIAL, at TIMESTAMPTZ DEFAULT clock_timestamp(), idempotency_key TEXT, state TEXT);
CREATE FUNCTION campaign_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign_states (idempotency_key, state) VALUES (NEW.idempotency_key, NEW.state);
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_state AFTER UPDATE OF state ON outbox_orders FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION campaign_state();
CREATE TABLE campaign_moves (n BIGSERIAL, at TIMESTAMPTZ DEFAULT clock_timestamp(), reader TEXT, topic TEXT,
    partition INT, epoch BIGINT, next_offset BIGINT, owner TEXT);
CREATE FUNCTION campaign_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign_moves (reader, topic, partition, epoch, next_offset, owner)
    VALUES (NEW.reader, NEW.topic, NEW.partition, NEW.epoch, NEW.next_offset, NEW.owner);
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_move AFTER INSERT OR UPDATE ON input_positions FOR EACH ROW EXECUTE FUNCTION campaign_move();
CREATE TABLE campaign_lanes (n BIGSERIAL, at TIMESTAMPTZ DEFAULT clock_timestamp(), account TEXT, symbol TEXT, epoch BIGINT, owner TEXT);
CREATE FUNCTION campaign_lane() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign_lanes (account, symbol, epoch, owner) VALUES (NEW.account, NEW.symbol, NEW.epoch, NEW.owner);
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_lane AFTER UPDATE OF owner ON dispatch_lanes FOR EACH ROW
    WHEN (OLD.owner <> NEW.owner OR OLD.epoch <> NEW.epoch) EXECUTE FUNCTION campaign_lane();
"""


class Trouble(Exception):
    """The campaign itself cannot go on; the text says what to do."""


class Unavailable(Trouble):
    """The running executable's broker does not have these lies."""


@dataclass
class Services:
    """Where the stack is."""

    brokers: str
    registry: str
    database: str

    @staticmethod
    def find() -> "Services":
        def of(name: str) -> str:
            value = os.environ.get(name)
            if not value:
                raise Trouble(f"{name} is not set; {START}, then `. stack.env` (make campaign does both)")
            return value

        return Services(of("NOCTUS_TEST_BROKERS"), of("NOCTUS_TEST_REGISTRY"), of("NOCTUS_TEST_DATABASE"))


@dataclass
class Death:
    """A process that was killed, or that died."""

    slot: str
    role: str
    pid: int
    at: float
    cause: str
    mode: str = ""
    point: str | None = None
    nth: int | None = None


class Slot:
    """A place for one role's process; whoever kills it starts the next one."""

    def __init__(self, line: "Line", name: str, role: str):
        self.line, self.name, self.role = line, name, role
        self.process: subprocess.Popen | None = None
        self.point: tuple[str, int] | None = None
        self.starts = 0
        self.lock = threading.Lock()  # from a kill to the next start

    def start(self, point: tuple[str, int] | None = None) -> None:
        self.starts += 1
        self.point = point
        variables = dict(self.line.environment)
        if point is not None:
            variables["NOCTUS_CRASH"] = f"{point[0]}:{point[1]}"
        if self.role == "sink":
            # One sink leads the upkeep, the one whose points are armed; old months of alerts go.
            variables["NOCTUS_UPKEEP__ENABLED"] = str(self.name.endswith("-1")).lower()
            variables["NOCTUS_UPKEEP__RETENTION__OBS_ALERTS"] = "35 days"
        log = self.line.folder / f"{self.name}.log"
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [NOCTUS, "--config", self.line.config_file, self.role, "--listen", "127.0.0.1:0"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=out, env=variables,
            )

    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def died_at_its_point(self, limit: float) -> bool:
        """Waits for the SIGKILL that an armed point gives itself."""
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            return False
        if self.process.returncode != -signal.SIGKILL:
            raise Trouble(f"{self.name} ended with {self.process.returncode} instead of dying at {self.point}; see {self.line.folder}")
        self.line.died(self, f"{self.point[0]}:{self.point[1]}", self.point)
        return True

    def kill(self, cause: str) -> None:
        if self.runs():
            self.process.kill()
            self.process.wait()
            self.line.died(self, cause)

    def signal(self, number: int) -> None:
        if self.runs():
            self.process.send_signal(number)

    def stop(self, limit: float = 20) -> int | None:
        if not self.runs():
            return None
        self.process.terminate()
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


class Broker:
    """The paper broker's process; its ledger is the campaign's second truth."""

    def __init__(self, line: "Line", lies: dict):
        self.line, self.steady, self.lies = line, dict(lies), {}
        self.ledger = (line.options.ledger_in or line.folder) / "ledger.jsonl"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None
        self.kills = 0
        self.mode = "honest"
        self.quotes: dict = dict(generator.FAR)
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.lock = threading.RLock()
        self.start()

    def start(self) -> None:
        log = open(self.line.folder / "broker.log", "ab")
        # What it says it can do is honest only about the lies that it starts with.
        flags = [f"--{name.replace('_', '-')}" for name, on in self.steady.items() if on]
        self.process = subprocess.Popen(
            [BROKER, "paper-broker", "--listen", f"127.0.0.1:{self.port}", "--ledger", self.ledger, *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
        )
        log.close()
        deadline = time.monotonic() + 20
        while True:
            try:
                self.opener.open(self.url + "/livez", timeout=2).read()
                break
            except OSError as error:
                if self.process.poll() == 2 and flags:
                    raise Unavailable(f"the paper broker does not know {flags}") from error
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise Trouble(f"the paper broker does not come up: {error}") from error
                time.sleep(0.02)
        self.quote(self.quotes)
        self.tell(self.mode, self.lies)

    def quote(self, quotes: dict) -> None:
        """The prices it fills at; symbols without one fill at their own."""
        self.quotes = quotes
        body = json.dumps({symbol: {"bid": bid, "ask": ask} for symbol, (bid, ask) in quotes.items()}).encode()
        request = urllib.request.Request(self.url + "/quotes", body, {"content-type": "application/json"}, method="POST")
        self.opener.open(request, timeout=5).read()

    def tell(self, mode: str, lies: dict) -> bool:
        """How it misbehaves from now; false if this build does not know such a lie."""
        with self.lock:
            body = json.dumps({**self.steady, **lies}).encode()
            request = urllib.request.Request(self.url + "/lies", body, {"content-type": "application/json"}, method="POST")
            try:
                self.opener.open(request, timeout=5).read()
            except urllib.error.HTTPError as error:
                if 400 <= error.code < 500:
                    return False
                raise
            self.mode, self.lies = mode, lies
            return True

    def knows(self, lies: dict) -> bool:
        """Whether this build's broker has these lies; leaves those in force as they are."""
        mode, before = self.mode, self.lies
        known = self.tell(mode, lies)
        self.tell(mode, before)
        return known

    def kill_and_restart(self) -> None:
        with self.lock:
            self.process.kill()
            self.process.wait()
            self.kills += 1
            self.start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def lines(self) -> list[dict]:
        text = self.ledger.read_text(encoding="utf-8") if self.ledger.exists() else ""
        return [json.loads(one) for one in text[: text.rfind("\n") + 1].splitlines()]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@dataclass
class Options:
    """What differs between lines."""

    seed: int
    planted: str = ""
    lies: dict = field(default_factory=dict)  # in force from start to end: the broker's class
    config: dict = field(default_factory=dict)
    has_proxy: bool = False  # between dispatch and the broker
    ledger_in: Path | None = None  # a folder of its own for the broker's ledger
    services: Services | None = None
    replication: int = 1  # copies of each partition


class Line:
    """The line. `close` ends its processes and removes its topics and its database."""

    def __init__(self, folder: Path, options: Options):
        self.options = options
        self.services = options.services or Services.find()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.prefix = f"camp-{os.getpid()}-{secrets.token_hex(4)}-"
        self.deaths: list[Death] = []
        self.slots: dict[str, Slot] = {}
        self.lock = threading.Lock()
        self.canaries = {
            "NOCTRIA_IDEMPOTENCY_SECRET": secrets.token_hex(24),
            "signing secret": secrets.token_hex(24),
        }
        self.recipe_secret, self.signing_secret = self.canaries.values()
        # First: a build whose broker does not have these lies leaves nothing behind.
        self.broker = Broker(self, options.lies)
        try:
            self.database = self._make_database()
        except BaseException:
            self.broker.stop()
            raise
        self.proxy = Proxy(self.broker.port, options.seed) if options.has_proxy else None
        self.producer = None  # the generator, once there is one
        self.config_file = folder / "noctus.yml"
        self.group_prefix = self.prefix
        self.people = People(folder, options.seed)
        self._configure()
        self.keys_file = folder / "keys.json"
        self.write_keys([{"kid": generator.KID, "secret": self.signing_secret}])
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = {
            **kept,
            "NOCTRIA_IDEMPOTENCY_SECRET": self.recipe_secret,
            "NOCTUS_SIGNING_KEYS_FILE": str(self.keys_file),
            "NOCTUS_PLANTED": options.planted,
            **self.people.environment,
        }
        spec = folder / "topics.yml"
        text = (ROOT / "topics" / "topics.yml").read_text(encoding="utf-8")
        spec.write_text(re.sub(r"partitions: \d+", f"partitions: {PARTITIONS}", text), encoding="utf-8")
        self.noctus("migrate")
        self.noctus("topics", "apply", "--replication", str(options.replication), "--spec", str(spec))
        self.noctus("schemas", "register")
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(HISTORY)
        self.schemas = wire.Schemas(self.services.registry)
        self.admin = AdminClient({"bootstrap.servers": self.services.brokers})

    def _make_database(self) -> str:
        name = self.prefix.replace("-", "_").rstrip("_")
        try:
            with psycopg.connect(self.services.database, autocommit=True, connect_timeout=5) as admin:
                admin.execute(f'CREATE DATABASE "{name}"')
        except psycopg.Error as error:
            raise Trouble(f"Postgres: {error}; {START}") from error
        return self.services.database.rpartition("/")[0] + "/" + name

    def _configure(self) -> None:
        policy = self.folder / "risk.yml"
        policy.write_text(generator.policy(), encoding="utf-8")
        instruments = self.folder / "instruments.yml"
        instruments.write_text(generator.instruments(), encoding="utf-8")
        config = {
            "kafka": {
                "brokers": self.services.brokers, "topic_prefix": self.prefix, "group_prefix": self.group_prefix,
                "session_timeout_ms": SESSION_MS, "orphan_after_ms": 1_000,
            },
            "registry": {"url": self.services.registry},
            "database": {"url": self.database, "pool_max": 8},
            "broker": {"url": f"http://127.0.0.1:{self.proxy.port}" if self.proxy else self.broker.url, "settle_ms": 300, "timeout_ms": 1_500},
            "dispatch": {"lease_ms": LEASE_MS, "poll_ms": 50},
            # Small batches: more moments to be killed in.
            "gate": {"batch_max": 40},
            "sink": {"batch_max": 80},
            "notify": {"file": str(self.people.file), "lease_ms": LEASE_MS, "timeout_ms": 1_500},
            "policies": {"risk": str(policy), "instruments": str(instruments)},
        }
        for section, keys in self.options.config.items():
            config[section].update(keys)
        self.config = config
        self.config_file.write_text(json.dumps(config, indent=1), encoding="utf-8")

    def write_keys(self, ring: list[dict]) -> None:
        """The signing keys in force; in one step, so that nobody reads half of them."""
        beside = self.keys_file.with_suffix(".new")
        beside.write_text(json.dumps(ring), encoding="utf-8")
        beside.replace(self.keys_file)

    def noctus(self, *arguments: str, expect: tuple = (0,), **more) -> str:
        command = [NOCTUS, "--config", self.config_file, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=120, **more)
        if done.returncode not in expect:
            raise Trouble(f"noctus {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}; {START}")
        return done.stdout

    def slot(self, name: str, role: str) -> Slot:
        self.slots[name] = Slot(self, name, role)
        return self.slots[name]

    def died(self, slot: Slot, cause: str, point: tuple | None = None) -> None:
        death = Death(slot.name, slot.role, slot.process.pid, time.time(), cause, self.broker.mode)
        if point is not None:
            death.point, death.nth = point
        with self.lock:
            self.deaths.append(death)

    def died_by_itself(self, allowed: tuple = (0, -signal.SIGKILL)) -> list[str]:
        """Processes that ended though nobody killed them."""
        return [
            f"{slot.name} ended by itself with {slot.process.returncode}; see {self.folder / (slot.name + '.log')}"
            for slot in self.slots.values()
            if slot.process is not None and slot.process.poll() is not None and slot.process.returncode not in allowed
        ]

    def ask(self, sql: str, *values):
        with psycopg.connect(self.database, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(sql, values).fetchall()

    def generator(self, seed: int) -> generator.Generator:
        self.producer = generator.Generator(
            seed=seed, brokers=self.services.brokers, prefix=self.prefix, schemas=self.schemas,
            signing_secret=self.signing_secret, recipe_secret=self.recipe_secret,
            log=str(self.folder / "intents.jsonl"), partitions=PARTITIONS,
        )
        return self.producer

    def close(self) -> None:
        for slot in self.slots.values():
            if slot.runs():
                slot.process.kill()
                slot.process.wait()
        self.broker.stop()
        self.people.end()
        self.producer = None  # or its client complains about topics that are gone
        if self.proxy:
            self.proxy.end()
        ours = [name for name in self.admin.list_topics(timeout=20).topics if name.startswith(self.prefix)]
        for name, done in (self.admin.delete_topics(ours) if ours else {}).items():
            try:
                done.result(30)
            except Exception as error:
                print(f"topic {name} stays behind: {error}")
        with psycopg.connect(self.services.database, autocommit=True) as connection:
            for name in {self.database, getattr(self, "second_database", self.database)}:
                connection.execute(f'DROP DATABASE IF EXISTS "{name.rpartition("/")[2]}" WITH (FORCE)')
