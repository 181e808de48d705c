"""How long the queries of the dashboards take in a database: every SQL panel, as Grafana sends it, read as the role
that dashboards log in as. Prints a table; exit code 1 if a query fails.

    DATABASE=postgres://… python tests/dashboards.py
"""

import json
import os
import pathlib
import re
import sys
import time

import psycopg

HERE = pathlib.Path(__file__).resolve().parent.parent / "dashboards"
TIMES = 3
SPANS = {"now-1h": "1 hour", "now-6h": "6 hours", "now-24h": "1 day", "now-14d": "14 days", "now-30d": "30 days"}
SECONDS = {"'1h'": 3600, "'1d'": 86400}


def expanded(sql, until, span, trace):
    """The query for a time that ends with the newest row; an interval is a three-hundredth of it, as in Grafana."""
    length = {"hour": 3600, "hours": 3600, "day": 86400, "days": 86400}
    number, unit = span.split()
    interval = max(5, int(number) * length[unit] // 300)

    def group(match):
        step = SECONDS.get(match[2].strip(), interval)
        return f'floor(extract(epoch FROM {match[1]})/{step})*{step} AS "time"'

    since = f"('{until}'::timestamptz - interval '{span}')"
    sql = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN {since} AND '{until}'::timestamptz", sql)
    sql = re.sub(r"\$__timeGroupAlias\(([^,)]*),([^)]*)\)", group, sql)
    return sql.replace("${trace:sqlstring}", f"'{trace}'")


def main():
    worst = 0
    with psycopg.connect(os.environ["DATABASE"], autocommit=True) as db:
        counts = {}
        for table in ("obs_decisions", "obs_exec_events", "obs_alerts", "obs_do_metrics"):
            counts[table] = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        until = db.execute("SELECT max(sent_at) FROM obs_exec_events").fetchone()[0]
        trace = db.execute("SELECT trace_id FROM obs_exec_events ORDER BY sent_at DESC LIMIT 1").fetchone()[0]
        print("rows      " + ", ".join(f"{table} {number}" for table, number in counts.items()))
        print(f"until     {until:%Y-%m-%dT%H:%M:%SZ}, the newest row; each query {TIMES} times, as noctus_reader\n")
        print(f"{'dashboard':<18} {'panel':<34} {'rows':>6} {'first ms':>10} {'best ms':>10}")
        db.execute("SET ROLE noctus_reader")
        db.execute("SET statement_timeout = '300s'")
        for path in sorted(HERE.glob("*.json")):
            dashboard = json.loads(path.read_text())
            span = SPANS[dashboard["time"]["from"]]
            for panel in dashboard["panels"]:
                for target in panel["targets"]:
                    if "rawSql" not in target:
                        continue
                    sql = expanded(target["rawSql"], until, span, trace)
                    took = []
                    try:
                        for _ in range(TIMES):
                            began = time.monotonic()
                            rows = len(db.execute(sql).fetchall())
                            took.append((time.monotonic() - began) * 1000)
                        told = f"{rows:>6} {took[0]:>10.1f} {min(took):>10.1f}"
                    except psycopg.Error as error:
                        worst, told = 1, f"failed: {error}"
                    print(f"{dashboard['uid']:<18} {panel['title']:<34} {told}", flush=True)
    return worst


sys.exit(main())
