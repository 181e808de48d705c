"""An independent reference of `noctus judge`, written from docs/contract.md alone (C-KEY-5, shape, C-QUAL, C-DEC, C-RISK).

Owns: what the contract's sentences say about one case, in exact rational arithmetic. Never reads the product's code or
output. Invariant: `judge` is pure; the only rounding is the one that the contract names (down to 6 decimals, down to
qty_step). Where the contract leaves a choice, the choice is made in one place and marked `CHOICE`.
"""

import json
import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

MICRO = timedelta(microseconds=1)
STEP6 = Fraction(1, 10**6)
ZERO = Fraction(0)

PLAN_QUALITY = {
    "max_data_lag_min": "30", "max_missing_ratio": "0.05", "slope": "2", "floor": "0.3",
    "flat_missing_ratio": "0.40", "exit_ratio": "0.8", "on_unknown": "flat",
}
PLAN_PROFILE = {"rollout_percent": "30", "min_confidence": "0.4", "combine": "weighted_sum", "alpha_risk": "0.35"}
PLAN_WEIGHTS = {"Aurus": "0.8", "Levia": "0.7", "Prometheus": "0.9", "Veritas": "1.0"}
PLAN_RISK = {
    "default": {
        "max_position_notional": "100000", "max_order_qty": "20000", "trading_hours_utc": ["00:00-22:00"],
        "max_consecutive_losses": "3", "shrink_after_losses_pct": "50", "forbidden_symbols": [],
    },
    "overrides": {"USDJPY": {"max_position_notional": "150000"}},
}
PLAN_INSTRUMENTS = {
    "USDJPY": {"contract_size": "1", "qty_step": "1", "min_qty": "1"},
    "EURUSD": {"contract_size": "1", "qty_step": "0.01", "min_qty": "0.01"},
}
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
SEVERITY = {
    "do.expired": "LOW",
    "PLAN.QUALITY.UNKNOWN": "HIGH", "PLAN.QUALITY.DATA_LAG": "HIGH", "PLAN.QUALITY.MISSING_RATIO": "MEDIUM",
    "PLAN.QUALITY.HELD": "LOW",
    "risk.halted": "CRITICAL", "risk.forbidden_symbol": "HIGH", "risk.trading_window": "MEDIUM",
    "risk.price_unavailable": "HIGH", "risk.price_collar": "HIGH", "risk.consecutive_losses": "LOW",
    "risk.max_order_qty": "MEDIUM", "risk.rate": "HIGH", "risk.daily_loss": "HIGH", "risk.max_trace_notional": "HIGH",
    "risk.max_position_notional": "HIGH", "risk.below_min_qty": "LOW", "risk.gate_error": "CRITICAL",
}


class Refused(Exception):
    """A shape that is refused before the ledger; str() is `invalid_<field>`."""


def load(line):
    """One case. Numbers with a point stay decimals, so that nothing passes through a float unseen."""
    return json.loads(line, parse_float=Decimal)


# ---- numbers and times ------------------------------------------------------------------------------------------

def exact(value):
    return Fraction(str(value))


def double(value):
    """A double of the wire as its shortest decimal; None if it is absent, NaN or infinite (C-QUAL-2, C-QUAL-6)."""
    if value is None:
        return None
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        return None
    return Fraction(repr(number))


def down(value, step=STEP6):
    return value // step * step


def decimals(value):
    """How many decimals a terminating decimal has."""
    count, base = 0, value.denominator
    while base > 1:
        value, count = value * 10, count + 1
        base = value.denominator
    return count


def digits(value):
    """How many digits an exact decimal needs; a quotient that does not terminate counts its integer part only."""
    base = value.denominator
    while base % 2 == 0:
        base //= 2
    while base % 5 == 0:
        base //= 5
    if base != 1:
        return len(str(abs(value) // 1))
    shift = decimals(value)
    return len(str(abs(value.numerator) * 10**shift // value.denominator).lstrip("0"))


TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?([Zz]|[+-]\d\d:\d\d)$")


def time(text):
    day, clock, fraction, zone = TIME.match(text).groups()
    zone = "+00:00" if zone in "Zz" else zone
    return datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0').ljust(6, '0')}{zone}").astimezone(timezone.utc)


# ---- policies ---------------------------------------------------------------------------------------------------

def quality_policy(policies, timeframe):
    given = policies.get("quality") or {}
    limits = dict(PLAN_QUALITY)
    for part in (given, (given.get("timeframes") or {}).get(timeframe) or {}):
        limits.update({k: v for k, v in part.items() if v is not None and k != "timeframes"})
    return {k: v if k == "on_unknown" else exact(v) for k, v in limits.items()}


def risk_policy(policies, symbol):
    """What is in force for the symbol: overrides replace key by key; absent and null are off (C-RISK notes 3, 6)."""
    given = policies["risk"] if "risk" in policies else PLAN_RISK
    limits = dict(given.get("default") or {})
    override = (given.get("overrides") or {}).get(symbol) or {}
    limits.update(override)
    # docs/policies.md: an override that gives one kind of hours replaces the default's other kind.
    for mine, other in (("trading_hours", "trading_hours_utc"), ("trading_hours_utc", "trading_hours")):
        if override.get(mine) is not None and other not in override:
            limits[other] = None
    return {k: v for k, v in limits.items() if v is not None}


def profile(policies, arm="champion"):
    given = policies.get("profiles") or {}
    terms = {**PLAN_PROFILE, **{k: v for k, v in (given.get("default") or {}).items() if v is not None}}
    weights = given.get("weights")
    weights = PLAN_WEIGHTS if weights is None else weights
    if arm == "challenger":
        challenger = given["cohort"]["challenger"] or {}
        terms.update({k: v for k, v in (challenger.get("default") or {}).items() if v is not None})
        if challenger.get("weights") is not None:
            weights = challenger["weights"]
    return {
        "rollout": exact(terms["rollout_percent"]), "min_confidence": exact(terms["min_confidence"]),
        "alpha": exact(terms["alpha_risk"]), "combine": terms["combine"],
        "weights": {k: exact(v) for k, v in weights.items()},
    }


def instrument(policies, symbol):
    given = policies["instruments"] if "instruments" in policies else PLAN_INSTRUMENTS
    terms = {k: v for k, v in (given.get(symbol) or {}).items() if v is not None}
    return (exact(terms.get("contract_size", 1)), exact(terms.get("qty_step", "0.000001")), exact(terms.get("min_qty", 0)))


# ---- shape ------------------------------------------------------------------------------------------------------

def check_shape(order, is_set):
    """Raises Refused with the first of qty, proposals, limit_price, stop_price, reference_price that is wrong."""
    if is_set:
        if not 1 <= len(order["proposals"]) <= 64:
            raise Refused("invalid_proposals")
    else:
        qty = exact(order["qty"])
        if decimals(qty) > 6 or (qty != 0 if order["side"] == "FLAT" else qty <= 0):
            raise Refused("invalid_qty")
    kind = order.get("order_type") or "MARKET"
    for field, types in (("limit_price", ("LIMIT", "STOP_LIMIT")), ("stop_price", ("STOP", "STOP_LIMIT"))):
        price = order.get(field)
        if (price is not None) != (kind in types) or (price is not None and exact(price) <= 0):
            raise Refused("invalid_" + field)
    for field in ("reference_price", "stop_loss", "take_profit"):
        if order.get(field) is not None and exact(order[field]) <= 0:
            raise Refused("invalid_" + field)
    for proposal in order.get("proposals") or []:
        if proposal.get("price_hint") is not None and exact(proposal["price_hint"]) <= 0:
            raise Refused("invalid_price_hint")


# ---- C-KEY-5 ----------------------------------------------------------------------------------------------------

def expired(order, now):
    quick = (order.get("order_type") or "MARKET") == "MARKET" or (order.get("time_in_force") or "GTC") in ("IOC", "FOK")
    requested = time(order["requested_at"])
    if now - requested > (timedelta(minutes=5) if quick else timedelta(hours=24)):
        return True
    if requested - now > timedelta(seconds=5):
        return True
    return order.get("valid_until") is not None and time(order["valid_until"]) < now


# ---- C-QUAL -----------------------------------------------------------------------------------------------------

def judge_quality(quality, limits, state):
    """(verdict, multiplier, next state, alerts)"""
    quality = quality or {}
    lag, missing = double(quality.get("data_lag_min")), double(quality.get("missing_ratio"))
    if lag is not None and lag < 0:
        lag = None
    if missing is not None and not 0 <= missing <= 1:
        missing = None

    def states(memory):
        flat, scale, exit_ = limits["flat_missing_ratio"], limits["max_missing_ratio"], limits["exit_ratio"]
        top = limits["max_data_lag_min"]
        of_lag = of_missing = None
        if lag is not None:
            of_lag = "flat" if lag > top or (memory["lag"] == "flat" and lag > top * exit_) else "ok"
        if missing is not None:
            if missing > flat or (memory["missing"] == "flat" and missing > flat * exit_):
                of_missing = "flat"
            elif missing > scale or (memory["missing"] != "ok" and missing > scale * exit_):
                of_missing = "scale"
            else:
                of_missing = "ok"
        return of_lag, of_missing

    def verdict(of_lag, of_missing):
        unknown = "flat" if limits["on_unknown"] == "flat" else "ok"
        seen = (of_lag or unknown, of_missing or unknown)
        return "FLAT" if "flat" in seen else "SCALE" if "scale" in seen else "OK"

    now = states(state)
    worst = verdict(*now)
    if worst == "SCALE":
        multiplier = 1 - limits["slope"] * max(ZERO, missing - limits["max_missing_ratio"])
        multiplier = min(max(multiplier, limits["floor"]), Fraction(1))
    else:
        multiplier = Fraction(0 if worst == "FLAT" else 1)
    alerts = []
    if lag is None or missing is None:
        alerts.append("PLAN.QUALITY.UNKNOWN")
    if lag is not None and lag > limits["max_data_lag_min"]:
        alerts.append("PLAN.QUALITY.DATA_LAG")
    if missing is not None and missing > limits["max_missing_ratio"]:
        alerts.append("PLAN.QUALITY.MISSING_RATIO")
    if worst == "FLAT" and verdict(*states({"lag": "ok", "missing": "ok"})) != "FLAT":
        alerts.append("PLAN.QUALITY.HELD")
    following = {"lag": now[0] or state["lag"], "missing": now[1] or state["missing"]}
    return worst, multiplier, following, alerts


# ---- C-DEC ------------------------------------------------------------------------------------------------------

def engine(order, profile_, halts):
    """(side or FLAT, quantity before rollout, after rollout, score, strategy_name, top_candidates)"""
    last = {}
    for proposal in order["proposals"]:
        last[proposal["strategy"]] = proposal
    scored = []
    for name, proposal in last.items():
        weight = profile_["weights"].get(name, ZERO)
        confidence = double(proposal["confidence"])
        given = proposal.get("risk_score")
        risk = double("0.5" if given is None else given)
        qty = exact(proposal["qty_raw"])
        if (proposal["intent"] == "FLAT" or weight <= 0 or halts.get(name) == "halted"
                or confidence is None or not 0 <= confidence <= 1 or risk is None or not 0 <= risk <= 1
                or confidence < profile_["min_confidence"] or qty <= 0 or decimals(qty) > 6):
            continue
        score = (1 - profile_["alpha"]) * weight * confidence + profile_["alpha"] * (1 - risk)
        scored.append({"strategy": name, "intent": proposal["intent"], "score": score, "weight": weight,
                       "qty": qty, "confidence": confidence})
    scored.sort(key=lambda c: (-c["score"], -c["weight"], c["strategy"].encode()))
    side, qty = None, ZERO
    if profile_["combine"] == "best_one":
        if scored:
            side, qty = scored[0]["intent"], scored[0]["qty"]
    else:
        sums = {intent: sum((c["qty"] * c["weight"] * c["confidence"] for c in scored if c["intent"] == intent), ZERO)
                for intent in ("LONG", "SHORT")}
        if sums["LONG"] != sums["SHORT"]:
            side = max(sums, key=sums.get)
            qty = sums[side]
    winners = [c for c in scored if c["intent"] == side]
    best = winners[0] if winners else None
    contributors = winners[:1] if profile_["combine"] == "best_one" else winners
    top = [{k: c[k] for k in ("strategy", "intent", "score")} for c in scored[:5]]
    return {
        "side": {"LONG": "BUY", "SHORT": "SELL", None: "FLAT"}[side], "raw": qty,
        "qty": down(qty * profile_["rollout"] / 100), "score": best and best["score"],
        "strategy_name": best and best["strategy"], "top_candidates": top,
        "contributors": [c["strategy"] for c in contributors],
    }


def cohort_engine(order, policies, facts):
    """The arm is drawn; a result that reduces the position is judged by the arm of its oldest open lot (C-DEC-8)."""
    halts = facts.get("strategy_halts") or {}
    cohort = (policies.get("profiles") or {}).get("cohort")
    if not cohort:
        return engine(order, profile(policies), halts)
    percent = exact(cohort["percent"])
    if percent not in (0, 100):
        raise NotImplementedError("the contract does not name the hash: only 0 and 100 % can be expressed")
    arm = "challenger" if percent == 100 else "champion"
    result = engine(order, profile(policies, arm), halts)
    position = exact(facts["position"])
    reduces = (result["side"] == "SELL" and position > 0) or (result["side"] == "BUY" and position < 0)
    oldest = facts.get("oldest_lot_arm")
    if reduces and oldest and oldest != arm:
        return engine(order, profile(policies, oldest), halts)
    return result


# ---- C-RISK -----------------------------------------------------------------------------------------------------

def minutes(text):
    return int(text[:2]) * 60 + int(text[3:5])


def in_window(start, end, clock):
    """clock in seconds of the day; half-open, may cross midnight."""
    start, end = minutes(start) * 60, minutes(end) * 60
    return start <= clock < end if start < end else clock >= start or clock < end


def is_open(policy, now):
    windows = policy.get("trading_hours_utc")
    hours = policy.get("trading_hours")
    if hours is None:
        clock = now.hour * 3600 + now.minute * 60 + now.second
        return not windows or any(in_window(*(p.strip() for p in w.split("-")), clock) for w in windows)
    # CHOICE: sessions are compared with the wall clock of the zone, so they follow daylight saving.
    local = now.astimezone(ZoneInfo(hours["zone"]))
    clock, today = local.hour * 3600 + local.minute * 60 + local.second, local.date()
    holidays = {date.fromisoformat(day) for day in hours.get("holidays") or []}
    if today in holidays:
        return False
    if not hours.get("sessions"):
        return True
    yesterday = today - timedelta(days=1)
    for session in hours["sessions"]:
        start, end = minutes(session["from"]) * 60, minutes(session["to"]) * 60
        if DAYS[today.weekday()] in session["days"] and clock >= start and (clock < end or end < start):
            return True
        if (end < start and DAYS[yesterday.weekday()] in session["days"] and yesterday not in holidays and clock < end):
            return True
    return False


def usable_quote(facts, now, age):
    quote = facts.get("quote")
    if quote is None:
        return None
    bid, ask = exact(quote["bid"]), exact(quote["ask"])
    behind = Fraction((now - time(quote["at"])) // MICRO, 10**6)
    return (bid, ask) if 0 < bid <= ask and -5 <= behind <= age else None


def notional_price(order, side, quote, now, age):
    """Note 3: the price that a notional counts with, or None."""
    kind = order.get("order_type") or "MARKET"
    quoted = quote and (quote[1] if side == "BUY" else quote[0])
    reference = None
    if order.get("reference_price") is not None:
        if Fraction((now - time(order["requested_at"])) // MICRO, 10**6) <= age:
            reference = exact(order["reference_price"])
    if kind == "MARKET":
        return quoted or reference
    limited = kind in ("LIMIT", "STOP_LIMIT")
    own = exact(order["limit_price" if limited else "stop_price"])
    if quoted or reference:
        return max(own, quoted or reference)
    return own if side == "BUY" and limited else None


def gate(order, side, quantity, multiplier, policies, facts, now, halts_of):
    """(decided quantity, its opening part, alerts, the opening part's notional or None without a price)"""
    symbol = order["symbol"]
    policy = risk_policy(policies, symbol)
    contract, step, least = instrument(policies, symbol)
    limit = {k: exact(policy[k]) for k in (
        "price_collar_pct", "max_consecutive_losses", "max_order_qty", "max_orders_per_minute", "max_daily_loss",
        "max_trace_notional", "max_position_notional") if k in policy}
    age = exact(policy.get("max_quote_age_s", 60))
    position, buys, sells = (exact(facts[k]) for k in ("position", "working_buy", "working_sell"))
    d = position + buys if side == "BUY" else sells - position
    reducing = min(quantity, max(ZERO, -d))
    # CHOICE: "rounded down to 6 decimals" is the whole that is left, which matters only if the position has more decimals.
    opening = quantity - reducing
    alerts = []

    def keep(less_reducing, less_opening, name):
        nonlocal reducing, opening
        if less_reducing + less_opening < reducing + opening:
            total = down(less_reducing + less_opening)
            reducing = min(less_reducing, total)
            opening = total - reducing
            alerts.append(name)

    def stop(name):
        keep(ZERO, ZERO, name)

    def cut(less_opening, name):
        keep(reducing, min(opening, max(ZERO, less_opening)), name)

    cut(opening * multiplier, "quality")
    alerts.clear()  # the quality gate has said why
    if "halted" in halts_of:
        stop("risk.halted")
    elif "reduce_only" in halts_of:
        cut(ZERO, "risk.halted")
    if symbol in (policy.get("forbidden_symbols") or []):
        stop("risk.forbidden_symbol")
    if not is_open(policy, now):
        stop("risk.trading_window")

    quote = usable_quote(facts, now, age)
    by_qty = policy.get("notional_basis") == "qty"
    price = notional_price(order, side, quote, now, age)
    rate = facts.get("rate")
    unit = None
    if by_qty:
        unit = Fraction(1)
    elif price is not None and rate is not None:
        unit = price * contract * exact(rate)
    limits_money = "max_trace_notional" in limit or "max_position_notional" in limit
    limited = (order.get("order_type") or "MARKET") in ("LIMIT", "STOP_LIMIT")
    collared = limited and "price_collar_pct" in limit
    if (limits_money and unit is None) or (collared and quote is None):
        cut(ZERO, "risk.price_unavailable")
    if collared and quote is not None:
        mid = (quote[0] + quote[1]) / 2
        if abs(exact(order["limit_price"]) - mid) > mid * limit["price_collar_pct"] / 100:
            stop("risk.price_collar")

    losses = limit.get("max_consecutive_losses", ZERO)
    if losses > 0 and exact(facts["consecutive_losses"]) >= losses:
        shrink = exact(policy.get("shrink_after_losses_pct", 50))
        cut(opening * (1 - shrink / 100), "risk.consecutive_losses")
    if "max_order_qty" in limit and reducing + opening > limit["max_order_qty"]:
        most = limit["max_order_qty"]
        kept = min(reducing, most)
        keep(kept, most - kept, "risk.max_order_qty")
    if "max_orders_per_minute" in limit and exact(facts["orders_last_minute"]) >= limit["max_orders_per_minute"]:
        stop("risk.rate")
    # CHOICE (as the vectors): a day with a profit has a negative realised loss, so a limit of 0 lets it open.
    if "max_daily_loss" in limit and -exact(facts["daily_pnl"]) >= limit["max_daily_loss"]:
        cut(ZERO, "risk.daily_loss")
    if unit is not None and "max_trace_notional" in limit:
        room = limit["max_trace_notional"] - exact(facts["trace_notional"])
        if opening * unit > room:
            cut(max(ZERO, room) / unit, "risk.max_trace_notional")
    if unit is not None and "max_position_notional" in limit:
        cap, held = limit["max_position_notional"], max(ZERO, d)
        if (held + opening) * unit > cap:
            cut(max(ZERO, cap / unit - held), "risk.max_position_notional")

    total = reducing + opening
    rounded = down(total, step)
    if total > 0 and (rounded == 0 or rounded < least):
        stop("risk.below_min_qty")
        rounded = ZERO
    opening = max(ZERO, rounded - reducing)
    return rounded, opening, alerts, None if unit is None else opening * unit


# ---- the whole --------------------------------------------------------------------------------------------------

def named(alerts):
    return [{"policy_name": name, "severity": SEVERITY[name]} for name in alerts]


def judge(case):
    """The members that a case's `expect` may name, numbers as Fractions; or {"error": …} for a refused shape."""
    is_set = "proposal_set" in case
    order = case["proposal_set"] if is_set else case["request"]
    facts, policies, now = case["facts"], case.get("policies") or {}, time(case["now"])
    state = facts["quality_state"]
    try:
        check_shape(order, is_set)
    except Refused as why:
        return {"error": str(why)}
    if expired(order, now):
        return {"action": "REJECT", "decided_qty": ZERO, "alerts": named(["do.expired"]), "next_quality_state": dict(state)}
    limits = quality_policy(policies, order.get("timeframe"))
    verdict, multiplier, following, alerts = judge_quality(order.get("quality"), limits, state)
    result = {"quality": {"verdict": verdict, "multiplier": multiplier}, "next_quality_state": following}
    halts = facts.get("strategy_halts") or {}
    halts_of = {facts.get("halt")}
    if is_set:
        chosen = cohort_engine(order, policies, facts)
        side, quantity = chosen["side"], chosen["qty"]
        result.update({k: chosen[k] for k in ("score", "strategy_name", "top_candidates")})
        result["requested_qty"] = chosen["raw"]
        # CHOICE: reduce_only of any strategy whose quantity is in the order holds for the order (rule 1 names the
        # strategy as a scope, and does not say whose order an order of several strategies is).
        halts_of.update(halts.get(name) for name in chosen["contributors"])
    else:
        side, quantity = order["side"], exact(order["qty"])
        result["requested_qty"] = quantity
        halts_of.add(halts.get(order.get("strategy")))
    opening, notional = ZERO, None
    if side != "FLAT":
        quantity, opening, fired, notional = gate(order, side, quantity, multiplier, policies, facts, now, halts_of)
        alerts = alerts + fired
    result["action"] = side if quantity > 0 else "FLAT"
    result["decided_qty"], result["opening_qty"] = quantity, opening
    result["alerts"] = named(alerts)
    if notional is not None:
        result["opening_notional"] = notional
    return result
