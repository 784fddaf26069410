#!/usr/bin/env python3
"""Makes this scenario's files from a seed: what three APIs and three feeds said in two and a half hours, as it may
arrive, and every comparison that must come of it, by tests/market/reference.py.

    make.py            writes them        make.py --check    says whether they are what it would write

In it: lines repeated, lines up to five minutes late, times that go back, values of one time, a value replaced by another
of its time, rounds seen an hour late, rounds that go back, a change of phase, polls that fail, an API that is silent
for longer than max_age, a feed that goes stale, bands and heartbeats that a feed does not tell.
"""

import json
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "market"))
import reference
from reference import S, stamp

BEGIN = reference.instant("2026-03-01T09:00:00Z")
LENGTH_S = 150 * 60
LATE_S = 300                     # SLACK in scenario.toml is more
APIS = {"coingecko": (47, 13), "coinpaprika": (70, 9), "exchange": (60, 2)}    # seconds between polls, digits
FEEDS = [  # feed, pair, phase, first round, heartbeat, band, market's start
    ("ETH / USD", "ETH-USD", 7, 36893, 3600, "0.5", 1993.5),
    ("ETH / USD (slow)", "ETH-USD", 2, 11, 900, "0.3", 1993.5),
    ("LINK / USD", "LINK-USD", 6, 777, None, None, 13.71),
]


def market(rng):
    """-> {pair: price a second}."""
    paths = {}
    for pair, price in {"ETH-USD": 1993.5, "LINK-USD": 13.71}.items():
        path = paths[pair] = []
        for _ in range(LENGTH_S + 1):
            price *= 1 + rng.gauss(0, 0.0002) + (rng.gauss(0, 0.004) if rng.random() < 0.0006 else 0)
            path.append(price)
    return paths


def api_records(rng, paths):
    out = []
    for source, (every, digits) in APIS.items():
        for pair, path in paths.items():
            at = rng.uniform(0, every)
            while at < LENGTH_S:
                silent = source != "exchange" and 3000 < at < 5400          # longer than max_age
                if not silent and rng.random() > 0.04:
                    # Some polls are at whole seconds, so that several fall on one time.
                    ns = BEGIN + (int(at) * S if rng.random() < 0.4 else int(at * 1000) * 10**6)
                    price = f"{path[int(at)] * (1 + rng.gauss(0, 0.0012)):.{digits}f}"
                    out.append({"kind": "api", "schema": 1, "source": source, "pair": pair, "price": price,
                                "source_ts": stamp(ns - rng.randrange(60) * S), "fetched_at": stamp(ns)})
                    if rng.random() < 0.02:                                 # the same time again, corrected
                        out.append(out[-1] | {"price": f"{path[int(at)]:.{digits}f}"})
                at += every * rng.uniform(0.9, 1.1)
    return out


def rounds_of(rng, path, first, band):
    """-> [(updated, round, raw answer)] in seconds, as a feed publishes: moved by its band, or every half hour."""
    found, updated, price = [], -1800, path[0] * 0.9991
    number = first
    while True:
        found.append((updated, number, round(price * 10**8)))
        at = max(updated + 30, 0)
        while at < LENGTH_S and abs(path[at] / price - 1) < band / 100 and at - updated < 1800:
            at += 1
        if at >= LENGTH_S:
            return found
        updated, price, number = at, path[at], number + 1


def contract_records(rng, paths):
    out = []
    published = {}
    for name, pair, phase, first, heartbeat, band, _ in FEEDS:
        published[name] = [(u, phase, n, raw) for u, n, raw in rounds_of(rng, paths[pair], first, float(band or 0.5))]
    # Half way through a new aggregator takes over: the phase goes up, its rounds begin at 1.
    half = LENGTH_S // 2
    eth = published["ETH / USD"]
    published["ETH / USD"] = ([r for r in eth if r[0] < half] +
                              [(u, 8, i, raw) for i, (u, _, _, raw) in enumerate((r for r in eth if r[0] >= half), 1)])
    # Nobody updates the slow feed in the last 50 minutes: it goes stale.
    published["ETH / USD (slow)"] = [r for r in published["ETH / USD (slow)"] if r[0] < LENGTH_S - 3000]
    at = 2.0
    while at < LENGTH_S:
        dense = 1800 < at < 2700                  # now and then somebody looks at every block
        down = 6000 < at < 6600
        for name, pair, _, _, heartbeat, band, _ in FEEDS:
            seen = [r for r in published[name] if r[0] <= at]
            if down or rng.random() < 0.03 or not seen:
                continue
            back = rng.random() < 0.05 and len(seen) > 1                    # a node that lags behind
            updated, phase, number, raw = seen[-2 if back else -1]
            record = {"kind": "contract", "schema": 1, "chain_id": 1, "feed": name, "pair": pair, "phase_id": phase,
                      "agg_round": str(number), "answer_raw": str(raw), "decimals": 8,
                      "price": f"{raw // 10**8}.{raw % 10**8:08d}", "started_at": stamp(BEGIN + (updated - 9) * S),
                      "updated_at": stamp(BEGIN + updated * S), "observed_at": stamp(BEGIN + int(at) * S)}
            out.append(record | ({"heartbeat_s": heartbeat, "band_pct": band} if heartbeat else {}))
        at += 12 if dense else rng.choice([36, 48, 120])
    return out


def arrive(rng, records):
    """The order in which they come: some late, some twice."""
    def event_s(record):
        return (reference.instant(record.get("observed_at") or record["fetched_at"]) - BEGIN) / S

    coming = []
    for order, record in enumerate(records):
        late = rng.uniform(0, LATE_S) if rng.random() < 0.2 else 0
        coming.append((event_s(record) + late, order, record))
        if rng.random() < 0.03:
            coming.append((event_s(record) + rng.uniform(late, LATE_S), order, record))
    coming.sort(key=lambda c: c[:2])
    # Of two values of one source and time the later line counts, so a repeated one must not come after its correction.
    seen, out = {}, []
    for _, order, record in coming:
        key = (record.get("source"), record.get("feed"), record["pair"], record.get("fetched_at") or record["observed_at"])
        if seen.get(key, order) <= order:
            seen[key] = order
            out.append(record)
    return out


def lines(rows):
    return "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in rows)


def files():
    rng = random.Random("plumbline/replay_seeded")
    paths = market(rng)
    arrived = arrive(rng, api_records(rng, paths) + contract_records(rng, paths))
    rows = reference.compare(arrived)
    return {"all.jsonl": lines(arrived),
            "api.jsonl": lines(r for r in arrived if r["kind"] == "api"),
            "contract.jsonl": lines(r for r in arrived if r["kind"] == "contract"),
            "expected.jsonl": "".join(sorted(lines(rows.values()).splitlines(keepends=True)))}


def main():
    made = files()
    if sys.argv[1:] == ["--check"]:
        wrong = [name for name, text in made.items() if (HERE / name).read_text() != text]
        sys.exit(f"not as make.py writes it: {', '.join(wrong)}" if wrong else 0)
    for name, text in made.items():
        (HERE / name).write_text(text)


if __name__ == "__main__":
    main()
