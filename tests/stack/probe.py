"""Asks each named service a real question; exit 0 if every one answers. Used by lib.sh."""

import os
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

TIMEOUT_S = 3


def kafka() -> str:
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": os.environ["BROKERS"], "log_level": 0})
    # Only an unfenced broker is listed: an open port is not yet a working broker.
    brokers = admin.list_topics(timeout=TIMEOUT_S).brokers
    if not brokers:
        raise RuntimeError("no broker in the metadata")
    return os.environ["BROKERS"]


def registry() -> str:
    url = os.environ["REGISTRY"]
    # No proxy: the address is a loopback one whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url + "/subjects", timeout=TIMEOUT_S) as answer:
        answer.read()
    return url


def postgres() -> str:
    import psycopg

    url = os.environ["DATABASE"]
    with psycopg.connect(url, connect_timeout=TIMEOUT_S) as connection:
        connection.execute("SELECT 1")
    return url


PROBES = {"kafka": kafka, "registry": registry, "postgres": postgres}


def attempt(name: str) -> tuple[bool, str]:
    try:
        return True, PROBES[name]()
    except Exception as error:  # whatever went wrong, the service is not healthy
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return False, lines[0]


def main() -> int:
    names = sys.argv[1:]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(attempt, names))
    if os.environ.get("NOISE"):
        for name, (healthy, detail) in zip(names, results):
            print(f"{name:<9} {'up' if healthy else 'DOWN':<5} {detail}")
    return 0 if all(healthy for healthy, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
