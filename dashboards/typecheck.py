#!/usr/bin/env python3
"""Holds the dashboards against the type that Grafana publishes for them (npm: @grafana/schema), with the TypeScript
compiler. Needs npm and a package registry; exit code 1 if something does not fit."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["@grafana/schema@12.1.1", "typescript@5.6.3"]
TYPES = "node_modules/@grafana/schema/dist/types/raw/dashboard/x/dashboard_types.gen.d.ts"


def words(match):
    """An enum as the words that it stands for: JSON has no enums."""
    values = re.findall(r'=\s*("[^"]*"|\d+)', match[2])
    names = re.findall(r'(\w+)\s*=\s*("[^"]*"|\d+)', match[2])
    members = "".join(f"export type {name} = {value};" for name, value in names)
    return f"export type {match[1]} = {' | '.join(values)};\nexport declare namespace {match[1]} {{ {members} }}"


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "package.json").write_text("{}")
        install = ["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES]
        subprocess.run(install, cwd=folder, check=True)
        types = (folder / TYPES).read_text()
        types = re.sub(r"export declare enum (\w+) \{(.*?)\}", words, types, flags=re.S)
        (folder / "types.d.ts").write_text(types)
        checked = []
        for path in sorted(HERE.glob("*.json")):
            text = json.dumps(json.loads(path.read_text()), indent=1)
            file = folder / f"{path.stem}.ts"
            file.write_text(f'import type {{ Dashboard }} from "./types";\nexport const it: Dashboard = {text};\n')
            checked.append(file.name)
        tsc = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", *checked]
        code = subprocess.run(tsc, cwd=folder).returncode
    print(f"{len(checked)} dashboards, {' and '.join(PACKAGES)}: {'they fit' if code == 0 else 'see above'}")
    return code


sys.exit(1 if main() else 0)
