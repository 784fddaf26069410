"""What the comparisons of a set of records must be, computed from scratch with fractions: nothing here is taken from
scripts/accuracy.lua, so that the two can be held against each other.

    rows = reference.compare(records)                  # {(basis, pair, feed, phase_id, agg_round, at): row}

`records` are api and contract records as the topics carry them, in any order: all is sorted by event time first. A row is
the record that is stored, its fields in the order of the topic price_deviation; times in it are RFC 3339.
"""

import bisect
import calendar
import re
import time
from decimal import Decimal
from fractions import Fraction

S = 10**9
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00(?::?00)?)")


def instant(text):
    """RFC 3339 in UTC (or as PostgreSQL writes it) -> nanoseconds since 1970."""
    found = _STAMP.fullmatch(text)
    seconds = calendar.timegm(time.strptime(f"{found[1]} {found[2]}", "%Y-%m-%d %H:%M:%S"))
    return seconds * S + int((found[3] or "0").ljust(9, "0"))


def stamp(ns):
    """Nanoseconds since 1970 -> RFC 3339 in UTC; a fraction in as many groups of three digits as it needs."""
    seconds, rest = divmod(ns, S)
    digits = f"{rest:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + (f".{digits}Z" if digits else "Z")


def half_even(value, places):
    """A fraction as text, rounded once."""
    scaled = value * 10**places
    whole = round(scaled)                  # Python rounds a Fraction half to even
    sign, digits = "-" if whole < 0 else "", str(abs(whole)).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def scale(text):
    return max(0, -Decimal(text).as_tuple().exponent)


def mean_text(prices):
    """sum / n: at the sum's scale, longer only until exact, 18 digits at most."""
    mean = sum(map(Fraction, prices)) / len(prices)
    places = max(map(scale, prices))
    while places < 18 and (mean * 10**places).denominator != 1:
        places += 1
    return half_even(mean, places)


class Series:
    """Values by time; a later one as of the same time replaces the first."""

    def __init__(self):
        self.times, self.values = [], []

    def put(self, at, value):
        i = bisect.bisect_left(self.times, at)
        if i < len(self.times) and self.times[i] == at:
            self.values[i] = value
        else:
            self.times.insert(i, at)
            self.values.insert(i, value)

    def at(self, when):
        """-> (time, value) of the newest not after `when`, or None."""
        i = bisect.bisect_right(self.times, when)
        return (self.times[i - 1], self.values[i - 1]) if i else None


class Pair:
    """All that is known of one pair."""

    def __init__(self):
        self.apis = {}        # source: Series of price texts
        self.polls = set()    # times at which a contract of the pair was looked at
        self.rounds = {}      # feed: {(phase_id, agg_round): [first seen, updated_at, record]}

    def see(self, record):
        seen, updated = instant(record["observed_at"]), instant(record["updated_at"])
        self.polls.add(seen)
        if record.get("caught_up"):        # as if somebody had looked when it was published
            seen = min(seen, updated)
        rounds = self.rounds.setdefault(record["feed"], {})
        known = rounds.setdefault((record["phase_id"], str(record["agg_round"])), [seen, updated, record])
        if seen < known[0]:
            known[:] = [seen, updated, record]

    def in_force(self, feed, at, known_until):
        """The newest round of the feed as of `at`, of those seen until `known_until`."""
        found = [(updated, seen, record) for seen, updated, record in self.rounds[feed].values()
                 if updated <= at and seen <= known_until]
        return max(found, key=lambda r: r[:2])[2] if found else None


def row(basis, pair, apis, record, at, options):
    """One comparison, as the pipeline writes it."""
    values = [found for series in apis.values() if (found := series.at(at)) and at - found[0] <= options["max_age"]]
    out = {"kind": "deviation", "basis": basis, "pair": pair, "feed": record["feed"], "phase_id": record["phase_id"],
           "agg_round": str(record["agg_round"]), "at": stamp(at), "contract_price": record["price"]}
    over = False
    if len(values) >= options["min_sources"]:
        prices = [price for _, price in values]
        exact = [Fraction(price) for price in prices]
        total, n = sum(exact), len(exact)
        deviation = half_even(100 * (n * Fraction(record["price"]) - total) / total, 6)
        out["ref_price"] = mean_text(prices)
        out["deviation_pct"] = deviation
        out["ref_spread_pct"] = half_even((max(exact) - min(exact)) * 100 * n / total, 6)
        out["ref_age_s"] = (at - min(when for when, _ in values)) // S
        over = abs(Fraction(deviation)) > Fraction(record.get("band_pct") or options["band"])
    heartbeat = record["heartbeat_s"] * S if record.get("heartbeat_s") else options["heartbeat"]
    out["n_sources"] = len(values)
    if at - instant(record["updated_at"]) > heartbeat + options["grace"]:
        out["verdict"] = "stale"
    elif len(values) < options["min_sources"]:
        out["verdict"] = "inconclusive"
    else:
        out["verdict"] = "over_band" if over else "ok"
    return out | {"schema": 1}


def compare(records, max_age=20 * 60 * S, min_sources=2, settle=15 * S, grace=300 * S, heartbeat=3600 * S, band="0.5"):
    """Every comparison that follows from the records, by its key.

    "now": at each time of an API value. What the contract said then is known at the first look at it from then on, but
    no later than `settle` after it. "update": at each round's updated_at."""
    options = {"max_age": max_age, "min_sources": min_sources, "grace": grace, "heartbeat": heartbeat, "band": band}
    pairs, rows = {}, {}

    def add(basis, name, pair, record, at):
        made = row(basis, name, pair.apis, record, at, options)
        rows[(basis, name, made["feed"], made["phase_id"], made["agg_round"], made["at"])] = made

    for record in records:
        pair = pairs.setdefault(record["pair"], Pair())
        if record["kind"] == "api":
            pair.apis.setdefault(record["source"], Series()).put(instant(record["fetched_at"]), str(record["price"]))
        elif record["kind"] == "contract":
            pair.see(record)
    for name, pair in pairs.items():
        polls = sorted(pair.polls)
        for at in {at for series in pair.apis.values() for at in series.times}:
            next_poll = bisect.bisect_left(polls, at)
            known_until = min(polls[next_poll] if next_poll < len(polls) else at + settle, at + settle)
            for feed in pair.rounds:
                record = pair.in_force(feed, at, known_until)
                if record:
                    add("now", name, pair, record, at)
        for feed in pair.rounds.values():
            for _, updated, record in feed.values():
                add("update", name, pair, record, updated)
    return rows


def mark_caught_up(records):
    """Contract records as a table holds them, each round once, with the field that the table has not: a round that was
    first seen no earlier than a later one was caught up."""
    def order(record):
        return record["phase_id"], int(record["agg_round"])
    for record in records:
        record["caught_up"] = any(
            other["feed"] == record["feed"] and order(other) > order(record)
            and instant(other["observed_at"]) <= instant(record["observed_at"]) for other in records)
    return records


def differences(found, expected):
    """What differs between two {key: row}, in words, one line each; empty when nothing does."""
    said = [f"missing: {key}" for key in expected.keys() - found.keys()]
    said += [f"not expected: {found[key]}" for key in found.keys() - expected.keys()]
    for key in expected.keys() & found.keys():
        wrong = {f: (found[key].get(f), value) for f, value in expected[key].items() if found[key].get(f) != value}
        wrong |= {f: (value, None) for f, value in found[key].items() if f not in expected[key]}
        if wrong:
            said.append(f"{key}: (found, expected) {wrong}")
    return sorted(said)


def keyed(rows):
    """Rows as {key: row}; ValueError when a key is there twice."""
    out = {}
    for one in rows:
        key = tuple(one[f] for f in ("basis", "pair", "feed", "phase_id", "agg_round", "at"))
        if key in out:
            raise ValueError(f"twice: {key}")
        out[key] = one
    return out
