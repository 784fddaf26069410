"""pipelines/price_accuracy.yaml on the simulated market: the whole job in one process, into SQLite."""

import contextlib
import sqlite3
import time
import unittest
from collections import Counter
from decimal import Decimal

import support
from market import reference
from support.market import Market

PIPELINE = support.REPO / "pipelines" / "price_accuracy.yaml"
PAIRS = {"ETH-USD", "BTC-USD", "LINK-USD"}
APIS = ("coingecko", "coinpaprika")
SETTLE_S = 2
QUICK = {"POLL_EVERY": "700ms", "CHAIN_EVERY": "500ms", "SETTLE": f"{SETTLE_S}s", "IDLE": "60s", "DEMO_DB": "prices.sqlite"}


class OneProcess(support.Case):
    def setUp(self):
        super().setUp()
        # One market second takes 1/120 s of ours: a round every few seconds, APIs that change twice a second.
        self.market = self.enterContext(Market(self.dir / "market", "--speed", "120", "--deviation", "0.4", "--delay", "240"))

    def begin(self, *words, env=None):
        return self.start("run", PIPELINE, "--data-dir", "state", *words, env=self.market.env | QUICK | (env or {}))

    def ask(self, sql):
        """Rows as dicts; none while the file or the table is not there."""
        path = self.dir / "prices.sqlite"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as base:
            base.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in base.execute(sql)]
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def deviations(self):
        """{key: row} as the topic would carry them; ValueError when a key is there twice."""
        rows = []
        for row in self.ask("SELECT * FROM price_deviation WHERE verdict <> 'superseded'"):
            row.pop("revision")
            row["at"] = reference.stamp(reference.instant(row["at"]))
            row["ref_age_s"] = None if row["ref_age_s"] is None else int(row["ref_age_s"])
            for field in ("agg_round", "contract_price", "ref_price", "deviation_pct", "ref_spread_pct"):
                row[field] = row[field] if row[field] is None else str(row[field])
            rows.append({field: value for field, value in row.items() if value is not None})
        return reference.keyed(rows)

    def expected(self):
        """What must come of the values and rounds that are stored."""
        records = [row | {"kind": "api"} for row in self.ask("SELECT * FROM api_price")]
        records += reference.mark_caught_up(
            [row | {"kind": "contract", "price": str(row["answer"]), "heartbeat_s": 3600, "band_pct": "0.5"}
             for row in self.ask("SELECT * FROM contract_price")])
        rows = reference.compare(records, settle=SETTLE_S * reference.S)
        return {key: {f: v for f, v in row.items() if f not in ("kind", "schema")} for key, row in rows.items()}

    def wait_rows(self, run, count, sql="SELECT count(*) AS n FROM price_deviation WHERE ref_price IS NOT NULL"):
        run.wait_for(lambda: sum(row["n"] for row in self.ask(sql)) >= count, 60, f"{count} rows of {sql}")

    def check_account(self, run):
        self.assertEqual(run.summary["status"], 0)
        found = run.summary["pipelines"]["price_accuracy"]
        self.assertTrue(found["balanced"])
        for name, c in found["components"].items():
            with self.subTest(name):
                self.assertEqual(c["in_flight"], 0)
                self.assertEqual(c["read"], c["delivered"] + c["filtered"] + c["dead_lettered"])
                self.assertEqual(c["dead_lettered"], 0)
        return found["components"]

    def check_prices(self):
        """The table holds what each API served, once, in order. A poll that the end cut off may be missing."""
        for api in APIS:
            for pair in PAIRS:
                stored = [Decimal(row["price"]) for row in self.ask(
                    f"SELECT price FROM api_price WHERE source = '{api}' AND pair = '{pair}' ORDER BY fetched_at")]
                served = [Decimal(row["price"]) for row in self.market.journal(api)
                          if row["pair"] == pair and row["fault"] is None]
                with self.subTest(f"{api} {pair}"):
                    self.assertGreater(len(stored), 5)
                    self.assertIn(stored, (served, served[:-1]))

    def check_exact(self, found, expected):
        wrong = reference.differences(found, expected)
        if wrong:
            self.fail(f"{len(wrong)} differences:\n" + "\n".join(wrong[:10]))

    def test_for_a_while(self):
        run = self.begin("--for", "12s").wait()
        components = self.check_account(run)
        self.check_prices()
        found = self.deviations()
        for pair in PAIRS:
            self.assertGreater(sum(row["pair"] == pair and "ref_price" in row for row in found.values()), 10, pair)
        self.check_exact(found, self.expected())
        self.assertEqual(components["api_price"]["delivered"], self.ask("SELECT count(*) AS n FROM api_price")[0]["n"])

    def test_stopped_and_started_again_nothing_is_missing(self):
        run = self.begin()
        self.wait_rows(run, 40)
        run.stop()
        self.check_account(run)
        # A round that was there before the stop but is seen only now, longer than SETTLE after the last value,
        # changes none of the comparisons made.
        time.sleep(SETTLE_S + 0.5)
        before = len(self.deviations())
        run = self.begin()
        self.wait_rows(run, before + 40, "SELECT count(*) AS n FROM price_deviation")
        run.stop()
        self.check_account(run)
        self.check_exact(self.deviations(), self.expected())

    def test_rounds_that_were_missed_correct_what_was_compared_without_them(self):
        """The node fails for longer than SETTLE while the APIs go on: values are compared with a round that was not the
        one in force, as turns out later."""
        run = self.begin()
        self.wait_rows(run, 30)
        rounds = "SELECT count(*) AS n FROM contract_price"
        before = self.ask(rounds)[0]["n"]
        self.market.fault("rpc", "503", count=-1)
        at_first = {pair: self.market.round_id(pair) for pair in PAIRS}
        run.wait_for(lambda: any(self.market.round_id(pair) >= at_first[pair] + 3 for pair in PAIRS), 60, "rounds are missed")
        time.sleep(2 * SETTLE_S)
        self.market.fault("rpc", "none")
        self.wait_rows(run, before + 3, rounds)
        self.wait_rows(run, 1, "SELECT count(*) AS n FROM price_deviation WHERE verdict = 'superseded'")
        self.wait_rows(run, len(self.deviations()) + 20, "SELECT count(*) AS n FROM price_deviation")
        run.stop()
        self.check_account(run)
        self.check_exact(self.deviations(), self.expected())
        for row in self.ask("SELECT * FROM price_deviation WHERE verdict = 'superseded'"):
            self.assertGreater(row["revision"], 0)
            self.assertIsNone(row["deviation_pct"])

    def test_killed_while_the_store_is_down_nothing_polled_is_lost(self):
        """The buffers keep what was polled: it is stored and compared after the restart. Ticks = samples + gaps, each API."""
        self.pipeline("with_gaps.yaml", f"""
            pipeline: price_accuracy
            include: {PIPELINE}
            sinks:
              coingecko_gaps: {{ from: coingecko.gaps, plugin: file, with: {{ path: coingecko.jsonl }} }}
              coinpaprika_gaps: {{ from: coinpaprika.gaps, plugin: file, with: {{ path: coinpaprika.jsonl }} }}
        """)
        begin = lambda: self.start("run", "with_gaps.yaml", "--data-dir", "state", env=self.market.env | QUICK)
        run, kills = begin(), 2
        for _ in range(kills):
            self.wait_rows(run, 20 + len(self.deviations()), "SELECT count(*) AS n FROM price_deviation")
            with contextlib.closing(sqlite3.connect(self.dir / "prices.sqlite", timeout=30, isolation_level=None)) as held:
                held.execute("BEGIN EXCLUSIVE")
                served = {api: len(self.market.journal(api)) for api in APIS}
                run.wait_for(lambda: all(len(self.market.journal(api)) >= served[api] + 4 * len(PAIRS) for api in APIS), 30,
                             "four more polls of each, which nobody can store")
                run.kill()
            run = begin()
        self.wait_rows(run, 20 + len(self.deviations()), "SELECT count(*) AS n FROM price_deviation")
        run.stop()
        self.check_account(run)
        for api in APIS:
            for pair in PAIRS:
                rows = self.ask(f"SELECT price, fetched_at FROM api_price WHERE source = '{api}' AND pair = '{pair}'")
                lost = (Counter(Decimal(row["price"]) for row in self.market.journal(api) if row["pair"] == pair)
                        - Counter(Decimal(row["price"]) for row in rows))
                self.assertLessEqual(lost.total(), kills + 1, f"{api} {pair}: no more than the poll that a kill or the end cut off")
                ticks = sorted([reference.instant(row["fetched_at"]) / reference.S for row in rows] +
                               [reference.instant(gap["at"]) / reference.S for gap in self.records(f"{api}.jsonl")])
                steps = [after - before for before, after in zip(ticks, ticks[1:])]
                self.assertLess(max(steps), 2 * 0.7 + 0.3, f"{api} {pair}: a tick is neither")
        self.check_exact(self.deviations(), self.expected())

    def newest(self, table, column):
        return max((reference.instant(row["at"]) for row in self.ask(f"SELECT {column} AS at FROM {table}")), default=0)

    def test_killed_it_goes_on_with_its_state(self):
        """A polled API cannot be asked again for what it said: what arrived after the last checkpoint is in api_price, but
        not in the state. All that was compared before stays, all that comes after is compared with what was known."""
        run = self.begin()
        run.wait_for(lambda: list((self.dir / "state").rglob("*accuracy*")), 30, "there is a checkpoint")
        self.wait_rows(run, 60)
        run.kill()
        compared = self.deviations()
        compared_until = {pair: max(reference.instant(key[5]) for key in compared if key[:2] == ("now", pair)) for pair in PAIRS}
        killed_at = self.newest("api_price", "fetched_at")
        time.sleep(SETTLE_S + 0.5)
        run = self.begin()
        self.wait_rows(run, 60, f"SELECT count(*) AS n FROM price_deviation WHERE at > '{reference.stamp(killed_at + 10**9)}'")
        run.stop()
        self.check_account(run)
        found, expected = self.deviations(), self.expected()
        self.check_before(compared, found, expected, compared_until)
        self.check_after(found, expected, killed_at)

    def check_before(self, compared, found, expected, until):
        """Before the kill: what was compared is right, in order without a hole, and still there."""
        self.check_exact(compared, {key: row for key, row in expected.items() if key in compared})
        due = {key for key in expected if key[0] == "now" and reference.instant(key[5]) <= until[key[1]]}
        self.assertEqual(due - compared.keys(), set())
        self.assertEqual(compared.keys() - found.keys(), set())

    def check_after(self, found, expected, killed_at):
        """From the restart on: every value is compared, at once with the other API's last known one, and exactly so as
        soon as each API was asked again."""
        again = {}
        for row in self.ask("SELECT source, pair, fetched_at FROM api_price"):
            at = reference.instant(row["fetched_at"])
            if at > killed_at:
                one = (row["source"], row["pair"])
                again[one] = min(at, again.get(one, at))
        exact_from = {pair: max(again[(api, pair)] for api in APIS) for pair in PAIRS}
        due = {key: row for key, row in expected.items() if key[0] == "now" and reference.instant(key[5]) > killed_at}
        self.assertGreater(len(due), 30)
        self.assertEqual(due.keys() - found.keys(), set())
        self.assertEqual({found[key]["n_sources"] for key in due}, {2}, "the state before the kill is known")
        exact = {key: row for key, row in due.items() if reference.instant(key[5]) >= exact_from[key[1]]}
        self.check_exact({key: found[key] for key in exact}, exact)

    FAULTS = ("html", "empty", "truncated", "nan", "zero", "negative", "null", "text", "missing_id", "not_object", "500", "503")

    def warnings(self, run, component):
        return [line for line in run.stderr.splitlines() if f" warn {component}: " in line]

    def check_faults(self, api):
        run = self.begin(env={"POLL_EVERY": "300ms"})
        a_tick = 1 if api == "coingecko" else len(PAIRS)                # requests
        self.wait_rows(run, 4, f"SELECT count(*) AS n FROM api_price WHERE source = '{api}'")
        for number, kind in enumerate(self.FAULTS, 1):
            asked, served = self.market.requests(api), len(self.good(api))
            self.market.fault(api, kind)
            run.wait_for(lambda: self.market.requests(api) >= asked + 3 * a_tick and len(self.good(api)) >= served + 6, 30,
                         f"{api} works again after {kind}")
            with self.subTest(kind):
                self.assertEqual(len(self.warnings(run, api)), number, "one warning\n" + "\n".join(self.warnings(run, api)))
        run.stop()
        components = self.check_account(run)
        self.assertGreaterEqual(components[api]["errors"], len(self.FAULTS))
        spoilt = [row["price"] for row in self.ask(f"SELECT price FROM api_price WHERE source = '{api}'")
                  if not Decimal(row["price"]) > 1]
        self.assertEqual(spoilt, [])
        self.check_exact(self.deviations(), self.expected())

    def good(self, api):
        return [row for row in self.market.journal(api) if row["fault"] is None]

    def test_coingecko_answers_badly(self):
        self.check_faults("coingecko")

    def test_coinpaprika_answers_badly(self):
        self.check_faults("coinpaprika")

    def test_retry_after_is_kept(self):
        run = self.begin()
        self.wait_rows(run, 6, "SELECT count(*) AS n FROM api_price WHERE source = 'coingecko'")
        self.market.fault("coingecko", "429", retry_after=4)
        run.wait_for(lambda: self.warnings(run, "coingecko"), 20, "a warning")
        limited = time.monotonic()
        asked = self.market.requests("coingecko")
        run.wait_for(lambda: self.market.requests("coingecko") > asked, 30, "it is asked again")
        self.assertGreater(time.monotonic() - limited, 3, "asked again before Retry-After was over")
        self.wait_rows(run, 1 + len(self.ask("SELECT 1 FROM api_price WHERE source = 'coingecko'")),
                       "SELECT count(*) AS n FROM api_price WHERE source = 'coingecko'")
        run.stop()
        self.assertEqual(len(self.warnings(run, "coingecko")), 1)
        self.check_account(run)


if __name__ == "__main__":
    unittest.main()
