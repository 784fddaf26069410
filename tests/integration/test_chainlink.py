"""The chainlink source on a real Ethereum node, with our aggregators behind the mainnet addresses."""

import json
import os
import re
import time
from datetime import datetime, timezone

import support
from servers import Anvil, Feeds

PAIRS = {"ETH/USD": "ETH-USD", "BTC/USD": "BTC-USD", "LINK/USD": "LINK-USD"}
PIPELINE = """
    include: ["{repo}/pipelines/include/chainlink.yaml"]      # the feeds as our pipelines have them
    sources: {{ feeds: {{ plugin: chainlink }} }}
    sinks:   {{ out: {{ from: feeds, plugin: file, with: {{ path: out.jsonl }} }} }}
"""
PRICES = {"ETH/USD": "1993.50000001", "BTC/USD": "76975", "LINK/USD": "13.71"}


def utc(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Chain(support.Case):
    def setUp(self):
        super().setUp()
        self.node = self.enterContext(Anvil(self.dir / "anvil", timestamp=int(time.time()) - 3600))
        self.feeds = Feeds(self.node)
        self.pipeline("chain.yaml", PIPELINE.format(repo=support.REPO))

    def environment(self, env=None):
        return super().environment({"ETH_RPC_URL": self.node.url, "CHAIN_EVERY": "100ms"} | (env or {}))

    def begin(self, *words):
        return self.start("run", "chain.yaml", *words)

    def wait_round(self, run, pair, phase, number, seconds=20):
        """Until a record of that round is there; returns the first."""
        def look():
            return next((r for r in self.records("out.jsonl") if r["pair"] == PAIRS[pair] and r["phase_id"] == phase
                         and r["agg_round"] == str(number)), None)
        return run.wait_for(look, seconds, f"round {phase}/{number} of {pair} is recorded")

    def warnings(self, run):
        return [line for line in run.stderr.splitlines() if " warn feeds: " in line]

    def counts(self, run, component="feeds"):
        return run.summary["pipelines"]["chain"]["components"][component]


class Rounds(Chain):
    def check_record(self, record, pair):
        """Against what the node itself says as of the record's block."""
        block = self.node.block(record["block_number"])
        truth = self.feeds[pair].latest(record["block_number"])
        digits = f"{abs(truth['answer']):09d}"
        self.assertEqual(record, {
            "kind": "contract", "schema": 1, "chain_id": 1, "feed": pair.replace("/", " / "), "pair": PAIRS[pair],
            "phase_id": truth["phase_id"], "agg_round": str(truth["agg_round"]), "answer_raw": str(truth["answer"]),
            "decimals": 8, "price": f"{digits[:-8]}.{digits[-8:]}", "started_at": utc(truth["started_at"]),
            "updated_at": utc(truth["updated_at"]), "block_number": block["number"], "block_hash": block["hash"],
            "observed_at": utc(block["timestamp"]), "heartbeat_s": 3600, "band_pct": "0.5"})

    def test_every_record_says_what_the_contract_said_at_its_block(self):
        self.feeds.push(PRICES)
        run = self.begin()
        self.wait_round(run, "LINK/USD", 1, 1)
        started = self.node.block()["timestamp"] - 9
        self.feeds["ETH/USD"].push("2001.1", started_at=started)
        self.wait_round(run, "ETH/USD", 1, 2)
        # The largest answer that is no more than a price ought to be, and the smallest.
        self.feeds["BTC/USD"].push(raw=2**95)
        self.feeds["LINK/USD"].push(raw=1)
        self.wait_round(run, "BTC/USD", 1, 2)
        self.wait_round(run, "LINK/USD", 1, 2)
        run.stop()
        records = self.records("out.jsonl")
        names = {ours: pair for pair, ours in PAIRS.items()}
        for record in records:
            if "caught_up" not in record:
                self.check_record(record, names[record["pair"]])
        first = [r for r in records if r["pair"] == "ETH-USD" and r["agg_round"] == "2"][0]
        self.assertEqual(first["started_at"], utc(started))
        self.assertEqual(self.warnings(run), [])

    def test_all_feeds_are_read_at_one_block(self):
        self.feeds.push(PRICES)
        run = self.begin()
        for i in range(20):                  # blocks come while it reads
            self.feeds["ETH/USD"].push(f"{2000 + i}")
        self.wait_round(run, "LINK/USD", 1, 1)
        self.wait_round(run, "ETH/USD", 1, 21)
        run.stop()
        records = [r for r in self.records("out.jsonl") if "caught_up" not in r]
        self.assertEqual(len(records) % 3, 0)
        for at in range(0, len(records), 3):
            poll = records[at:at + 3]
            self.assertEqual([r["pair"] for r in poll], ["ETH-USD", "BTC-USD", "LINK-USD"])
            self.assertEqual(len({(r["block_number"], r["block_hash"]) for r in poll}), 1)

    def test_a_new_phase(self):
        self.feeds.push(PRICES)
        run = self.begin()
        self.wait_round(run, "ETH/USD", 1, 1)
        self.feeds["ETH/USD"].confirm(version=4)             # rounds begin at 1 again
        run.wait_log(r" warn feeds: ETH-USD: .*round")   # there is none yet: no record
        self.feeds["ETH/USD"].push("2002.5")
        record = self.wait_round(run, "ETH/USD", 2, 1)
        run.stop()
        self.assertEqual((record["price"], record["started_at"]), ("2002.50000000", record["updated_at"]))
        eth = [(r["phase_id"], r["agg_round"]) for r in self.records("out.jsonl") if r["pair"] == "ETH-USD"]
        self.assertEqual(sorted(set(eth)), [(1, "1"), (2, "1")])
        self.assertEqual(eth, sorted(eth), "one phase after the other")
        self.assertEqual(len(self.warnings(run)), 1, "\n".join(self.warnings(run)))

    def test_a_round_that_a_reorg_undoes(self):
        self.feeds.push(PRICES)
        self.feeds["ETH/USD"].push("2002.5")
        run = self.begin()
        self.wait_round(run, "ETH/USD", 1, 2)
        self.node.reorg(1)
        self.wait_round(run, "ETH/USD", 1, 1)
        run.stop()
        self.assertEqual(len(self.warnings(run)), 1)
        self.assertRegex(self.warnings(run)[0], r"ETH-USD went back from round 1/2 to 1/1")


class Missed(Chain):
    """Rounds that came while nobody looked."""

    def setUp(self):
        super().setUp()
        self.eth = self.feeds["ETH/USD"]

    def rounds(self, pair="ETH/USD"):
        """(phase, round) as recorded, each once, in the order of their first record."""
        return list(dict.fromkeys((r["phase_id"], int(r["agg_round"])) for r in self.records("out.jsonl")
                                  if r["pair"] == PAIRS[pair]))

    def caught_up(self):
        return [r for r in self.records("out.jsonl") if r.get("caught_up")]

    def run_until(self, phase, number, *words):
        run = self.begin("--data-dir", "state", *words)
        self.wait_round(run, "ETH/USD", phase, number)
        run.wait_for(lambda: self.kept_round() == (phase, number), 20, "the round is kept")
        return run

    def kept_round(self):
        """What the source will go on from."""
        for path in (self.dir / "state").rglob("store/feeds-*"):
            key, _, value = path.read_text().partition("\0")
            if key == "rounds":
                phase, number, _ = json.loads(value)["feeds"][self.eth.proxy.lower()]
                return phase, int(number)
        return None

    def check_truth(self):
        """Each record of ETH/USD says of its round what the node says of it."""
        for record in self.records("out.jsonl"):
            if record["pair"] != "ETH-USD":
                continue
            truth = self.eth.round(record["phase_id"] << 64 | int(record["agg_round"]))
            self.assertEqual((record["answer_raw"], record["updated_at"]), (str(truth["answer"]), utc(truth["updated_at"])))

    def test_rounds_of_the_time_in_which_nothing_ran(self):
        self.feeds.push(PRICES)
        self.run_until(1, 1).stop()
        for i in range(130):                               # more than one poll reads
            self.eth.push(f"{2000 + i}")
        run = self.run_until(1, 131)
        run.wait_for(lambda: len(self.rounds()) == 131, 20, "all rounds are there")
        run.stop()
        self.assertEqual(sorted(self.rounds()), [(1, n) for n in range(1, 132)])
        self.check_truth()
        found = self.caught_up()
        self.assertEqual([int(r["agg_round"]) for r in found], list(range(2, 131)), "oldest first, each once")
        for record in found:
            block = self.node.block(record["block_number"])
            self.assertEqual((record["observed_at"], record["block_hash"]), (utc(block["timestamp"]), block["hash"]))
        self.assertEqual(self.warnings(run), [])
        self.assertEqual(len(re.findall(r"info feeds: ETH-USD missed 129 rounds", run.stderr)), 1)

    def test_rounds_between_two_polls(self):
        self.feeds.push(PRICES)
        run = self.begin()
        self.wait_round(run, "ETH/USD", 1, 1)
        with self.node.one_block():
            for i in range(5):
                self.eth.push(f"{2000 + i}")
        self.wait_round(run, "ETH/USD", 1, 6)
        run.stop()
        self.assertEqual(self.rounds(), [(1, n) for n in range(1, 7)])

    def test_over_changes_of_phase(self):
        """The old aggregators' later rounds, then the newest one's from its first."""
        self.feeds.push(PRICES)
        self.run_until(1, 1).stop()
        self.eth.push("2001")
        self.eth.push("2002")
        self.eth.confirm(version=4)
        self.eth.push("2003")
        self.eth.confirm(phase=4)                          # no aggregator was ever phase 3
        for i in range(3):
            self.eth.push(f"{2010 + i}")
        run = self.run_until(4, 3)
        run.stop()
        self.assertEqual(self.rounds(), [(1, 1), (1, 2), (1, 3), (2, 1), (4, 1), (4, 2), (4, 3)])
        self.check_truth()

    def test_killed_it_reads_again_what_was_not_delivered(self):
        """A sink that stands still: rounds are handed over, but not delivered."""
        self.feeds.push(PRICES)
        self.run_until(1, 1).stop()
        (self.dir / "out.jsonl").unlink()
        os.mkfifo(self.dir / "out.jsonl")                  # opening it waits for a reader
        self.eth.push("2001")
        self.eth.push("2002")
        run = self.begin("--data-dir", "state")
        run.wait_log(r"missed 1 rounds")
        run.kill()
        (self.dir / "out.jsonl").unlink()
        self.eth.push("2003")
        self.assertEqual(self.kept_round(), (1, 1))
        self.run_until(1, 4).stop()
        self.assertEqual(self.rounds(), [(1, 2), (1, 3), (1, 4)])

    def test_a_gap_beyond_catch_up(self):
        self.feeds.push(PRICES)
        self.run_until(1, 1).stop()
        for i in range(12):
            self.eth.push(f"{2000 + i}")
        run = self.run_until(1, 13, "--set", "sources.feeds.with.catch_up=4")
        run.stop()
        self.assertEqual(self.rounds(), [(1, 1)] + [(1, n) for n in range(9, 14)])
        self.assertEqual(len(self.warnings(run)), 1, run.stderr)
        self.assertRegex(self.warnings(run)[0], r"ETH-USD missed 11 rounds; the oldest 7 are beyond catch_up")

    def test_switched_off(self):
        self.feeds.push(PRICES)
        self.run_until(1, 1).stop()
        self.eth.push("2001")
        self.eth.push("2002")
        run = self.run_until(1, 3, "--set", "sources.feeds.with.catch_up=0")
        run.stop()
        self.assertEqual(self.rounds(), [(1, 1), (1, 3)])
        self.assertEqual(self.warnings(run), [])

    def test_a_reorg_undoes_a_round_that_was_caught_up(self):
        """What takes its number afterwards is another round, and is recorded, too."""
        self.feeds.push(PRICES)
        self.run_until(1, 1).stop()
        for price in ("2001", "2002", "2003"):
            self.eth.push(price)
        run = self.run_until(1, 4)
        undone = [r for r in self.caught_up() if r["agg_round"] == "3"]
        self.node.reorg(2)                                 # rounds 3 and 4 are gone
        run.wait_log(r"ETH-USD went back from round 1/4 to 1/2")
        time.sleep(1.1)                                    # blocks have whole seconds
        with self.node.one_block():
            for price in ("2103", "2104", "2105"):
                self.eth.push(price)
        self.wait_round(run, "ETH/USD", 1, 5)
        run.stop()
        threes = [r["price"] for r in self.caught_up() if r["agg_round"] == "3"]
        self.assertEqual((len(undone), threes), (1, ["2002.00000000", "2103.00000000"]))

    def test_a_reorg_that_nobody_saw(self):
        """Between two polls a round is undone and others come: the number alone would not tell."""
        self.feeds.push(PRICES)
        self.eth.push("2001")
        self.run_until(1, 2).stop()
        self.node.reorg(1)
        time.sleep(1.1)
        self.eth.push("2101")
        self.eth.push("2102")
        run = self.run_until(1, 3)
        run.stop()
        found = [(r["agg_round"], r["price"]) for r in self.caught_up()]
        self.assertEqual(found, [("2", "2101.00000000")])
        self.assertRegex(self.warnings(run)[0], r"ETH-USD round 1/2 is another one now: blocks were replaced")

    def test_a_missed_round_that_is_no_price(self):
        self.feeds.push(PRICES)
        self.run_until(1, 1).stop()
        self.eth.push("2001")
        self.eth.push(raw=-5)
        self.eth.push("2003")
        self.eth.push("2004")
        run = self.run_until(1, 5)
        run.stop()
        self.assertEqual(self.rounds(), [(1, 1), (1, 2), (1, 4), (1, 5)])
        self.assertRegex(run.stderr, r"info feeds: round 1/3 is given up: ETH-USD: the answer is -5")
        self.assertEqual(self.warnings(run), [])


class Refused(Chain):
    def test_a_negative_answer(self):
        self.answer_is_refused(-1, r"ETH-USD: the answer is -1; expected one above 0")

    def test_an_answer_of_zero(self):
        self.answer_is_refused(0, r"ETH-USD: the answer is 0; expected one above 0")

    def answer_is_refused(self, raw, said):
        """No record of that feed; the others go on; one warning; counted; and it is well again by itself."""
        self.feeds.push(PRICES)
        run = self.begin()
        self.wait_round(run, "ETH/USD", 1, 1)
        self.feeds["ETH/USD"].push(raw=raw)
        run.wait_log(said)
        self.feeds["BTC/USD"].push("77000")
        self.wait_round(run, "BTC/USD", 1, 2)
        self.feeds["ETH/USD"].push("2000")
        self.wait_round(run, "ETH/USD", 1, 3)
        run.stop()
        self.assertEqual([r for r in self.records("out.jsonl") if r["pair"] == "ETH-USD" and r["agg_round"] == "2"], [])
        self.assertEqual(len(self.warnings(run)), 1, "\n".join(self.warnings(run)))
        self.assertGreater(self.counts(run)["errors"], 0)

    def halts(self, *said):
        """Ends with exit 1 and one message; nothing was recorded."""
        run = self.plumbline("run", "chain.yaml", "--for", "20s", exit=1)
        errors = [line for line in run.stderr.splitlines() if " error " in line]
        self.assertEqual(len(errors), 1, run.stderr)
        for words in said:
            self.assertIn(words, errors[0])
        self.assertEqual(self.lines("out.jsonl"), [])
        self.assertEqual(run.summary["pipelines"]["chain"]["halted_by"], "feeds")

    def test_an_address_without_code(self):
        self.feeds.push(PRICES)
        self.feeds["BTC/USD"].remove_code()
        self.halts("BTC-USD", self.feeds["BTC/USD"].proxy, "no contract code", "expected the feed BTC / USD")

    def test_another_feed(self):
        self.feeds["LINK/USD"].confirm(description="DOGE / USD")
        self.feeds.push(PRICES)
        self.halts("LINK-USD", "'DOGE / USD'", "expected 'LINK / USD'")

    def test_other_decimals(self):
        self.feeds["ETH/USD"].confirm(decimals=18)
        self.feeds["ETH/USD"].push("1993.5")
        self.halts("ETH-USD", "18 decimals", "expected 8")

    def test_another_chain(self):
        self.node.stop()
        self.node = self.enterContext(Anvil(self.dir / "sepolia", chain_id=11155111))
        self.feeds = Feeds(self.node)
        self.feeds.push(PRICES)
        self.halts("chain 11155111", "expected chain 1")

    def test_a_contract_that_is_no_feed(self):
        """A contract that knows none of the calls reverts."""
        self.feeds.push(PRICES)
        self.node.rpc("anvil_setCode", self.feeds["ETH/USD"].proxy, "0x60006000fd")    # PUSH 0, PUSH 0, REVERT
        self.halts("ETH-USD", "reverts", "not a price feed", "expected one for ETH / USD")


class Unreachable(Chain):
    def setUp(self):
        super().setUp()
        self.feeds.push(PRICES)

    def check_silence(self, run):
        self.feeds["ETH/USD"].push("2000")
        self.wait_round(run, "ETH/USD", 1, 2, seconds=60)
        run.stop()
        # A node that is there again may say for a moment what makes no sample.
        told = [line for line in self.warnings(run) if "feeds are good" not in line]
        opened = sum("the circuit is open" in line for line in told)
        self.assertEqual(len(told) - opened, 1, "\n".join(told))
        self.assertLessEqual(opened, 1)
        self.assertEqual(run.stderr.count("works again"), opened, run.stderr)
        self.assertGreater(self.counts(run)["retries"], 1)

    def test_the_node_goes_away_and_comes_back(self):
        run = self.begin()
        self.wait_round(run, "ETH/USD", 1, 1)
        self.node.stop()
        run.wait_log(r"warn feeds: .*(refused|connect)")
        time.sleep(2)                        # several ticks and tries: no further line
        self.node.start()
        self.check_silence(run)

    def test_the_node_is_not_there_at_first(self):
        self.node.stop()
        run = self.begin()
        run.wait_log(r"warn feeds: .*(refused|connect)")
        time.sleep(1)
        self.node.start()
        self.check_silence(run)

    def test_the_node_hangs(self):
        run = self.begin("--set", "sources.feeds.with.timeout=300ms")
        self.wait_round(run, "ETH/USD", 1, 1)
        self.node.pause()
        run.wait_log(r"warn feeds: .*")
        time.sleep(1)
        self.node.resume()
        self.check_silence(run)

    def test_stopping_while_the_node_hangs(self):
        run = self.begin("--set", "sources.feeds.with.timeout=60s")
        self.wait_round(run, "ETH/USD", 1, 1)
        self.node.pause()
        time.sleep(0.5)
        begun = time.monotonic()
        run.stop()
        self.assertLess(time.monotonic() - begun, 20, "the request was interrupted")
        self.node.resume()


del Chain    # a base, without tests of its own
