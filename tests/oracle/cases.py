"""Generates nasty cases for `noctus judge`: values at limits and one step beside them.

Owns: which cases there are. Never says what is right about them. Invariant: the same seed gives the same lines, and
every policy that is generated is one that docs/policies.md allows.
"""

import json
import math
import random
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from zoneinfo import ZoneInfo

import oracle

SYMBOLS = ["USDJPY"] * 4 + ["EURUSD"] * 3 + ["GBPJPY", "BTC-USD", "A.B_C", "X" * 20]
LEVEL = {"USDJPY": "151.2", "EURUSD": "1.08", "GBPJPY": "190.5", "BTC-USD": "98765.4321", "A.B_C": "0.000123456"}
STRATEGIES = ["Aurus", "Levia", "Prometheus", "Veritas"]
OTHERS = ["Unknown", "Zed", "aurus", "A", "B", "C", "D.1", "E_2", "F-3", "z" * 32]
ZONES = ["America/New_York", "Europe/London", "Asia/Tokyo", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC",
         "America/St_Johns", "Europe/Dublin", "Africa/Casablanca"]
# Changes of daylight saving in those zones, and ends of days, months and years.
MOMENTS = ["2026-11-01T06:00:00", "2026-03-08T07:00:00", "2026-10-25T01:00:00", "2026-03-29T01:00:00", "2026-04-04T15:00:00",
           "2026-10-03T15:30:00", "2026-12-31T23:59:59", "2024-02-29T12:00:00", "2026-11-23T10:00:00", "2026-11-21T00:00:00",
           "2026-02-15T02:00:00", "2026-03-22T02:00:00"]
EPS6 = Fraction(1, 10**6)
EPS9 = Fraction(1, 10**9)
MICRO = timedelta(microseconds=1)


def text(value, zeros=0):
    """A terminating fraction as plain decimal text."""
    value = Fraction(value)
    places = oracle.decimals(value)
    sign = "-" if value < 0 else ""
    whole = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    out = sign + (f"{whole[:-places]}.{whole[-places:]}" if places else whole)
    return out + (("" if places else ".") + "0" * zeros if zeros else "")


def cut(value, places):
    scale = 10**places
    return Fraction(math.floor(Fraction(value) * scale), scale)


def stamp(moment, rng=None):
    out = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if moment.microsecond:
        out += f".{moment.microsecond:06d}"
    if rng and rng.random() < 0.1:
        zone = rng.choice([timezone(timedelta(hours=9)), timezone(timedelta(hours=-3, minutes=-30))])
        return moment.astimezone(zone).isoformat()
    return out + "Z"


class Generator:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, *values):
        return self.rng.choice(values)

    def near(self, value, step=EPS6):
        """At the value, or one step beside it."""
        return Fraction(value) + step * self.pick(-1, 0, 0, 1)

    def number(self, value):
        """In a policy: a text or a JSON number, both are read exactly."""
        plain = text(value)
        if self.chance(0.4):
            return plain
        return int(plain) if "." not in plain else oracle.Decimal(plain)

    # ---- parts of a case ----

    def now(self):
        if self.chance(0.5):
            base = datetime.fromisoformat(self.pick(*MOMENTS) + "+00:00")
            base += timedelta(minutes=self.pick(-120, -60, -30, -1, 0, 0, 1, 29, 30, 59, 60, 90, 119, 120, 600, 900))
        else:
            base = datetime(2026, 11, 23, tzinfo=timezone.utc) + timedelta(minutes=self.rng.randrange(7 * 1440))
            if self.chance(0.4):
                base = base.replace(hour=self.pick(0, 6, 9, 21, 22, 23), minute=self.pick(0, 30, 59))
        return base + self.pick(0, 0, 0, -1, 1) * MICRO + timedelta(seconds=self.pick(0, 0, 30, 59))

    def quantity(self, step, least):
        kind = self.rng.randrange(9)
        if kind == 0:
            value = step * self.rng.randrange(1, 40000)
        elif kind == 1:
            value = self.near(step * self.rng.randrange(1, 50))
        elif kind == 2:
            value = self.near(least)
        elif kind == 3:
            value = Fraction(self.rng.randrange(1, 50), 10**6)
        elif kind == 4:
            value = Fraction(self.rng.randrange(1, 10**11), 10**6)
        elif kind == 5:
            value = Fraction(self.pick("20000.000001", "20000", "19999.999999", "123.456789", "0.333333", "10000"))
        else:
            value = Fraction(self.rng.randrange(1, 30000))
        return max(cut(value, 6), EPS6)

    def double(self, *edges):
        """A double at an edge, a few units in the last place beside it, or a millionth."""
        value = self.pick(*edges)
        kind = self.rng.randrange(6) if value else 2 * self.rng.randrange(2) + 2  # nothing as small as 5e-324 here
        if kind == 0:
            return math.nextafter(value, 10)
        if kind == 1:
            return math.nextafter(value, -10)
        if kind == 2:
            return round(value + self.pick(-1e-6, 1e-6), 9)
        return value

    def quality(self, limits):
        if self.chance(0.5):
            return {"missing_ratio": 0, "data_lag_min": 0}
        if self.chance(0.04):
            return None
        top, exit_ = float(limits["max_data_lag_min"]), float(limits["exit_ratio"])
        scale, flat = float(limits["max_missing_ratio"]), float(limits["flat_missing_ratio"])
        lag = self.pick(0, 5, 0.5, self.double(top, top * exit_, top * exit_ + 1, 0.0))
        missing = self.pick(0, 0.01, 0.12, self.rng.random() / 2, self.rng.random(),
                            self.double(scale, flat, scale * exit_, flat * exit_, 0.0, 1.0))
        out = {"missing_ratio": missing, "data_lag_min": lag}
        for key in out:
            if self.chance(0.03):
                out[key] = self.pick(None, -1, -1e-9, -0.0, 1.0000001, 1e6, 5, 1e-9)
            if self.chance(0.02):
                out[key] = None
        if self.chance(0.02):
            del out[self.pick("missing_ratio", "data_lag_min")]
        return out

    def quality_policy(self):
        if self.chance(0.6):
            return None
        def limits():
            out = {}
            for key, values in (("max_data_lag_min", (0, 1, 10, "30.5", 2880)), ("max_missing_ratio", (0, "0.05", "0.1", "0.033333", 1)),
                                ("slope", (0, 1, 2, 5, "0.333", 100)), ("floor", (0, "0.3", "0.123456789", 1)),
                                ("flat_missing_ratio", (0, "0.2", "0.4", "0.04", 1)), ("exit_ratio", (0, "0.5", "0.8", "0.777", 1))):
                if self.chance(0.35):
                    out[key] = self.number(Fraction(str(self.pick(*values))))
            if self.chance(0.4):
                out["on_unknown"] = self.pick("ok", "flat", "ok")
            return out
        out = limits()
        if self.chance(0.05):
            out[self.pick("slope", "floor", "exit_ratio", "on_unknown")] = None
        if self.chance(0.4):
            out["timeframes"] = {name: limits() for name in ("1h", "1d", "-") if self.chance(0.6)}
        return out

    def instruments(self, symbol):
        if self.chance(0.7):
            return None
        step = Fraction(self.pick("1", "0.01", "0.000001", "5", "0.3", "1000", "0.25", "0.000007"))
        terms = {"contract_size": self.number(Fraction(self.pick("1", "1", "1000", "0.01", "100000", "0.333"))),
                 "qty_step": self.number(step),
                 "min_qty": self.number(Fraction(self.pick(Fraction(0), step, step * 3, Fraction("0.5"), Fraction("0.000001"))))}
        for key in list(terms):
            if self.chance(0.15):
                del terms[key]
        return {} if self.chance(0.08) else {symbol: terms, "OTHER": {"qty_step": 7}}

    def window(self, now):
        """A window whose edge is often the current minute."""
        minute = now.hour * 60 + now.minute
        start = self.pick(minute, minute, minute + 1, minute - 1, 0, 540, 1320, self.rng.randrange(1440)) % 1440
        end = self.pick(minute, minute + 1, minute - 60, 1440, 360, 1320, self.rng.randrange(1440))
        end = 1440 if end == 1440 else end % 1440
        if end == start:
            end = start + 1
        return f"{start // 60:02d}:{start % 60:02d}", f"{end // 60:02d}:{end % 60:02d}"

    def open_hours(self, now):
        """(trading_hours_utc, trading_hours), one of them None; mostly open."""
        kind = self.rng.randrange(10)
        if kind < 3:
            return None, None
        if kind < 5:
            return self.pick([], ["00:00-24:00"], ["00:00-22:00"], ["22:00-06:00", "05:00-22:00"]), None
        if kind < 7:
            return ["-".join(self.window(now)) for _ in range(self.pick(1, 1, 2, 3))], None
        zone = self.pick(*ZONES)
        local = now.astimezone(ZoneInfo(zone))
        sessions = []
        for _ in range(self.pick(1, 1, 2, 4)):
            start, end = self.window(local)
            days = [day for day in oracle.DAYS if self.chance(0.7)]
            sessions.append({"days": days, "from": start, "to": end})
        if self.chance(0.3):
            sessions.append({"days": list(oracle.DAYS), "from": "00:00", "to": "24:00"})
        hours = {"zone": zone, "sessions": sessions}
        if self.chance(0.4):
            hours["holidays"] = [str((local + timedelta(days=self.pick(-1, -1, 0, 1, 5))).date()) for _ in range(self.pick(1, 2))]
        return None, hours

    def risk_limits(self, now, symbol, p):
        out = {}
        for key, values in (
                ("max_position_notional", (0, 1, 5000, 100000, 150000, "12345.6789", 10**7, 10**12)),
                ("max_trace_notional", (0, 9000, 10000, 500000, "3000000.5", 10**11)),
                ("max_order_qty", (0, 1, 500, 20000, "12345.678", "20000.0000005", 10**9)),
                ("max_daily_loss", (0, 1000, 50000, "0.5")),
                ("price_collar_pct", (0, 1, 5, "0.5", 100, "33.333"))):
            if self.chance(p):
                out[key] = self.number(Fraction(str(self.pick(*values))))
        for key, values in (("max_consecutive_losses", (0, 1, 3)), ("max_orders_per_minute", (0, 1, 3, 10)),
                            ("max_quote_age_s", (0, 1, 60, 60, 600))):
            if self.chance(p):
                out[key] = self.pick(*values)
        if self.chance(p):
            out["shrink_after_losses_pct"] = self.number(Fraction(str(self.pick(0, 30, 50, 100, "33.3", "99.999999", "0.0001"))))
        if self.chance(0.2):
            out["notional_basis"] = self.pick("qty", "price")
        if self.chance(0.15):
            out["forbidden_symbols"] = self.pick([], [symbol], ["USDJPY", "EURUSD"], ["NONE"])
        utc, hours = self.open_hours(now)
        if utc is not None:
            out["trading_hours_utc"] = utc
        if hours is not None:
            out["trading_hours"] = hours
        for key in list(out):
            if self.chance(0.03) and key not in ("shrink_after_losses_pct", "max_quote_age_s"):
                out[key] = None
        return out

    def risk(self, now, symbol):
        if self.chance(0.15):
            return None
        out = {"default": self.risk_limits(now, symbol, self.pick(0.1, 0.3, 0.6))}
        if self.chance(0.35):
            out["overrides"] = {symbol: self.risk_limits(now, symbol, self.pick(0.1, 0.3))}
            if self.chance(0.3):
                out["overrides"]["OTHER"] = {"max_order_qty": 0}
        if self.chance(0.05):
            out = self.pick({}, {"default": {}}, {"overrides": {}})
        return out

    def profiles(self):
        if self.chance(0.2):
            return None
        def terms(p):
            out = {}
            if self.chance(p):
                out["rollout_percent"] = self.number(Fraction(str(self.pick(0, 1, 7, 30, 99, 100, "33.3", "0.000001", 100, 100))))
            if self.chance(p):
                out["min_confidence"] = self.number(Fraction(str(self.pick(0, "0.4", "0.5", 1))))
            if self.chance(p):
                out["combine"] = self.pick("weighted_sum", "best_one")
            if self.chance(p):
                out["alpha_risk"] = self.number(Fraction(str(self.pick(0, "0.35", "0.5", 1, "0.123456789"))))
            return out
        def weights():
            return {name: self.number(Fraction(str(self.pick("0.5", "0.5", 1, "0.8", 0, "1.2345678", 2))))
                    for name in STRATEGIES + OTHERS if self.chance(0.7)}
        out = {"default": terms(0.7)}
        if self.chance(0.5):
            out["weights"] = weights()
        if self.chance(0.1):
            challenger = {"default": terms(0.5)}
            if self.chance(0.4):
                challenger["weights"] = weights()
            out["cohort"] = {"percent": self.pick(0, 100), "salt": self.pick("autumn", "s"), "challenger": challenger}
            if self.chance(0.5):
                out["cohort"]["version"] = self.pick(1, 2)
        return out

    def proposals(self, step, least, threshold):
        if self.chance(0.02):
            return []
        names = STRATEGIES if self.chance(0.5) else STRATEGIES + OTHERS
        out = []
        template = None
        for _ in range(self.pick(1, 2, 3, 4, 6, 8, 12, 20, 64) if self.chance(0.9) else self.pick(63, 64, 65)):
            proposal = {"strategy": self.rng.choice(names), "intent": self.pick("LONG", "LONG", "SHORT", "SHORT", "FLAT"),
                        "qty_raw": text(self.quantity(step, least)),
                        "confidence": self.pick(0.5, 0.6, 0.9, 1, self.double(threshold, 0.0, 1.0), round(self.rng.random(), 3),
                                                self.rng.random()),
                        "risk_score": self.pick(0, 0.2, 0.5, self.double(0.0, 1.0), round(self.rng.random(), 3), self.rng.random())}
            if template and self.chance(0.3):  # ties
                proposal.update({k: template[k] for k in ("qty_raw", "confidence", "risk_score") if k in template})
            if self.chance(0.05):
                proposal["qty_raw"] = self.pick("0", "-1", "1.0000001", "0.0000001", "1.0000000", "0.000001")
            if self.chance(0.04):
                proposal["confidence"] = self.pick(-0.1, 1.5, 1.0000000000000002, -0.0, -1e-9)
            if self.chance(0.04):
                proposal["risk_score"] = self.pick(-0.1, 1.2, 1.0000000000000002, -0.0)
            if self.chance(0.06):
                del proposal["risk_score"]
            template = template or proposal
            out.append(proposal)
        return out

    def price_near(self, facts, symbol):
        quote = facts["quote"]
        middle = Fraction(LEVEL.get(symbol, "10"))
        if quote and self.chance(0.7):
            middle = (Fraction(quote["bid"]) + Fraction(quote["ask"])) / 2
        factor = Fraction(self.pick("1", "1.01", "0.99", "0.95", "1.05", "0.001", "2", "1.005", "0.99999999"))
        return max(cut(middle * factor, 9), EPS9)

    def facts(self, now, symbol, age):
        level = Fraction(LEVEL.get(symbol, "10"))
        spread = cut(level * Fraction(self.pick("0", "0.0001", "0.01", "0.0000001")), 9)
        quote = {"bid": text(level, self.pick(0, 0, 2)), "ask": text(level + spread)}
        if self.chance(0.1):
            quote["bid"], quote["ask"] = quote["ask"], quote["bid"]
        if self.chance(0.03):
            quote[self.pick("bid", "ask")] = self.pick("0", "-1", text(level * 3))
        second = timedelta(seconds=1)
        quote["at"] = stamp(now - self.pick(0 * second, 0 * second, second, age * second, age * second + MICRO, age * second - MICRO,
                                            -5 * second, -5 * second - MICRO, -4 * second, 86400 * second), self.rng)
        def holding():
            value = self.pick(0, 0, 0, 500, 10000, "250.5", "0.000001", "333.333333", self.rng.randrange(1, 30000))
            return Fraction(str(value))
        return {
            "position": text(holding() * self.pick(1, -1)), "working_buy": text(holding()), "working_sell": text(holding()),
            "consecutive_losses": self.pick(0, 0, 0, 1, 2, 3, 4), "daily_pnl": text(Fraction(str(self.pick(
                0, 0, 500, -1000, "-999.999999", -60000, "-0.5", "-0.500001")))),
            "trace_notional": text(Fraction(str(self.pick(0, 0, 9000, "9999.999999", 400000)))),
            "orders_last_minute": self.pick(0, 0, 0, 1, 2, 3, 9, 10, 11),
            "quality_state": {"lag": self.pick("ok", "ok", "flat"), "missing": self.pick("ok", "ok", "scale", "flat")},
            "quote": None if self.chance(0.12) else quote,
            "rate": self.pick("1", "1", "1", "151.2", "0.006613756", "0.333333333333", "0.0000001", None),
            "halt": self.pick(*([None] * 14), "halted", "reduce_only", "reduce_only"),
        }

    # ---- a whole case ----

    def order(self, case, symbol, policies, timeframe, limits):
        now = oracle.time(case["now"])
        facts = case["facts"]
        kind = self.pick("MARKET", "MARKET", "MARKET", "LIMIT", "LIMIT", "STOP", "STOP_LIMIT")
        order = {"trace_id": f"trace-{self.rng.randrange(10**9):09d}", "account": "main", "symbol": symbol, "order_type": kind,
                 "requested_at": stamp(now - timedelta(seconds=self.pick(0, 0, 0, 1, 30)), self.rng)}
        if kind in ("LIMIT", "STOP_LIMIT"):
            order["limit_price"] = text(self.price_near(facts, symbol))
        if kind in ("STOP", "STOP_LIMIT"):
            order["stop_price"] = text(self.price_near(facts, symbol))
        if self.chance(0.4):
            order["reference_price"] = text(self.price_near(facts, symbol), self.pick(0, 2))
        if self.chance(0.4):
            order["time_in_force"] = self.pick("GTC", "IOC", "FOK", "DAY")
        if timeframe:
            order["timeframe"] = timeframe
        order["quality"] = self.quality(limits)
        if order["quality"] is None and self.chance(0.5):
            del order["quality"]
        return order

    def age_edges(self, order, now, age):
        """requested_at and valid_until at their limits."""
        second = timedelta(seconds=1)
        if self.chance(0.12):
            edge = self.pick(300, 86400, age, age, -5, -5) * second
            order["requested_at"] = stamp(now - edge + self.pick(-1, 0, 0, 1) * MICRO, self.rng)
        if self.chance(0.08):
            order["valid_until"] = stamp(now + self.pick(-1, 0, 0, 1, 10**9) * MICRO, self.rng)

    def spoil(self, order, is_set):
        """Refused shapes, several fields at once."""
        for _ in range(self.pick(1, 1, 2, 3)):
            field = self.pick("qty", "limit_price", "stop_price", "reference_price")
            if field == "qty":
                if is_set:
                    order["proposals"] = self.pick([], order["proposals"])
                else:
                    order["qty"] = self.pick("0", "-5", "1.0000005", "0.0000001", order["qty"] + ("0" if "." in order["qty"] else ".0"))
            elif field in order and self.chance(0.4):
                del order[field]
            elif self.chance(0.2):
                order[field] = None
            else:
                order[field] = self.pick("0", "-1", "0.000000001", "150", "0.0")
        if self.chance(0.3):
            order["order_type"] = self.pick("MARKET", "LIMIT", "STOP", "STOP_LIMIT")
        if not is_set and self.chance(0.2):
            order["side"] = "FLAT"

    def tune(self, case, order, symbol):
        """Puts one limit exactly at what the case reaches, or one step beside it."""
        policies, facts = case["policies"], case["facts"]
        if "request" not in case or order["side"] == "FLAT" or policies.get("risk") is None:
            if "request" in case and order["side"] != "FLAT" and self.chance(0.5):
                self.tune_position(order, facts)
            return
        now, side, qty = oracle.time(case["now"]), order["side"], Fraction(order["qty"])
        section = policies["risk"].setdefault("default", {})
        override = (policies["risk"].get("overrides") or {}).get(symbol)
        kinds = self.rng.sample(["position", "cap", "trace", "order", "collar", "losses", "rate", "pnl", "step"], self.pick(0, 1, 1, 2, 3))
        if "position" in kinds:
            self.tune_position(order, facts)
        position, buys, sells = (Fraction(facts[k]) for k in ("position", "working_buy", "working_sell"))
        d = position + buys if side == "BUY" else sells - position
        reducing = min(qty, max(Fraction(0), -d))
        policy = oracle.risk_policy(policies, symbol)
        age = oracle.exact(policy.get("max_quote_age_s", 60))
        quote = oracle.usable_quote(facts, now, age)
        contract, step, _ = oracle.instrument(policies, symbol)
        price = oracle.notional_price(order, side, quote, now, age)
        unit = Fraction(1) if policy.get("notional_basis") == "qty" else None
        if unit is None and price and facts["rate"]:
            unit = price * contract * Fraction(facts["rate"])

        def limit(key, value):
            value = max(Fraction(0), value)
            if oracle.digits(value) > 28 or oracle.decimals(value) > 28:
                return
            target = override if override is not None and key in override else section
            target[key] = self.number(value) if not key.endswith(("losses", "minute")) else int(value)

        def wide(value):
            return oracle.digits(value) + max(0, 13 - oracle.decimals(value)) > 27

        tiny = self.pick(EPS6, EPS9, Fraction(1, 10**12), Fraction(1))
        if "cap" in kinds and unit and not wide((max(Fraction(0), d) + qty - reducing) * unit):
            limit("max_position_notional", self.near((max(Fraction(0), d) + qty - reducing) * unit, tiny))
        if "trace" in kinds and unit and not wide((qty - reducing) * unit):
            limit("max_trace_notional", self.near(Fraction(facts["trace_notional"]) + (qty - reducing) * unit, tiny))
        if "order" in kinds:
            limit("max_order_qty", self.near(self.pick(qty, qty, reducing, qty / 2), self.pick(EPS6, EPS9, Fraction(1))))
        if "collar" in kinds and quote and order["order_type"] in ("LIMIT", "STOP_LIMIT"):
            percent = Fraction(str(self.pick("0", "1", "5", "0.5", "10")))
            limit("price_collar_pct", percent)
            mid = (quote[0] + quote[1]) / 2
            edge = mid * (1 + self.pick(1, -1) * percent / 100)
            order["limit_price"] = text(max(EPS9, self.near(cut(edge, 9), EPS9)))
        if "losses" in kinds:
            limit("max_consecutive_losses", Fraction(max(0, facts["consecutive_losses"] + self.pick(-1, 0, 0, 1))))
        if "rate" in kinds:
            limit("max_orders_per_minute", Fraction(max(0, facts["orders_last_minute"] + self.pick(0, 1, 1))))
        if "pnl" in kinds:
            limit("max_daily_loss", self.near(max(Fraction(0), -Fraction(facts["daily_pnl"]))))
        if "step" in kinds:
            order["qty"] = text(max(EPS6, self.near(step * self.rng.randrange(1, 2000))))

    def tune_position(self, order, facts):
        """The order closes the position, all but a step of it, or goes through zero by a step."""
        qty, sign = Fraction(order["qty"]), -1 if order["side"] == "BUY" else 1
        working = "working_buy" if order["side"] == "BUY" else "working_sell"
        part = self.pick(qty, qty, qty / 2, qty * 3)
        facts["position"] = text(cut(self.near(part) + Fraction(facts[working]), 6) * sign)

    def case(self, index):
        now, symbol = self.now(), self.pick(*SYMBOLS)
        policies = {}
        for kind, value in (("quality", self.quality_policy()), ("instruments", self.instruments(symbol)),
                            ("risk", self.risk(now, symbol)), ("profiles", self.profiles())):
            if value is not None:
                policies[kind] = value
        timeframe = self.pick(None, "1h", "1h", "1d", "4h", "-")
        limits = oracle.quality_policy(policies, timeframe)
        age = int(oracle.exact(oracle.risk_policy(policies, symbol).get("max_quote_age_s", 60)))
        case = {"name": f"case-{index}", "now": stamp(now), "policies": policies, "facts": self.facts(now, symbol, age)}
        is_set = self.chance(0.35)
        order = self.order(case, symbol, policies, timeframe, limits)
        _, step, least = oracle.instrument(policies, symbol)
        self.age_edges(order, now, age)
        if is_set:
            case["proposal_set"] = order
            order["idempotency_key"] = f"key-{self.rng.randrange(10**9):09d}"
            order["timeframe"] = order.get("timeframe") or "1h"
            order["as_of"] = stamp(now)
            order["proposals"] = self.proposals(step, least, float(oracle.profile(policies)["min_confidence"]))
            if self.chance(0.1):
                facts = case["facts"]
                facts["position"], facts["working_buy"], facts["working_sell"] = text(self.pick(-1, 1) * 10**4), "0", "0"
                facts["oldest_lot_arm"] = self.pick("champion", "challenger", None)
        else:
            case["request"] = order
            order["side"] = self.pick(*(["BUY", "SELL"] * 8), "FLAT")
            order["qty"] = "0" if order["side"] == "FLAT" else text(self.quantity(step, least), self.pick(0, 0, 0, 1))
            if self.chance(0.3):
                order["strategy"] = self.pick(*STRATEGIES)
            if self.chance(0.1):
                order[self.pick("stop_loss", "take_profit")] = text(self.price_near(case["facts"], symbol))
            if self.chance(0.3):
                order["idempotency_key"] = f"key-{self.rng.randrange(10**9):09d}"
            self.tune(case, order, symbol)
            if self.chance(0.05):  # v1.0, as little as there may be
                for field in ("account", "order_type", "time_in_force", "quality", "timeframe", "strategy"):
                    if (field != "order_type" or order["order_type"] == "MARKET") and self.chance(0.7):
                        order.pop(field, None)
                for field in ("valid_until", "reference_price", "stop_loss", "timeframe", "decision_id", "idempotency_key"):
                    if self.chance(0.2) and field not in order:
                        order[field] = None
        if self.chance(0.12):
            case["facts"]["strategy_halts"] = {name: self.pick("halted", "halted", "reduce_only")
                                               for name in STRATEGIES + ["Zed", "A"] if self.chance(0.4)}
        if self.chance(0.05):
            self.spoil(order, is_set)
        return case


class Exact(json.JSONEncoder):
    """Decimals as JSON numbers, digit by digit."""

    def iterencode(self, value, _one_shot=False):
        marks = []

        def mark(v):
            if isinstance(v, oracle.Decimal):
                marks.append(format(v, "f"))
                return f"\u0001{len(marks) - 1}\u0001"
            if isinstance(v, dict):
                return {k: mark(x) for k, x in v.items()}
            return [mark(x) for x in v] if isinstance(v, list) else v

        out = "".join(super().iterencode(mark(value), _one_shot))
        for index, plain in enumerate(marks):
            out = out.replace(f'"\\u0001{index}\\u0001"', plain)
        yield out


def stretch(case, rng):
    """Makes numbers of the case huge, tiny or long, up to what the wire can carry; policies up to 28 digits."""
    def long(whole, places):
        digits = rng.randrange(1, 10 ** rng.randrange(1, whole + places + 1))
        return text(Fraction(digits, 10 ** rng.choice([0, places // 2, places])))

    facts, order = case["facts"], case.get("request") or case["proposal_set"]
    for key in ("position", "working_buy", "working_sell", "trace_notional"):
        if rng.random() < 0.3:
            facts[key] = ("-" if key == "position" and rng.random() < 0.5 else "") + cap19(long(19, 6))
    if facts["rate"] and rng.random() < 0.5:
        facts["rate"] = long(8, 12)
    if facts["quote"] and rng.random() < 0.5:
        facts["quote"]["bid"] = facts["quote"]["ask"] = cap19(long(14, 9))
    for key in ("limit_price", "stop_price", "reference_price"):
        if order.get(key) and rng.random() < 0.5:
            order[key] = cap19(long(14, 9))
    if "qty" in order and order["side"] != "FLAT" and rng.random() < 0.7:
        order["qty"] = cap19(long(19, 6))
    for proposal in order.get("proposals", ()):
        if rng.random() < 0.5:
            proposal["qty_raw"] = cap19(long(17, 6))
    limits = (case["policies"].get("risk") or {}).get("default") or {}
    for key in ("max_position_notional", "max_trace_notional", "max_order_qty"):
        if limits.get(key) is not None and rng.random() < 0.7:
            limits[key] = long(19, 9)
    own = (case["policies"].get("instruments") or {}).get(order["symbol"]) or {}
    for key, whole, places in (("contract_size", 12, 9), ("qty_step", 8, 6), ("min_qty", 8, 6)):
        if own.get(key) is not None and rng.random() < 0.5:
            own[key] = long(whole, places)
    return case


def cap19(plain):
    """At most 19 digits before the point."""
    whole, point, rest = plain.partition(".")
    return whole[-19:].lstrip("0").rjust(1, "0") + point + rest if len(whole) > 19 else plain


def lines(count, seed, extreme=False):
    """`count` cases as JSON lines."""
    generator = Generator(seed)
    for index in range(count):
        case = generator.case(index)
        yield json.dumps(stretch(case, generator.rng) if extreme else case, cls=Exact)
