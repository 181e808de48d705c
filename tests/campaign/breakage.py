"""Services that break, on a stack of the campaign's own: never on the one that others use.

Each breakage is a function of line, schedule and stack that goes on until the schedule ends.
"""

import json
import os
import secrets
import signal
import subprocess
import threading
import time
from pathlib import Path

import psycopg

import generator
from line import ROOT, Services, Trouble, free_port

STACK = ROOT / "tests" / "stack"

GONE_S = 60


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return " Z "


class Stack:
    """A second stack, in a folder and on ports of its own; what was downloaded for the first one is shared."""

    def __init__(self, home: Path, is_wanted: bool = True):
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        shared = Path(os.environ["NOCTUS_TEST_PYTHON"]).parents[2]
        self.variables = {**os.environ, "NOCTUS_STACK_HOME": str(home), "NOCTUS_STACK_DIST": str(shared)}
        ports = home / "ports.json"  # whoever comes next finds the same stack
        if not ports.exists():
            names = ("KAFKA", "CONTROLLER", "REGISTRY", "POSTGRES")
            ports.write_text(json.dumps({f"NOCTUS_STACK_{name}_PORT": str(free_port()) for name in names}), encoding="utf-8")
        self.variables.update(json.loads(ports.read_text(encoding="utf-8")))
        if not is_wanted:
            return  # only to be ended
        self._script("up")
        env = dict(text.split("=", 1) for text in (home / "stack.env").read_text(encoding="utf-8").splitlines())
        self.services = Services(env["NOCTUS_TEST_BROKERS"], env["NOCTUS_TEST_REGISTRY"], env["NOCTUS_TEST_DATABASE"])

    def _script(self, *arguments: str) -> None:
        command = [STACK / arguments[0], *arguments[1:]]
        done = subprocess.run(command, env=self.variables, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
        if done.returncode:
            raise Trouble(f"tests/stack/{' '.join(arguments)}: {done.stdout}{done.stderr}")

    def pid(self, service: str) -> int:
        return int((self.home / "run" / f"{service}.pid").read_text(encoding="utf-8"))

    def up(self) -> None:
        self._script("up")

    def restart(self, service: str) -> None:
        self._script("restart", service)

    def kill(self, service: str) -> None:
        """It is gone when this returns: whoever starts it again does not take it for one that runs."""
        pid = self.pid(service)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + GONE_S
        while Path(f"/proc/{pid}").exists() and " Z " not in _stat(pid):
            if time.monotonic() > deadline:
                raise Trouble(f"{service} ({pid}) is still there {GONE_S} s after SIGKILL")
            time.sleep(0.01)

    def down(self) -> None:
        self._script("down", "--wipe")


def backends(line, schedule, stack) -> None:
    """Connections of the roles are ended in the middle of whatever they do (F34, F35)."""
    while not schedule.ending.wait(schedule.random.uniform(0.3, 1.5)):
        with psycopg.connect(stack.services.database, autocommit=True) as admin:
            ended = admin.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> pg_backend_pid() ORDER BY random() LIMIT 3) s",
                (line.database.rpartition("/")[2],),
            ).fetchone()[0]
        for _ in range(ended):
            schedule.count("a Postgres backend ended (pg_terminate_backend)")


def postmaster(line, schedule, stack) -> None:
    """Postgres is killed and comes back (F34)."""
    while not schedule.ending.wait(schedule.random.uniform(10, 16)):
        stack.kill("postgres")
        schedule.count("the postmaster killed (SIGKILL), and started again")
        schedule.ending.wait(schedule.random.uniform(0, 3))
        starting = threading.Thread(target=stack.up)
        starting.start()
        while not _answers(stack.services.database):
            time.sleep(0.02)
        schedule.outage("postgres", None)
        starting.join()


def _answers(database: str) -> bool:
    try:
        with psycopg.connect(database, connect_timeout=2) as connection:
            connection.execute("SELECT 1")
        return True
    except psycopg.OperationalError:
        return False


def kafka(line, schedule, stack) -> None:
    """Kafka is restarted in good order, and killed (F27)."""
    hard = True
    while not schedule.ending.wait(schedule.random.uniform(12, 18)):
        if hard:
            stack.kill("kafka")
            stack.up()
        else:
            stack.restart("kafka")
        schedule.outage("kafka", None)
        schedule.count("Kafka killed and started again" if hard else "Kafka restarted in good order")
        hard = not hard


def registry(line, schedule, stack) -> None:
    """The registry hangs for longer than a call may take (F04); roles that start meanwhile wait for it."""
    while not schedule.ending.wait(schedule.random.uniform(6, 10)):
        os.kill(stack.pid("registry"), signal.SIGSTOP)
        try:
            schedule.ending.wait(schedule.random.uniform(4, 8))
        finally:
            os.kill(stack.pid("registry"), signal.SIGCONT)
        schedule.count("the registry stopped (SIGSTOP), and woken")


def rotation(line, schedule, stack) -> None:
    """Signing keys rotate under load, and no request is lost by it (F13)."""
    ring = json.loads(line.keys_file.read_text(encoding="utf-8"))
    number = 1
    while not schedule.ending.wait(8):
        number += 1
        kid, secret = f"{generator.KID}-{number}", secrets.token_hex(24)
        line.canaries[f"signing secret {number}"] = secret
        ring.append({"kid": kid, "secret": secret})
        line.write_keys(ring)
        # Only when every gate has it may a producer use it: they look once a second.
        if schedule.ending.wait(4):
            return
        line.producer.kid, line.producer.signing_secret = kid, secret
        schedule.count("the signing key rotated")


def full_disk(line, schedule, stack) -> None:
    """The disk under the broker's ledger is full: it answers nothing it cannot keep. Then there is room again."""
    while not schedule.ending.wait(6):
        size = line.broker.ledger.stat().st_size if line.broker.ledger.exists() else 0
        _resize(line, size + 16_384)
        schedule.ending.wait(5)
        schedule.count("the disk under the broker's ledger full, and larger again")
        _resize(line, 64 << 20)
        line.broker.kill_and_restart()


def _resize(line, most: int) -> None:
    pages = (most + 4095) // 4096
    subprocess.run(["mount", "-o", f"remount,size={pages * 4096}", line.broker.ledger.parent], check=True)


def cuts(line, schedule, stack) -> None:
    """The network between dispatch and the broker breaks in every way, then is whole for a while."""
    from proxy import WAYS

    while not schedule.ending.is_set():
        line.proxy.ways = WAYS
        schedule.ending.wait(schedule.random.uniform(4, 8))
        line.proxy.ways = ["through"]
        schedule.ending.wait(schedule.random.uniform(1, 3))
    line.proxy.ways = ["through"]
    for way, times in line.proxy.counts.items():
        for _ in range(times if way != "through" else 0):
            schedule.count(f"the network to the broker {way}")


