"""The campaign's report: one JSON file for machines, one page without any network for people."""

import html
import json
from collections import Counter, defaultdict
from pathlib import Path

import recovery
from auditor import INVARIANTS

# Kinds of faults that a cell of the table stands for; what a cell's colour means is said below it.
STYLE = """
:root { color-scheme: light dark; --ink: #1c2530; --faint: #667; --line: #d5dae1; --ground: #fff; --panel: #f5f7fa;
  --good: #1d7a46; --good-soft: #dff3e6; --bad: #b3261e; --bad-soft: #fbe3e1; --none: #8a93a0; --bar: #4a78b5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --faint: #9aa4b2; --line: #38414d; --ground: #14181d;
  --panel: #1d232b; --good: #6fcf97; --good-soft: #1e3a2a; --bad: #ff8a80; --bad-soft: #4a211f; --none: #77818f; --bar: #7ea6dc; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0 auto; max-width: 1120px; padding: 24px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 32px 0 8px; }
p.faint, .faint { color: var(--faint); } code { font: 13px ui-monospace, monospace; white-space: nowrap; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0; }
.numbers div { background: var(--panel); border-radius: 8px; padding: 12px 14px; }
.numbers b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
.numbers .bad b { color: var(--bad); } .numbers .good b { color: var(--good); }
table { border-collapse: collapse; width: 100%; font-size: 14px; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: 5px 8px; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--faint); } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.tag { display: inline-block; padding: 0 8px; border-radius: 10px; font-size: 13px; white-space: nowrap; }
.holds, .caught { background: var(--good-soft); color: var(--good); } .violated, .missed { background: var(--bad-soft); color: var(--bad); }
.none { background: var(--panel); color: var(--none); }
.cells td.c, .cells th.c { text-align: center; font-variant-numeric: tabular-nums; padding: 4px; }
.cells th.c { font-weight: 500; font-size: 12px; } ul { margin: 4px 0; padding-left: 18px; } svg text { fill: var(--faint); font: 12px system-ui, sans-serif; }
"""


def summary(outcomes: list, controls: list[dict], planted: list[dict], about: dict) -> dict:
    """Everything that the page shows, as plain data."""
    verdicts = {}
    for name, invariant in INVARIANTS.items():
        of = [outcome["verdicts"][name] for outcome in outcomes]
        kinds = {verdict["verdict"] for verdict in of}
        kind = "violated" if "violated" in kinds else "holds" if "holds" in kinds else "not applicable"
        verdicts[name] = {
            "what": " ".join(invariant.__doc__.split()),
            "verdict": kind,
            "why": next((v["why"] for v in of if v["why"]), "") if kind == "not applicable" else "",
            "violations": sum(v["count"] for v in of),
            "live_checks": sum(v["live_checks"] for v in of),
            "runs": sum(v["verdict"] != "not applicable" for v in of),
        }
    count = lambda *names: sum(verdicts[name]["violations"] for name in names)
    # Where services break, what stands still after a kill may wait for a service.
    whole = [outcome for outcome in outcomes if not outcome["name"].startswith("services")]
    recovered = [one for outcome in whole for one in outcome["recoveries"] if one["cause"] != "SIGSTOP"]
    alone = [one for one in recovered if not one["overlapped"]]
    kinds = Counter()
    for outcome in outcomes:
        kinds.update(outcome["faults"])
    return {
        **about,
        "runs": len(outcomes),
        "records": sum(o["records"] for o in outcomes),
        "orders": sum(o["orders"] for o in outcomes),
        "pointed": sum(o["pointed"] for o in outcomes),
        "random": sum(o["random"] for o in outcomes),
        "zombies": sum(o["zombies"] for o in outcomes),
        "lost": count("A2", "A3"),
        "sent_twice": count("A1"),
        "caps_exceeded": count("A6"),
        "violations": [v for o in outcomes for v in o["violations"]],
        "failures": [f"{o['name']}: {text}" for o in outcomes for text in o["failures"]],
        "planted_caught": sum(p["caught"] for p in planted) + sum(c["red"] for c in controls),
        "planted_total": len(planted) + len(controls),
        "planted": planted,
        "controls": controls,
        "recovery_ms": _shares([one["first"] for one in alone]),
        "recovery_alone_ms": _shares([
            one["first"] for o in outcomes if o["name"].startswith("recovery") for one in o["recoveries"] if not one["overlapped"]
        ]),
        "recovery_whole_ms": _shares([one["whole"] for one in alone]),
        "recovery_overlapped_ms": _shares([one["whole"] for one in recovered if one["overlapped"]]),
        "zombies_ms": _shares([one["whole"] for o in outcomes for one in o["recoveries"] if one["cause"] == "SIGSTOP" and not one["overlapped"]]),
        **{f"{what}_ms": _shares([ms for o in outcomes for ms in o["outages_ms"].get(what, [])]) for what in ("postgres", "kafka")},
        "unknown_ms": _shares([ms for o in outcomes for ms in o["doubts_ms"]]),
        "unknown_unwanted_ms": _shares([ms for o in outcomes for ms in o["doubts_unwanted_ms"]]),
        "recovery_all_ms": sorted(one["first"] for one in alone),
        "slowest": sorted(recovered, key=lambda one: -one["whole"])[:20],
        "faults": [{"what": what, "times": times} for what, times in sorted(kinds.items())],
        "verdicts": verdicts,
        "cells": [cell for o in outcomes for cell in o["cells"]],
        "modes_unavailable": sorted({mode for o in outcomes for mode in o["modes_unavailable"]} | set(about.get("unavailable", []))),
        "parts": [{k: o[k] for k in ("name", "seed", "broker", "records", "orders", "seconds")} for o in outcomes],
    }


TIMES = [
    ("recovery_alone_ms", "a process killed, nothing else on the machine: the first step of a successor"),
    ("recovery_ms", "a process killed: the first step of a successor"),
    ("recovery_whole_ms", "a process killed: the last of its partitions and lanes goes on"),
    ("recovery_overlapped_ms", "the same, where another process of the role was killed or stopped before that"),
    ("zombies_ms", "a process stopped: the last of its partitions and lanes goes on"),
    ("unknown_ms", "an order of unknown outcome: until that is known, or the order is parked"),
    ("unknown_unwanted_ms", "the same, of orders that a halt covered or that were cancelled, which are not sent again"),
    ("postgres_ms", "Postgres ready again: until every partition is read on, and an order moves"),
    ("kafka_ms", "Kafka ready again, or one node of three gone: until every partition concerned is read on"),
]


def _shares(values: list[float]) -> dict:
    return {"p50": recovery.percentile(values, 0.5), "p99": recovery.percentile(values, 0.99), "most": max(values, default=None), "n": len(values)}


def is_good(report: dict) -> bool:
    """No violation, no failure of the campaign itself, everything planted caught."""
    return not report["violations"] and not report["failures"] and report["planted_caught"] == report["planted_total"]


# Where a time is promised (p99), milliseconds. Recoveries are held against it where nothing else was on the machine.
PROMISED = {"recovery_alone_ms": 3_000, "postgres_ms": 5_000, "kafka_ms": 12_000, "unknown_ms": 10_000}


def text(report: dict) -> str:
    """The figures, for docs/results."""
    plain = ("runs", "records", "orders", "pointed", "random", "zombies", "lost", "sent_twice", "caps_exceeded", "planted_caught", "planted_total")
    lines = [f"{name:<16}{report[name]}" for name in plain]
    lines += [f"{'violations':<16}{len(report['violations'])}", f"{'failures':<16}{len(report['failures'])}", f"{'seconds':<16}{report['seconds']:.0f}"]
    lines += ["", "times, seconds"]
    for name, what in TIMES:
        of = report.get(name) or _shares([])
        if of["n"]:
            least = f", promised {PROMISED[name] / 1000:g}" if name in PROMISED else ""
            lines.append(f"  p50 {of['p50'] / 1000:6.2f}  p99 {of['p99'] / 1000:6.2f}  most {of['most'] / 1000:6.2f}  n {of['n']:>5}  {what}{least}")
    lines += ["", "verdicts        " + ", ".join(f"{name} {told['verdict']}" for name, told in report["verdicts"].items()), ""]
    lines += _cell_lines(report)
    return "\n".join(lines)


def _cell_lines(report: dict) -> list[str]:
    """A line per crash point of dispatch: how often it fired with each class of broker, and with how many modes."""
    cells = [c for c in report["cells"] if c["role"] == "dispatch" and c["fired"]]
    classes = sorted({c["class"] for c in cells})
    lines = ["crash points of dispatch: fired (in so many of the broker's modes), by class of broker", f"  {'':<30}" + "".join(f"{name:>28}" for name in classes)]
    for point in sorted({c["point"] for c in cells}):
        line = f"  {point:<30}"
        for name in classes:
            modes = [c["mode"] for c in cells if c["point"] == point and c["class"] == name]
            line += f"{len(modes)} ({len(set(modes))})".rjust(28)
        lines.append(line)
    if "cells_of" in report:
        lines.append(f"  cells (point, mode, class) that fired: {report['cells_of']['fired']} of {report['cells_of']['of']}")
    return lines


def write(folder: Path, report: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.json", json.dumps(report, indent=1, default=str)), ("report.html", page(report))):
        beside = folder / f"{name}.new"
        beside.write_text(text, encoding="utf-8")
        beside.replace(folder / name)


def _tag(kind: str, text: str | None = None) -> str:
    return f'<span class="tag {kind.split()[0] if kind != "not applicable" else "none"}">{html.escape(text or kind)}</span>'


def _rows(rows: list[list[str]]) -> str:
    return "".join("<tr>" + "".join(row) + "</tr>" for row in rows)


def _td(text, kind: str = "") -> str:
    return f'<td class="{kind}">{html.escape(str(text))}</td>' if kind else f"<td>{html.escape(str(text))}</td>"


def _verdicts(report: dict) -> str:
    rows = []
    for name, told in report["verdicts"].items():
        about = told["what"] + (f" {told['why']}" if told["why"] else "")
        rows.append([_td(name), f"<td>{_tag(told['verdict'])}</td>", _td(about), _td(told["violations"], "n"), _td(told["live_checks"] or "", "n"), _td(told["runs"], "n")])
    head = '<tr><th></th><th>verdict</th><th>what must hold</th><th class="n">violations</th><th class="n">looked at while it ran</th><th class="n">runs</th></tr>'
    return f"<table>{head}{_rows(rows)}</table>"


def _cells(report: dict) -> str:
    """Crash point × broker mode and class: how often it fired there."""
    fired, missed, columns = defaultdict(int), defaultdict(int), set()
    for cell in report["cells"]:
        broker = ("dedupes" if cell["dedupes"] else "no dedupe") + ("" if cell["queryable"] else ", no query")
        column = (broker, cell["mode"] if cell["role"] == "dispatch" else "any mode")
        columns.add(column)
        (fired if cell["fired"] else missed)[(cell["role"], cell["point"], column)] += 1
    columns = sorted(columns)
    head = "<tr><th>role</th><th>crash point</th>" + "".join(f'<th class="c">{html.escape(m)}<br><span class="faint">{html.escape(b)}</span></th>' for b, m in columns) + "</tr>"
    rows = []
    for role, point in sorted({(r, p) for r, p, _ in [*fired, *missed]}):
        row = [_td(role), f"<td><code>{html.escape(point)}</code></td>"]
        for column in columns:
            yes, no = fired[(role, point, column)], missed[(role, point, column)]
            kind = "violated" if no else "holds" if yes else ""
            row.append(f'<td class="c {kind}">{yes or ""}{f" / {no} missed" if no else ""}</td>')
        rows.append(row)
    return f'<div class="wide"><table class="cells">{head}{_rows(rows)}</table></div>'


def _histogram(values: list[float]) -> str:
    if not values:
        return "<p class=faint>Nothing was measured.</p>"
    width, height, bins = 900, 150, 36
    most = max(values)
    step = max(most / bins, 1)
    counts = Counter(min(int(v / step), bins - 1) for v in values)
    tall = max(counts.values())
    bars = []
    for n in range(bins):
        h = (height - 30) * counts.get(n, 0) / tall
        x = n * width / bins
        title = f"{n * step / 1000:.1f} to {(n + 1) * step / 1000:.1f} s: {counts.get(n, 0)}"
        bars.append(f'<rect x="{x + 1:.1f}" y="{height - 20 - h:.1f}" width="{width / bins - 2:.1f}" height="{h:.1f}" fill="var(--bar)"><title>{title}</title></rect>')
    marks = "".join(f'<text x="{width * q:.0f}" y="{height - 4}" text-anchor="{"start" if q == 0 else "end" if q == 1 else "middle"}">{most * q / 1000:.1f} s</text>' for q in (0, 0.25, 0.5, 0.75, 1))
    return f'<svg viewBox="0 0 {width} {height}" width="100%" role="img" aria-label="Recovery times">{"".join(bars)}{marks}</svg>'


def _seconds(shares: dict) -> str:
    return "–" if shares["p50"] is None else f"{shares['p50'] / 1000:.1f} / {shares['p99'] / 1000:.1f} s"


def _times(report: dict) -> str:
    """The table of everything that is measured in time."""
    rows = [
        [_td(what), *(_td("–" if of[part] is None else f"{of[part] / 1000:.2f} s", "n") for part in ("p50", "p99", "most")), _td(of["n"], "n")]
        for name, what in TIMES
        if (of := report.get(name, _shares([])))["n"]
    ]
    return f'<table><tr><th></th><th class="n">p50</th><th class="n">p99</th><th class="n">most</th><th class="n">times</th></tr>{_rows(rows)}</table>'


def _progress(report: dict) -> str:
    batches = report.get("batches")
    return f" · {batches['finished']} of {batches['of']} batches finished" if batches else ""


def page(report: dict) -> str:
    """The page: everything in one file."""
    good = is_good(report)
    number = lambda text, value, bad=None: f'<div class="{"" if bad is None else "bad" if bad else "good"}"><b>{html.escape(str(value))}</b>{html.escape(text)}</div>'
    ms = report["recovery_ms"]
    numbers = "".join([
        number("runs", report["runs"]), number("records produced", f"{report['records']:,}"), number("orders at the broker", f"{report['orders']:,}"),
        number("lost", report["lost"], report["lost"] > 0), number("sent twice", report["sent_twice"], report["sent_twice"] > 0),
        number("caps exceeded", report["caps_exceeded"], report["caps_exceeded"] > 0),
        number("planted mistakes caught", f"{report['planted_caught']} / {report['planted_total']}", report["planted_caught"] != report["planted_total"]),
        number("recovery, p50 / p99", _seconds(ms)), number("of unknown outcome, p50 / p99", _seconds(report["unknown_ms"])),
    ])
    violations = "".join(f"<li>{_tag('violated', v['invariant'])} {html.escape(v['what'])} <span class=faint>seed {v['seed']}</span></li>" for v in report["violations"][:100])
    failures = "".join(f"<li>{html.escape(text)}</li>" for text in report["failures"])
    parts = _rows([[_td(p["name"]), _td(p["seed"], "n"), _td(p["broker"]), _td(p["records"], "n"), _td(p["orders"], "n"), _td(f"{p['seconds']:.0f} s", "n")] for p in report["parts"][:400]])
    faults = _rows([[_td(f["what"]), _td(f["times"], "n")] for f in report["faults"]])
    controls = _rows([[f"<td><code>{html.escape(c['mistake'])}</code></td>", _td(c["what"]), f"<td>{_tag('caught' if c['red'] else 'missed', 'red' if c['red'] else 'not noticed')}</td>", _td(", ".join(c["noticed_by"])), _td(c["example"][:160])] for c in report["controls"]])
    planted = _rows([[_td(p["invariant"]), _td(p["what"]), f"<td>{_tag('caught' if p['caught'] else 'missed')}</td>"] for p in report["planted"]])
    missing = f"<p>Modes that this build's broker does not have: {html.escape(', '.join(report['modes_unavailable']))}.</p>" if report["modes_unavailable"] else ""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Noctus campaign, seed {report['seed']}</title><style>{STYLE}</style></head><body>
<h1>Campaign {_tag('holds' if good else 'violated', 'all holds' if good else 'something is wrong')}</h1>
<p class="faint">seed {report['seed']} · {html.escape(report['started_at'])} · {report['seconds']:.0f} s · <code>{html.escape(report['command'])}</code>{_progress(report)}</p>
<div class="numbers">{numbers}</div>
{f'<h2>Violations</h2><ul>{violations}</ul>' if violations else ''}{f'<h2>Failures of the campaign itself</h2><ul>{failures}</ul>' if failures else ''}
<h2>Verdicts</h2>{_verdicts(report)}
<h2>Crash points</h2><p class="faint">How often a role died there (SIGKILL), by what the broker was doing. A column is a mode of the broker and its class.</p>{_cells(report)}{missing}
<h2>Recovery</h2><p class="faint">From a kill to the first step that a successor made with what the killed process had in hand; {ms['n']} kills, each of them alone in its role.</p>{_histogram(report['recovery_all_ms'])}{_times(report)}
<h2>Faults</h2><table><tr><th>fault</th><th class="n">times</th></tr>{faults}</table>
<h2>Negative controls</h2><p class="faint">A safeguard is switched off in a build for tests; the same audit must turn red.</p><table><tr><th>mistake</th><th></th><th></th><th>noticed by</th><th>for example</th></tr>{controls}</table>
<h2>Planted violations</h2><p class="faint">Each is put into a copy of this run's own evidence, and must be caught.</p><table>{planted}</table>
<h2>Runs</h2><table><tr><th>run</th><th class="n">seed</th><th>the broker</th><th class="n">records</th><th class="n">orders</th><th class="n">time</th></tr>{parts}</table>
</body></html>
"""
