"""The job as services: five processes on a real Kafka, a real TimescaleDB and a real Ethereum node; SIGKILL in between.

The simulated market stands for the two APIs and keeps a journal of what it served; the rounds are ours to push. What
the topics hold is compared with both, the tables with the topics, and the comparisons with an independent computation.
"""

import contextlib
import random
import subprocess
import time
from decimal import Decimal

import support
from market import reference
from servers import Anvil, Feeds, Kafka, Timescale
from support.market import Market

PIPELINES = support.REPO / "pipelines"
PAIRS = {"ETH/USD": "ETH-USD", "BTC/USD": "BTC-USD", "LINK/USD": "LINK-USD"}
APIS = ("coingecko", "coinpaprika")
PRODUCERS, CONSUMERS = ("api_producer", "producer"), ("api_consumer", "consumer", "accuracy")
READS = {"api_consumer": "topic", "consumer": "topic", "accuracy": "prices"}     # the name of its Kafka source
SETTLE_S = 3
QUICK = {"POLL_EVERY": "1s", "CHAIN_EVERY": "300ms", "SETTLE": f"{SETTLE_S}s", "IDLE": "12s"}
# A member that was killed keeps its partitions until its session is over: 6 s instead of 45, the least a broker takes.
SESSION = '{ session.timeout.ms: "6000" }'
DEVIATION = ("basis", "pair", "feed", "phase_id", "agg_round", "at", "contract_price", "ref_price", "deviation_pct",
             "ref_spread_pct", "ref_age_s", "n_sources", "verdict")


class Services(support.Case):
    def begin(self, zookeeper=False):
        self.kafka = self.enterContext(Kafka(self.dir / "kafka", zookeeper=zookeeper))
        self.store = self.enterContext(Timescale(self.dir / "store"))
        self.node = self.enterContext(Anvil(self.dir / "anvil", timestamp=int(time.time()) - 60))
        self.market = self.enterContext(Market(self.dir / "market", "--speed", "120"))
        self.feeds = Feeds(self.node)
        self.random = random.Random("services")
        self.pushed = {pair: [] for pair in PAIRS}
        self.block_at = self.node.block()["timestamp"]
        self.push(list(PAIRS))
        self.services = {}
        for name in PRODUCERS + CONSUMERS:
            self.begin_service(name)
        self.wait_produced(list(PAIRS))

    def begin_service(self, name):
        words = ["run", PIPELINES / f"{name}.yaml", "--data-dir", f"state-{name}"]
        if name in READS:
            words += ["--set", f"sources.{READS[name]}.with.librdkafka={SESSION}"]
        env = self.market.env | QUICK | {"ETH_RPC_URL": self.node.url, "KAFKA_BROKERS": self.kafka.bootstrap,
                                         "PG_DSN": self.store.dsn}
        self.services[name] = self.start(*words, env=env)

    def kill_and_begin(self, name):
        self.services[name].kill()
        self.begin_service(name)

    # The chain: its blocks have the time of the wall clock, one a second.
    def next_block_at(self):
        time.sleep(max(0.0, self.block_at + 1 - time.time()))
        self.block_at = max(self.block_at + 1, int(time.time()))
        return self.block_at

    def push(self, pairs):
        """A block with a round of each pair, near the market as it is."""
        prices = {}
        for pair in pairs:
            price = self.market.price(PAIRS[pair]) * (1 + self.random.gauss(0, 0.004))
            prices[pair] = f"{price:.8f}"
            self.pushed[pair].append(prices[pair])
        self.feeds.push(prices, at=self.next_block_at())

    def topic(self, name):
        """All its records. kcat now and then waits for ever for a partition's end: then it is asked again."""
        for seconds in (2, 4, 8, 16, 32):
            if name not in self.kafka.topics():
                return []
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.kafka.read_json(name, seconds=seconds)
        self.fail(f"{name} could not be read")

    def seen_rounds(self):
        return {(r["pair"], r["phase_id"], int(r["agg_round"])) for r in self.topic("contract_price")}

    def wait_produced(self, pairs):
        wanted = {(PAIRS[pair], self.feeds[pair].latest()["phase_id"], self.feeds[pair].latest()["agg_round"]) for pair in pairs}
        self.services["producer"].wait_for(lambda: wanted <= self.seen_rounds(), 60, f"the rounds {wanted} are produced")

    def live(self, rounds, kills):
        """Push `rounds` times; each round is on the topic before the next comes, so that all of them are produced.
        kills: {number of the push: service that is killed and started again after it}."""
        for number in range(rounds):
            some = self.random.sample(list(PAIRS), self.random.randint(1, 3))
            self.push(some)
            self.wait_produced(some)
            if number in kills:
                self.kill_and_begin(kills[number])

    def stop_producers(self):
        for name in PRODUCERS:
            self.services[name].stop()
            self.check_balanced(name)
        self.api, self.contract = self.topic("api_price"), self.topic("contract_price")

    def check_balanced(self, name):
        found = self.services[name].summary["pipelines"][name]
        self.assertTrue(found["balanced"], name)
        for component, c in found["components"].items():
            self.assertEqual(c["in_flight"], 0, f"{name}.{component}")

    # What was produced.
    def check_topics(self):
        """The topics hold what the APIs served and the contracts said."""
        for api in APIS:
            for pair in PAIRS.values():
                sent = sorted((r["fetched_at"], Decimal(r["price"])) for r in self.api if (r["source"], r["pair"]) == (api, pair))
                served = [Decimal(row["price"]) for row in self.market.journal(api) if row["pair"] == pair]
                with self.subTest(f"{api} {pair}"):
                    self.assertGreater(len(sent), 5)
                    self.assertIn([price for _, price in sent], (served, served[:-1]))   # the last may have been cut off
        for pair, ours in PAIRS.items():
            said = {(int(r["agg_round"]), Decimal(r["price"]), reference.instant(r["updated_at"])) for r in self.contract
                    if r["pair"] == ours}
            truth = {(r["agg_round"], Decimal(r["answer"]).scaleb(-8), r["updated_at"] * reference.S)
                     for r in self.feeds[pair].rounds()}
            with self.subTest(pair):
                self.assertEqual(said, truth)
                self.assertEqual(len(truth), len(self.pushed[pair]))
        for topic in ("api_price", "contract_price"):
            self.assertEqual(self.kafka.topics()[topic], 3)

    # What was stored.
    def table_is_there(self, name):
        return self.store.sql(f"SELECT count(*) FROM pg_class WHERE relname = '{name}' AND relkind = 'r'") == [["1"]]

    def wait_stored(self):
        """Until the consumers have caught up; each runs all the while."""
        values = {(r["source"], r["pair"], r["fetched_at"]) for r in self.api}
        rounds = {(r["pair"], r["phase_id"], r["agg_round"]) for r in self.contract}
        for name, table, wanted in (("api_consumer", "api_price", len(values)), ("consumer", "contract_price", len(rounds))):
            self.services[name].wait_for(
                lambda: self.table_is_there(table) and int(self.store.sql(f"SELECT count(*) FROM {table}")[0][0]) >= wanted,
                90, f"{wanted} rows are in {table}")
        self.expected = self.compute()
        self.services["accuracy"].wait_for(lambda: self.table_is_there("price_deviation") and not
                                           self.expected.keys() - self.deviations().keys(), 90, "every comparison is stored")

    def compute(self):
        rows = reference.compare(self.api + self.contract, settle=SETTLE_S * reference.S)
        return {key: {f: row[f] for f in DEVIATION if f in row} for key, row in rows.items()}

    def deviations(self):
        """{key: row} of the table price_deviation; ValueError when a key is there twice."""
        rows = []
        for cells in self.store.sql(f"SELECT {', '.join(DEVIATION)} FROM price_deviation"):
            row = {f: cell for f, cell in zip(DEVIATION, cells, strict=True) if cell != ""}
            row["at"] = reference.stamp(reference.instant(row["at"]))
            row |= {f: int(row[f]) for f in ("phase_id", "ref_age_s", "n_sources") if f in row}
            rows.append(row)
        return reference.keyed(rows)

    def check_api_price(self):
        """Each value that was produced, once, to the digit and the millisecond."""
        stored = sorted((source, pair, price, reference.instant(at)) for source, pair, price, at in
                        self.store.sql("SELECT source, pair, price, fetched_at FROM api_price"))
        produced = sorted((r["source"], r["pair"], r["price"], reference.instant(r["fetched_at"])) for r in self.api)
        self.assertEqual(stored, produced)
        self.assertEqual(len(self.store.sql("SELECT * FROM api_price")), len(produced))

    def check_contract_price(self):
        """Each round that was produced, once, with the first poll that saw it."""
        first = {}
        for r in sorted(self.contract, key=lambda r: reference.instant(r["observed_at"])):
            first.setdefault((r["feed"], r["phase_id"], int(r["agg_round"])), r)
        produced = sorted((*key, r["pair"], r["price"], r["answer_raw"], reference.instant(r["updated_at"]),
                           reference.instant(r["observed_at"])) for key, r in first.items())
        stored = sorted((feed, int(phase), int(number), pair, answer, raw, reference.instant(updated), reference.instant(seen))
                        for feed, phase, number, pair, answer, raw, updated, seen in self.store.sql(
                            "SELECT feed, phase_id, agg_round, pair, answer, answer_raw, updated_at, observed_at "
                            "FROM contract_price"))
        self.assertEqual(stored, produced)
        self.assertEqual(len(self.store.sql("SELECT * FROM contract_price")), sum(map(len, self.pushed.values())))

    def check_deviations(self):
        """Every comparison that follows from what was produced, once, with exactly that value."""
        found = self.deviations()
        wrong = reference.differences(found, self.expected)
        if wrong:
            self.fail(f"{len(wrong)} differences of {len(self.expected)}:\n" + "\n".join(wrong[:10]))
        for pair in PAIRS.values():
            with self.subTest(pair):
                self.assertGreater(sum(r["pair"] == pair and r["basis"] == "now" and "ref_price" in r for r in found.values()), 10)
                self.assertGreater(sum(r["pair"] == pair and r["basis"] == "update" for r in found.values()), 1)

    def check_alerts(self):
        """At least once each comparison on basis "now" that is not ok, and no other."""
        told = {(r["pair"], r["feed"], r["agg_round"], r["at"], r["verdict"]) for r in self.topic("price_alert")}
        due = {(r["pair"], r["feed"], r["agg_round"], r["at"], r["verdict"]) for r in self.expected.values()
               if r["basis"] == "now" and r["verdict"] != "ok"}
        self.assertGreater(len(due), 0)
        self.assertEqual(told, due)

    def hypertables(self):
        return {row[0] for row in self.store.sql("SELECT hypertable_name FROM timescaledb_information.hypertables")}

    def finish(self):
        self.stop_producers()
        self.check_topics()
        self.wait_stored()
        for name in CONSUMERS:
            self.services[name].stop()
            self.check_balanced(name)
        self.check_api_price()
        self.check_contract_price()
        self.check_deviations()
        self.check_alerts()
        self.assertEqual(self.topic("dead_letter"), [])
        self.assertEqual(self.hypertables(), {"api_price", "contract_price", "price_deviation"})

    def test_on_kafka_with_kraft(self):
        self.begin()
        self.live(24, kills={5: "api_consumer", 10: "consumer", 15: "accuracy"})
        self.finish()

    def test_on_kafka_with_zookeeper(self):
        if support.sanitized():
            self.skipTest("it takes minutes, and finds nothing in our code that Kafka without ZooKeeper does not")
        self.begin(zookeeper=True)
        self.live(10, kills={4: "api_consumer"})
        self.finish()
