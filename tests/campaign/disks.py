"""Small disks, to be filled: file systems in memory that the campaign mounts and removes; and a Postgres on one."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg

from line import Trouble, Unavailable, free_port

READY_S = 60


class Disk:
    """A file system of its own."""

    def __init__(self, place: Path, megabytes: int):
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", place], capture_output=True)
        if done.returncode:
            raise Unavailable("no file system can be mounted here: needs root and CAP_SYS_ADMIN")

    def fill(self) -> None:
        """Takes whatever room is left."""
        with open(self.place / "filler", "ab", buffering=0) as out:
            for block in (bytes(1 << 20), bytes(4096)):
                try:
                    while out.write(block) == len(block):
                        pass
                except OSError:
                    continue  # no room for a block of this size

    def free(self) -> None:
        (self.place / "filler").unlink(missing_ok=True)

    def remove(self) -> None:
        subprocess.run(["umount", "-l", self.place], check=True)
        self.place.rmdir()


class SmallPostgres:
    """A Postgres cluster, data and write-ahead log, on a small disk; initdb refuses root, so it runs as user postgres."""

    def __init__(self, folder: Path, megabytes: int = 320):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            raise Unavailable("no Postgres under /usr/lib/postgresql")
        self.programs = found[-1].parent
        self.log = folder / "postgres.log"
        self.disk = Disk(Path("/var/lib") / f"noctus-campaign-{free_port()}", megabytes)
        self.data = self.disk.place / "pg"
        self.port = free_port()
        self.url = f"postgres://noctus@127.0.0.1:{self.port}/noctus"
        self.process: subprocess.Popen | None = None
        shutil.chown(self.disk.place, "postgres", "postgres")
        try:
            self._run("initdb", "-D", self.data, "-U", "noctus", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--wal-segsize=4")
            self.start()
            with psycopg.connect(self._administered(), autocommit=True) as admin:
                admin.execute("CREATE DATABASE noctus")
        except BaseException:
            self.down()
            raise

    def _command(self, program: str, *arguments) -> list:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", self.programs / program, *arguments]

    def _run(self, program: str, *arguments) -> None:
        done = subprocess.run(self._command(program, *arguments), capture_output=True, text=True, cwd="/", timeout=120)
        if done.returncode:
            raise Trouble(f"{program}: {done.stdout}{done.stderr}")

    def start(self) -> None:
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                self._command(
                    "postgres", "-D", self.data, "-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}",
                    "-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "shared_buffers=64MB",
                    "-c", "min_wal_size=16MB", "-c", "max_wal_size=48MB", "-c", "timezone=UTC",
                ),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", start_new_session=True,
            )
        self.ready()

    def _administered(self) -> str:
        return self.url.rpartition("/")[0] + "/postgres"

    def answers(self) -> bool:
        try:
            with psycopg.connect(self._administered(), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
            return True
        except psycopg.OperationalError:
            return False

    def ready(self) -> None:
        """Waits until it answers; one that has ended is started again."""
        deadline = time.monotonic() + READY_S
        while not self.answers():
            if self.process.poll() is not None:
                return self.start()
            if time.monotonic() > deadline:
                raise Trouble(f"Postgres does not come up; see {self.log}")
            time.sleep(0.05)

    def down(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
        self.disk.remove()


def full_postgres(line, schedule, postgres: SmallPostgres) -> None:
    """Postgres' disk is full for some seconds: nothing can be written, and at last Postgres itself ends. Then there is room
    again (F39)."""
    while not schedule.ending.wait(schedule.random.uniform(7, 11)):
        postgres.disk.fill()
        schedule.count("Postgres' disk full, and free again")
        until = time.monotonic() + schedule.random.uniform(4, 8)
        while time.monotonic() < until and not schedule.ending.wait(0.2):
            postgres.disk.fill()
        if postgres.process.poll() is not None:
            schedule.count("Postgres ended because its disk was full, and started again")
        postgres.disk.free()
        postgres.ready()
        schedule.outage("postgres", None)
