#!/usr/bin/env python3
"""Writes the dashboards of source.py as the JSON that Grafana reads, beside this file.

    dashboards/make.py           write
    dashboards/make.py --check   exit code 1 if a file is not what it would write
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
from source import DASHBOARDS  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent


def main():
    wanted = {f"{d['uid']}.json": json.dumps(d, indent=2) + "\n" for d in DASHBOARDS}
    if sys.argv[1:] == ["--check"]:
        there = {path.name: path.read_text() for path in HERE.glob("*.json")}
        wrong = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        if wrong:
            sys.exit(f"not what dashboards/make.py writes: {', '.join(wrong)}")
        return
    for path in HERE.glob("*.json"):
        path.unlink()
    for name, text in wanted.items():
        (HERE / name).write_text(text)


if __name__ == "__main__":
    main()
