"""Late data: every order of arrival ends in the same table. Each order is a pair of its own, all in one file; the script gets
the lines as they stand there, and what it thinks is over when a line's time has passed it."""

import itertools
import json
import random
import sqlite3

import support
from market import reference

PIPELINE = """
    pipeline: late
    include: ["{repo}/pipelines/include/table_price_deviation.yaml"]
    scheduler: seeded
    sources: {{ lines: {{ plugin: file, with: {{ path: in.jsonl }}, time: [observed_at, fetched_at] }} }}
    transforms: {{ accuracy: {{ from: lines, script: "{repo}/scripts/accuracy.lua" }} }}
    sinks:
      price_deviation: {{ from: accuracy, plugin: sqlite, with: {{ path: late.sqlite, create: true }} }}
      all: {{ from: accuracy, plugin: file, with: {{ path: all.jsonl }} }}
"""
HOUR = "2026-03-01T10:"
KEY = ("basis", "pair", "feed", "phase_id", "agg_round", "at")


def api(source, price, at):
    return {"kind": "api", "schema": 1, "source": source, "price": price, "fetched_at": f"{HOUR}{at}Z"}


def contract(number, price, updated, observed, **more):
    return {"kind": "contract", "schema": 1, "chain_id": 1, "feed": "ETH / USD", "phase_id": 5, "agg_round": str(number),
            "price": price, "updated_at": f"{HOUR}{updated}Z", "observed_at": f"{HOUR}{observed}Z", **more}


class Orders(support.Case):
    def setUp(self):
        super().setUp()
        self.pipeline("late.yaml", PIPELINE.format(repo=support.REPO))

    def compare(self, orders):
        """Runs all the orders, each as its own pair; checks what each gave. Returns how many rows were given out again."""
        lines = [record | {"pair": f"P{i}-USD"} for i, order in enumerate(orders) for record in order]
        self.write("in.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        run = self.plumbline("run", "late.yaml", seconds=300)
        self.assertEqual(run.components["accuracy"]["dead_lettered"], 0)
        given = {}
        for row in self.records("all.jsonl"):
            given.setdefault(row["pair"], {}).setdefault(tuple(row[f] for f in KEY), []).append(row)
        stored = self.stored()
        for i, order in enumerate(orders):
            self.check(f"P{i}-USD", order, given.get(f"P{i}-USD", {}), stored)
        return sum("revision" in row for row in self.records("all.jsonl"))

    def stored(self):
        """{key: (verdict, deviation_pct, revision)} of the table."""
        with sqlite3.connect(self.dir / "late.sqlite") as base:
            return {(*row[:4], str(row[4]), reference.stamp(reference.instant(row[5]))): row[6:] for row in base.execute(
                f"SELECT {', '.join(KEY)}, verdict, deviation_pct, revision FROM price_deviation")}

    def check(self, pair, order, given, stored):
        last = {}
        for key, rows in given.items():
            self.assertEqual([row.get("revision", 0) for row in rows], list(range(len(rows))), f"{pair}: {order}")
            now = rows[-1]
            self.assertEqual(stored[key], (now["verdict"], now.get("deviation_pct"), now.get("revision")), f"{pair}: {order}")
            if now["verdict"] != "superseded":
                last[key] = {field: value for field, value in now.items() if field != "revision"}
        expected = reference.compare([record | {"pair": pair} for record in order])
        wrong = reference.differences(last, expected)
        if wrong:
            self.fail(f"{json.dumps(order, indent=1)}\n" + "\n".join(wrong))

    def test_every_order_of_six(self):
        records = [
            api("a", "2000", "00:00"), api("b", "2010", "00:05"), api("a", "2040", "01:00"),
            contract(1, "2001", "00:00", "00:02"), contract(2, "2030", "00:04", "00:12"), contract(3, "2041", "00:50", "00:58"),
        ]
        revised = self.compare(list(itertools.permutations(records)))
        self.assertGreater(revised, 500)
        in_order = sorted(records, key=lambda r: r.get("observed_at") or r["fetched_at"])
        at = list(itertools.permutations(records)).index(tuple(in_order))
        self.assertEqual([row for row in self.records("all.jsonl") if row["pair"] == f"P{at}-USD" and "revision" in row], [])

    def test_every_order_of_five_with_a_round_that_was_caught_up(self):
        records = [
            api("a", "2000", "10:00"), api("b", "2010", "20:00"), api("a", "2040", "30:00"),
            contract(1, "2001", "05:00", "05:02"),
            contract(2, "2030", "15:00", "40:00", caught_up=True),
        ]
        last = contract(3, "2041", "35:00", "40:00")
        self.assertGreater(self.compare([[*order, last] for order in itertools.permutations(records)]), 100)

    def test_random_orders_of_random_sets(self):
        rng, orders = random.Random(7), []
        for _ in range(30):
            records, at = [], 0
            for number in range(1, 8):
                at += rng.randrange(1, 300)
                records.append(contract(number, f"{2000 + rng.randrange(60)}", self.clock(at), self.clock(at + rng.randrange(20))))
            for when in sorted(rng.sample(range(2000), 14)):
                records.append(api(rng.choice("abc"), f"{2000 + rng.randrange(60)}", self.clock(when)))
            for _ in range(12):
                orders.append(rng.sample(records, len(records)))
        self.assertGreater(self.compare(orders), 500)

    @staticmethod
    def clock(seconds):
        return f"{seconds // 60:02d}:{seconds % 60:02d}"
