"""What is polled answers late, badly, too much, or takes back what it said."""

import os
import re
import signal
import time
import urllib.parse
from datetime import datetime

import oracle
import servers
import support
from fault import Fault, KafkaFault
from proxy import Http, Proxy
from support.market import Market

MIB = 1 << 20


def seconds(text):
    return datetime.fromisoformat(text).timestamp()


class Polled(Fault):
    EVERY_S = 0.5

    def setUp(self):
        super().setUp()
        self.market = self.enterContext(Market(self.dir / "market", "--speed", "60"))
        at = urllib.parse.urlsplit(self.market.env["COINGECKO_URL"])
        self.proxy = self.enterContext(Proxy(at.port, Http))
        self.url = f"http://127.0.0.1:{self.proxy.port}{at.path}"

    def poll(self, more=""):
        """A pipeline that polls one pair: samples.jsonl, gaps.jsonl; started, and seen to work."""
        self.pipeline("poll.yaml", f'''
            sources:
              prices:
                plugin: coingecko
                with: {{ pairs: [ETH-USD], every: 500ms, timeout: 2s, base_url: "{self.url}" {more} }}
            sinks:
              samples: {{ from: prices, plugin: file, with: {{ path: samples.jsonl }} }}
              gaps: {{ from: prices.gaps, plugin: file, with: {{ path: gaps.jsonl }} }}
        ''')
        run = self.start("run", "poll.yaml")
        self.wait_samples(run)
        return run

    def wait_samples(self, run, more=3):
        enough = len(self.lines("samples.jsonl")) + more
        run.wait_for(lambda: len(self.lines("samples.jsonl")) >= enough, 60, f"{more} more samples")

    def wait_gaps(self, run, count):
        run.wait_for(lambda: len(self.lines("gaps.jsonl")) >= count, 60, f"{count} gaps")

    def check_ticks(self, run):
        """Every tick left a sample or a gap: their number fits the time between the first and the last. No sample is false."""
        run.stop()
        samples, gaps = self.records("samples.jsonl"), self.records("gaps.jsonl")
        times = sorted([seconds(r["fetched_at"]) for r in samples] + [seconds(r["at"]) for r in gaps])
        due = (times[-1] - times[0]) / self.EVERY_S + 1
        # A sample's time is that of its answer, up to the time-out after its tick.
        self.assertLess(abs(len(times) - due), 1.5 + 2 / self.EVERY_S, f"{len(samples)} samples, {len(gaps)} gaps, {due:.1f} ticks")
        served = {row["price"] for row in self.market.journal("coingecko") if row["fault"] is None and row["pair"] == "ETH-USD"}
        self.assertEqual({r["price"] for r in samples} - served, set())
        return samples, gaps

    def test_12_retry_after_is_honoured(self):
        run, wait_s = self.poll(), 3
        self.market.fault("coingecko", "429", retry_after=wait_s)
        run.wait_log("429", 60)
        self.wait_samples(run)
        _, gaps = self.check_ticks(run)
        refused = next(at for at, kind in self.proxy.answers if kind == "429")
        again = min(at for at in self.proxy.requests if at > refused)
        self.assertGreaterEqual(again - refused, wait_s - 0.01, "asked again before Retry-After was over")
        self.assertGreaterEqual(len(gaps), int(wait_s / self.EVERY_S) - 1)
        self.assertEqual({gap["kind"] for gap in gaps}, {"gap"})
        self.assertEqual(len(re.findall(" warn prices: ", run.stderr)), 1, run.stderr)

    def test_12_no_storm_while_it_is_down(self):
        """Three items of one host: the server counts what reaches it while it is down, and after."""
        self.pipeline("three.yaml", '''
            sources:
              prices:
                plugin: coinpaprika
                with: { pairs: [ETH-USD, BTC-USD, LINK-USD], every: 500ms, timeout: 2s, base_url: "${COINPAPRIKA_URL}" }
            sinks:
              samples: { from: prices, plugin: file, with: { path: samples.jsonl } }
              gaps: { from: prices.gaps, plugin: file, with: { path: gaps.jsonl } }
        ''')
        run = self.start("run", "three.yaml", env=self.market.env)
        self.wait_samples(run, 9)
        self.market.fault("coinpaprika", "503", count=-1)
        run.wait_log("5 failures in a row, the circuit is open", 60)
        requests, gaps = self.market.requests("coinpaprika"), len(self.lines("gaps.jsonl"))
        self.wait_gaps(run, gaps + 30)
        ticks = (len(self.lines("gaps.jsonl")) - gaps) / 3
        asked = self.market.requests("coinpaprika") - requests
        self.assertGreater(asked, 0)
        self.assertLessEqual(asked, 2 * (ticks + 1), "about one a tick, where three items asked for themselves before")
        self.market.fault("coinpaprika", "none")
        run.wait_log("the circuit is closed", 60)
        requests, samples = self.market.requests("coinpaprika"), len(self.lines("samples.jsonl"))
        self.wait_samples(run, 15)
        run.stop()
        made = len(self.lines("samples.jsonl")) - samples
        self.assertLessEqual(self.market.requests("coinpaprika") - requests, made + 3, "no burst for what was missed")
        self.assertEqual(len(re.findall("the circuit is open", run.stderr)), 1, run.stderr)
        self.assertEqual(run.components["prices"]["circuit_opened"], 1)
        for pair, item in (("ETH-USD", 0), ("BTC-USD", 1), ("LINK-USD", 2)):
            times = sorted([seconds(r["fetched_at"]) for r in self.records("samples.jsonl") if r["pair"] == pair] +
                           [seconds(r["at"]) for r in self.records("gaps.jsonl") if r["item"] == item])
            steps = [after - before for before, after in zip(times, times[1:])]
            self.assertLess(max(steps), 2 * self.EVERY_S + 0.2, f"{pair}: a tick is neither: {steps}")
            self.assertLess(abs(len(times) - (times[-1] - times[0]) / self.EVERY_S - 1), 2.5, pair)

    def test_13_html_and_truncated_json_are_gaps(self):
        run = self.poll()
        for number, kind in enumerate(("html", "truncated", "not_object", "empty"), 1):
            before = len(self.lines("gaps.jsonl"))
            self.market.fault("coingecko", kind)
            self.wait_gaps(run, before + 1)
            self.wait_samples(run)
        _, gaps = self.check_ticks(run)
        self.assertEqual(sum("answer" in gap["reason"] or "JSON" in gap["reason"] for gap in gaps), 4, gaps)

    def test_14_false_prices_make_no_sample(self):
        run = self.poll()
        for kind in ("nan", "huge", "negative", "zero"):
            before = len(self.lines("gaps.jsonl"))
            self.market.fault("coingecko", kind)
            self.wait_gaps(run, before + 1)
            self.wait_samples(run)
        self.check_ticks(run)

    def test_15_slow_endless_and_packed_answers(self):
        """Bounded time: the next polls come. Bounded memory: a body of a gigabyte, or one that unpacks to 64 MiB."""
        run = self.poll()
        peak = self.peak_memory(run)
        for kind in ("slow", "endless", "bomb"):
            before = len(self.lines("gaps.jsonl"))
            self.market.fault("coingecko", kind, seconds=60)
            self.wait_gaps(run, before + 1)
            self.wait_samples(run)
        self.proxy.stall()                 # the connection is taken, and then nothing comes
        self.wait_gaps(run, len(self.lines("gaps.jsonl")) + 1)
        self.proxy.go_on()
        self.wait_samples(run)
        self.check_memory(self.peak_memory(run), peak + 16 * MIB)
        self.check_ticks(run)


class Values(KafkaFault):
    GOOD = '{"n":%d,"kind":"api","source":"a","pair":"ETH-USD","price":"2000.5","fetched_at":"2026-05-01T10:00:00Z"}'
    BAD = {"NaN": "JSON", "1e999": "1e999|number", "-1.5": "above 0", '"NaN"': "above 0", '"-1.5"': "above 0", "0": "above 0"}

    def test_14_nan_1e999_and_negative_prices_are_dead_letters(self):
        count, topic = 1000, self.topic(2)
        spoilt = {40 * at + 7: value for at, value in enumerate(list(self.BAD) * 3)}
        self.kafka.produce(topic, [(f"k{n % 5}", (self.GOOD % n).replace('"2000.5"', spoilt.get(n, '"2000.5"'))) for n in range(count)])
        self.pipeline("valid.yaml", f'''
            dead_letter: rejected
            sources: {{ in: {{ plugin: kafka, with: {{ brokers: "{self.kafka.bootstrap}", topics: {topic}, group: {self.name("g")} }} }} }}
            transforms: {{ valid: {{ from: in, script: "{support.REPO}/scripts/validate.lua" }} }}
            sinks:
              out: {{ from: valid, plugin: file, with: {{ path: out.jsonl }} }}
              rejected: {{ plugin: file, with: {{ path: rejected.jsonl }} }}
        ''')
        run = self.start("run", "valid.yaml")
        run.wait_for(lambda: len(self.lines("out.jsonl")) + len(self.lines("rejected.jsonl")) >= count, 60, "all are somewhere")
        run.stop()
        self.judge(oracle.of_lines(self.dir / "out.jsonl"), set(range(count)) - spoilt.keys(), ordered=False)
        found = {}
        for letter in self.dead_letters():
            payload = letter["payload"]
            n = payload["n"] if isinstance(payload, dict) else int(re.search(r'"n":(\d+)', payload)[1])
            found[n] = letter["headers"]["plumbline.reason"]
        self.assertEqual(found.keys(), spoilt.keys(), "exactly those")
        for n, value in spoilt.items():
            self.assertRegex(found[n], self.BAD[value], value)


class Reorg(Fault):

    def begin_chain(self):
        """A node with feeds, and a pipeline that records them: out.jsonl; seen to work."""
        node = self.enterContext(servers.Anvil(self.dir / "anvil", timestamp=int(time.time()) - 3600))
        feeds = servers.Feeds(node)
        feeds.push({"ETH/USD": "1999", "BTC/USD": "70000", "LINK/USD": "13"})
        self.pipeline("chain.yaml", f'''
            include: ["{support.REPO}/pipelines/include/chainlink.yaml"]
            sources: {{ feeds: {{ plugin: chainlink }} }}
            sinks: {{ out: {{ from: feeds, plugin: file, with: {{ path: out.jsonl }} }} }}
        ''')
        self.start_chain(feeds)
        self.recorded(feeds)
        return feeds

    def start_chain(self, feeds):
        self.run_ = self.start("run", "chain.yaml", env={"ETH_RPC_URL": feeds.node.url, "CHAIN_EVERY": "100ms"})

    def recorded(self, feeds):
        truth = feeds["ETH/USD"].latest()
        self.run_.wait_for(lambda: self.newest().get(str(truth["agg_round"])) == str(truth["answer"]), 60, f"{truth} is recorded")

    def test_16_a_reorg_is_corrected_and_missed_rounds_are_caught_up(self):
        """Three rounds are undone and published anew with other answers: the last word on each is the chain's own."""
        feeds = self.begin_chain()
        def push(*prices):
            for price in prices:
                feeds["ETH/USD"].push(price)
        push(2000, 2001, 2002)             # some of them between two polls
        self.recorded(feeds)
        self.run_.stop()
        push(2003, 2004, 2005, 2006)       # and some while nothing runs
        self.start_chain(feeds)
        self.recorded(feeds)
        undone = self.newest()
        self.check_rounds(feeds)
        feeds.node.reorg(3)
        self.run_.wait_log("ETH-USD went back from round", 60)
        push(3001, 3002, 3003)
        self.recorded(feeds)
        self.run_.stop()
        found = self.check_rounds(feeds)
        self.assertEqual(sum(found[number] != answer for number, answer in undone.items()), 3, "three of them are others now")

    def test_16_a_reorg_deeper_than_the_last_round(self):
        """Five rounds that were recorded are undone and published anew, between two looks, so that nothing seems to go back:
        each that changed is recorded again, though only the last one shows at once."""
        feeds = self.begin_chain()
        def push(*prices):
            for price in prices:
                feeds["ETH/USD"].push(price)
                self.recorded(feeds)
        push(2000, 2001, 2002, 2003, 2004, 2005)
        for nth, more in enumerate((0, 2), 1):   # as many rounds as before; and more
            undone = self.newest()
            os.kill(self.run_.process.pid, signal.SIGSTOP)
            feeds.node.reorg(5)
            for price in range(3001 + 100 * more, 3006 + 100 * more + more):
                feeds["ETH/USD"].push(price)
            os.kill(self.run_.process.pid, signal.SIGCONT)
            self.recorded(feeds)
            self.run_.wait_for(lambda: self.run_.stderr.count("has 4 other rounds before") >= nth, 60, f"pass {nth} was seen")
            self.run_.wait_for(lambda: self.newest() == self.truth(feeds), 60, "each round is the chain's own")
            found = self.newest()
            self.assertEqual(sum(found[number] != answer for number, answer in undone.items()), 5, "five of them are others now")
        self.run_.stop()
        self.check_rounds(feeds)
        records = [r for r in self.records("out.jsonl") if r["pair"] == "ETH-USD" and r.get("caught_up")]
        self.assertLessEqual(len(records), 2 * 5 + 2, "only those that changed come again")

    def truth(self, feeds):
        return {str(row["agg_round"]): str(row["answer"]) for row in feeds["ETH/USD"].rounds()}

    def check_rounds(self, feeds):
        found = self.newest()
        self.assertEqual(found, self.truth(feeds))
        return found

    def newest(self):
        """{round: the answer recorded last} of ETH-USD."""
        return {r["agg_round"]: r["answer_raw"] for r in self.records("out.jsonl") if r["pair"] == "ETH-USD"}
