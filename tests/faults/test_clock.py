"""The wall clock jumps by an hour, there and back."""

import os
import pathlib
import time
import unittest
from datetime import datetime

from fault import Fault, SANITIZED
from support.market import Market

FAKETIME = next(iter(sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


class Clock(Fault):
    EVERY_S = 0.5

    @unittest.skipIf(SANITIZED, "AddressSanitizer wants to be loaded before all others, and so does libfaketime")
    def test_17_the_wall_clock_jumps_an_hour_either_way(self):
        """Polls, timers, batches and the end go by the monotonic clock: no burst, no standstill. What asks for the time of
        day is given the new one."""
        self.assertIsNotNone(FAKETIME, "libfaketime is not installed (Debian: libfaketime)")
        market = self.enterContext(Market(self.dir / "market", "--speed", "60"))
        self.pipeline("clock.yaml", f'''
            sources:
              prices: {{ plugin: coingecko, with: {{ pairs: [ETH-USD], every: 500ms, base_url: "{market.env["COINGECKO_URL"]}" }} }}
            transforms:
              ticks: {{ from: prices, lua: "function on_record() end every('500ms', function() return {{ tick = true }} end)" }}
            sinks:
              samples: {{ from: prices, batch: {{ wait: 200ms }}, plugin: file, with: {{ path: samples.jsonl }} }}
              gaps: {{ from: prices.gaps, plugin: file, with: {{ path: gaps.jsonl }} }}
              ticked: {{ from: ticks, plugin: file, with: {{ path: ticks.jsonl }} }}
        ''')
        self.set_clock("+0")
        run = self.start("run", "clock.yaml", env={
            "LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": self.dir / "offset", "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"})
        self.count_on(run)
        for hours in (1, 0, -1, 0):
            self.set_clock(f"{hours:+d}h")
            self.count_on(run)
            off_s = self.newest_sample() - time.time()
            self.assertLess(abs(off_s - 3600 * hours), 300, "it was given that clock")
        self.set_clock("-1h")
        run.stop(seconds=60)

    def set_clock(self, offset):
        """In one step, for it is read at every look at the clock."""
        new = self.write("offset.new", offset + "\n")
        os.replace(new, self.dir / "offset")

    def newest_sample(self):
        return datetime.fromisoformat(self.records("samples.jsonl")[-1]["fetched_at"]).timestamp()

    def count_on(self, run):
        """Four more of each; and in that time not more than it had room for."""
        def counts():
            return len(self.lines("samples.jsonl")) + len(self.lines("gaps.jsonl")), len(self.lines("ticks.jsonl"))
        before, begun = counts(), time.monotonic()
        run.wait_for(lambda: all(now >= old + 4 for now, old in zip(counts(), before)), 60, "polls and timers go on")
        after, room = counts(), (time.monotonic() - begun) / self.EVERY_S + 3
        for now, old, name in zip(after, before, ("polls", "timers")):
            self.assertLessEqual(now - old, room, f"{name}: a burst")


if __name__ == "__main__":
    unittest.main()
