"""Ticks = samples + gaps: on the simulated market, with each way in which a poll fails, and over restarts."""

import time

import support
from market.reference import S, instant
from support.market import Market

EVERY_S = 0.5
PIPELINE = """
    pipeline: gaps
    sources:
      prices:
        plugin: coingecko
        with: { pairs: [ETH-USD], every: 500ms, timeout: 2s, base_url: "${COINGECKO_URL}" }
    sinks:
      out:  { from: prices,      plugin: file, with: { path: out.jsonl } }
      gaps: { from: prices.gaps, plugin: file, with: { path: gaps.jsonl } }
"""


class Gaps(support.Case):
    def setUp(self):
        super().setUp()
        self.market = self.enterContext(Market(self.dir / "market", "--speed", "60"))
        self.pipeline("gaps.yaml", PIPELINE)

    def begin(self, file="gaps.yaml"):
        return self.start("run", file, "--data-dir", "state", env=self.market.env)

    def samples(self):
        return [instant(record["fetched_at"]) / S for record in self.records("out.jsonl")]

    def gaps(self, reason=""):
        """When, of those whose reason contains the words."""
        return [instant(gap["at"]) / S for gap in self.records("gaps.jsonl") if reason in gap["reason"]]

    def wait_samples(self, run, more):
        wanted = len(self.samples()) + more
        run.wait_for(lambda: len(self.samples()) >= wanted, 30, f"{wanted} samples")

    def check_ticks(self, twice=False):
        """From the first tick to the last there is a sample or a gap at each. `twice`: there may be both."""
        ticks = sorted(self.samples() + self.gaps())
        steps = [after - before for before, after in zip(ticks, ticks[1:])]
        self.assertLess(max(steps), 2 * EVERY_S + 0.2, f"a tick is neither: {steps}")
        if not twice:
            self.assertGreater(min(steps), 0.2, f"a tick is both: {steps}")
        return ticks

    def check_account(self, run):
        found = run.components
        self.assertEqual(found["gaps"]["delivered"], found["prices"]["born"])
        self.assertEqual(found["out"]["delivered"] + found["gaps"]["delivered"], found["prices"]["delivered"])
        for name in found:
            self.assertEqual((found[name]["in_flight"], found[name]["dead_lettered"]), (0, 0), name)

    def test_each_failed_poll_is_a_gap_with_its_reason(self):
        run = self.begin()
        self.wait_samples(run, 2)
        for kind, reason in (("html", "JSON"), ("truncated", "JSON"), ("empty", ""), ("nan", "JSON")):
            before = len(self.gaps())
            self.market.fault("coingecko", kind, count=2)
            run.wait_for(lambda: len(self.gaps()) >= before + 2, 20, f"{kind} makes two gaps")
            self.assertTrue(all(reason in gap["reason"] for gap in self.records("gaps.jsonl")[before:]), kind)
            self.wait_samples(run, 1)
        run.stop()
        self.assertEqual(len(self.gaps()), 8)
        ticks = self.check_ticks()
        self.assertEqual(len(ticks), round((ticks[-1] - ticks[0]) / EVERY_S) + 1)
        self.check_account(run)

    def asked_to_wait(self, status):
        run = self.begin()
        self.wait_samples(run, 2)
        asked = self.market.requests("coingecko")
        self.market.fault("coingecko", status, retry_after=2)
        run.wait_for(lambda: self.gaps(status), 20, "the first gap says why")
        run.wait_for(lambda: len(self.gaps("asked to wait")) >= 2, 20, "those after it, too")
        refused = self.market.requests("coingecko")
        self.wait_samples(run, 2)
        run.stop()
        self.assertLessEqual(refused - asked, 2, "nobody asked before Retry-After was over")
        self.assertEqual(len(self.gaps(status)), 1)
        self.assertIn(len(self.gaps("asked to wait")), (2, 3, 4))
        self.check_ticks()
        self.check_account(run)

    def test_429_with_retry_after(self):
        self.asked_to_wait("429")

    def test_402_with_retry_after(self):
        self.asked_to_wait("402")

    def test_ticks_while_nothing_ran_are_gaps(self):
        for pause in (2.2, 2.2, 0):
            run = self.begin()
            self.wait_samples(run, 3)
            run.stop()
            self.check_account(run)
            time.sleep(pause)
        missed = self.gaps("nothing ran at this tick")
        self.assertIn(len(missed), (6, 7, 8))
        self.check_ticks()

    def test_a_restart_within_a_tick_leaves_none(self):
        for _ in range(3):
            run = self.begin()
            self.wait_samples(run, 2)
            run.stop()
        self.assertEqual(self.gaps(), [])

    def test_killed(self):
        """A tick whose sample may have got lost is a gap: no tick is neither."""
        run = self.begin()
        self.wait_samples(run, 4)
        run.kill()
        time.sleep(1.5)
        run = self.begin()
        self.wait_samples(run, 2)
        run.stop()
        self.assertGreater(len(self.gaps("nothing ran at this tick")), 1)
        self.check_ticks(twice=True)
        self.check_account(run)

    def test_killed_while_gaps_are_under_way(self):
        """Their sink took none of them: their ticks are gaps of the next run."""
        self.pipeline("stuck.yaml", PIPELINE.replace("path: gaps.jsonl", "path: /dev/full"))
        run = self.begin("stuck.yaml")
        self.wait_samples(run, 3)
        asked = self.market.requests("coingecko")
        self.market.fault("coingecko", "html", count=-1)
        run.wait_for(lambda: self.market.requests("coingecko") >= asked + 4, 20, "four gaps at least")
        run.kill()
        self.market.fault("coingecko", "none")
        run = self.begin()
        self.wait_samples(run, 2)
        run.stop()
        self.assertGreaterEqual(len(self.gaps("nothing ran at this tick")), 3)
        self.check_ticks(twice=True)
