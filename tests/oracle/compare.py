"""Runs generated cases (or files of cases) through `noctus judge` and the oracle and prints every difference.

    python3 compare.py --cases 50000 --seed 1 --noctus PATH      exit 1 if anything differs
    python3 compare.py --file tests/vectors/judge.jsonl --expect  the oracle against the vectors, without the product
"""

import argparse
import collections
import json
import subprocess
import sys
from fractions import Fraction

import cases
import oracle

MEMBERS = ("error", "action", "decided_qty", "quality", "next_quality_state", "alerts", "score", "strategy_name",
           "top_candidates")
EXTRAS = ("requested_qty", "opening_qty", "opening_notional")
ABSENT = "(absent)"


def number(value):
    return None if value is None else Fraction(str(value))


def score(value):
    """Of two doubles of 17 digits it may need more than 28: what is beyond 20 decimals is not compared."""
    return None if value is None else round(number(value), 20)


def same(member, want, got):
    if want is ABSENT or got is ABSENT or want is None or got is None:
        return want is got or (want is None and got is None)
    if member in ("decided_qty", "opening_qty"):
        return number(want) == number(got)
    if member == "score":
        return score(want) == score(got)
    if member == "requested_qty":  # of a set, cut
        return 0 <= number(want) - number(got) < Fraction(1, 10**6)
    if member == "opening_notional":  # recorded with 9 decimals, against the order
        return 0 <= number(got) - number(want) < Fraction(1, 10**9)
    if member == "quality":
        return want["verdict"] == got["verdict"] and number(want["multiplier"]) == number(got["multiplier"])
    if member == "alerts":
        return [(a["policy_name"], a["severity"]) for a in want] == [(a["policy_name"], a["severity"]) for a in got]
    if member == "top_candidates":
        def flat(candidates):
            return [(c["strategy"], c["intent"], score(c["score"])) for c in candidates]
        return flat(want) == flat(got)
    return want == got


def differences(want, got, members):
    """Members that differ. A member neither names is no difference."""
    return [m for m in members if not same(m, want.get(m, ABSENT), got.get(m, ABSENT))]


def shown(value):
    if isinstance(value, Fraction):
        return cases.text(value)
    if isinstance(value, dict):
        return {k: shown(v) for k, v in value.items() if k not in ("reason", "details")}
    if isinstance(value, list):
        return [shown(v) for v in value]
    return value


def chain_broken(got):
    """Steps lead from requested_qty to decided_qty, each smaller than the one before."""
    steps = got.get("steps")
    if not steps or got.get("action") == "REJECT":
        return None
    at = number(got["requested_qty"])
    for step in steps:
        before, after = number(step["before"]), number(step["after"])
        if before != at or after >= before:
            return f"step {step['rule']}: {step['before']} → {step['after']} after {shown(at)}"
        at = after
    return None if at == number(got["decided_qty"]) else f"steps end at {shown(at)}, decided {got['decided_qty']}"


def harmless(want, got):
    """Less than the contract allows, on the same side, with the same memory."""
    less = number(got["decided_qty"]) <= number(want["decided_qty"]) and got["action"] in (want["action"], "FLAT")
    errors = [a["severity"] for a in got["alerts"] if a["policy_name"] == "risk.gate_error"]
    close = number(want["decided_qty"]) - number(got["decided_qty"]) <= number(want["decided_qty"]) / 10**12 + Fraction(1, 10**6)
    return less and got["next_quality_state"] == want["next_quality_state"] and (errors == ["CRITICAL"] or close)


def run_product(path, lines):
    done = subprocess.run([path, "judge"], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=3600)
    out = [json.loads(line) for line in done.stdout.splitlines()]
    if len(out) != len(lines):
        sys.exit(f"{len(lines)} cases in, {len(out)} results out, exit code {done.returncode}\n{done.stderr[-2000:]}")
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--noctus", default="noctus")
    parser.add_argument("--file", action="append", help="cases from a file instead of generated ones")
    parser.add_argument("--expect", action="store_true", help="compare the oracle with the cases' expect, not with the product")
    parser.add_argument("--show", type=int, default=3, help="examples printed of each class of difference")
    parser.add_argument("--save", help="write the cases that differ to this file")
    parser.add_argument("--extreme", action="store_true", help="numbers beyond 28 digits: the product may refuse them "
                        "(risk.gate_error) or round against the order, never let through more than the contract")
    parser.add_argument("--batch", type=int, default=5000)
    args = parser.parse_args()

    if args.file:
        source = [line.strip() for name in args.file for line in open(name) if line.strip()]
    else:
        source = cases.lines(args.cases, args.seed, args.extreme)
    classes, counts, seen, saved = collections.defaultdict(list), collections.Counter(), collections.Counter(), []
    batch = []

    def flush():
        results = [None] * len(batch) if args.expect else run_product(args.noctus, batch)
        for line, got in zip(batch, results):
            case = oracle.load(line)
            try:
                want = oracle.judge(case)
            except Exception as error:
                print(f"the oracle broke on {line}", file=sys.stderr)
                raise error
            if args.expect:
                got, members = case["expect"], [m for m in MEMBERS if m in case["expect"]]
            else:
                members = [m for m in MEMBERS + EXTRAS if m in want or m in MEMBERS]
                if "proposal_set" not in case:
                    members = [m for m in members if m not in ("score", "strategy_name", "top_candidates")]
            counts[want.get("error") or want["action"]] += 1
            seen.update(a["policy_name"] for a in want.get("alerts", ()))
            differs = differences(want, got, members)
            if not args.expect and "error" not in got and chain_broken(got):
                differs.append("steps")
            if differs and args.extreme and "error" not in want and "error" not in got and harmless(want, got):
                seen["(refused or rounded against the order)"] += 1
                differs = []
            if differs:
                classes[tuple(differs) + (("product:" + str(got["error"]),) if "error" in got else ())].append((line, want, got))
                saved.append(line)
        batch.clear()

    for line in source:
        batch.append(line)
        if len(batch) >= args.batch:
            flush()
    if batch:
        flush()

    total = sum(counts.values())
    print(f"{total} cases: {dict(counts.most_common())}")
    print(f"alerts expected: {dict(seen.most_common())}")
    for key, found in sorted(classes.items(), key=lambda item: -len(item[1])):
        print(f"\n== {len(found)} × {', '.join(key)}")
        for line, want, got in sorted(found, key=lambda f: len(f[0]))[:args.show]:
            print("  case   ", line)
            for member in key:
                if member == "steps":
                    print("  steps  ", chain_broken(got), got.get("steps"))
                elif not member.startswith("product:"):
                    print(f"  {member}: contract {shown(want.get(member, ABSENT))}  product {shown(got.get(member, ABSENT))}")
    if args.save:
        with open(args.save, "w") as out:
            out.writelines(line + "\n" for line in saved)
    bad = sum(map(len, classes.values()))
    print(f"\n{bad} of {total} differ")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
