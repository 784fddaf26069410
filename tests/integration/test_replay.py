"""The replay of recorded prices: real ones of April and May 2022, where that data is (it is not ours to pass on)."""

import json
import os
import unittest

import support
from market import reference

DATA = support.REPO.parent / "shared" / "data"
INPUT, EXPECTED = DATA / "eth_usd_2022_a.jsonl", DATA / "eth_usd_2022_a.expected.jsonl"
REPLAY = support.REPO / "pipelines" / "replay.yaml"
TWO_SOURCES = """
    scheduler: seeded
    sources:
      api:      { plugin: file, with: { path: api.jsonl },      time: [observed_at, fetched_at] }
      contract: { plugin: file, with: { path: contract.jsonl }, time: [observed_at, fetched_at] }
    transforms:
      accuracy:
        from: [api, contract]
        script: "${REPO}/scripts/accuracy.lua"
        order: { by: time, slack: "${SLACK:-0s}" }
        with: { max_age: 20m }
    sinks:
      out: { from: accuracy, plugin: file, with: { path: "${OUTPUT}", mode: truncate } }
"""


@unittest.skipUnless(INPUT.exists() and EXPECTED.exists(), "the recorded prices of 2022 are not beside the repository")
class Recorded(support.Case):
    """1,699 rounds of ETH/USD with the values of two APIs."""

    def setUp(self):
        super().setUp()
        self.plumbline("run", REPLAY, env={"INPUT": INPUT, "OUTPUT": "out.jsonl"})
        self.rows = self.records("out.jsonl")

    def test_each_round_is_compared_exactly(self):
        expected = [json.loads(line) for line in EXPECTED.read_text().splitlines()]
        found = [row for row in self.rows if row["basis"] == "update"]
        self.assertEqual(len(expected), 1699)
        self.assertEqual(len(found), 1699)
        fields = expected[0].keys()
        self.assertEqual([{f: row.get(f) for f in fields} for row in found], expected)

    def test_25_of_1699_looks_are_over_the_band(self):
        now = [row for row in self.rows if row["basis"] == "now"]
        self.assertEqual((len(now), sum(row["verdict"] == "over_band" for row in now)), (1699, 25))

    def test_an_independent_computation_agrees_on_every_field(self):
        records = [json.loads(line) for line in INPUT.read_text().splitlines()]
        wrong = reference.differences(reference.keyed(self.rows), reference.compare(records))
        if wrong:
            self.fail(f"{len(wrong)} differences:\n" + "\n".join(wrong[:10]))

    def split(self, lines):
        for kind in ("api", "contract"):
            self.write(f"{kind}.jsonl", "".join(line for line in lines if json.loads(line)["kind"] == kind))

    def test_two_files_give_the_same_bytes_twice(self):
        lines = INPUT.read_text().splitlines(keepends=True)
        self.split(lines)
        self.pipeline("two.yaml", TWO_SOURCES)
        for output in ("first.jsonl", "second.jsonl"):
            self.plumbline("run", "two.yaml", env={"OUTPUT": output})
            self.assertEqual((self.dir / output).read_bytes(), (self.dir / "out.jsonl").read_bytes(), output)

    def test_backwards_with_slack_gives_the_same_rows(self):
        self.split(INPUT.read_text().splitlines(keepends=True)[::-1])
        self.pipeline("two.yaml", TWO_SOURCES)
        self.plumbline("run", "two.yaml", env={"OUTPUT": "backwards.jsonl", "SLACK": "365d"})
        self.assertEqual(sorted(self.lines("backwards.jsonl")), sorted(self.lines("out.jsonl")))


class Pipelines(support.Case):
    """Every pipeline that we ship passes `check`, with nothing but the environment that it must have."""

    NEEDED = {"producer.yaml": {"ETH_RPC_URL": "http://node.example:8545"},
              "price_accuracy.yaml": {"ETH_RPC_URL": "http://node.example:8545"},
              "replay.yaml": {"INPUT": "in.jsonl", "OUTPUT": "out.jsonl"}}

    def test_check(self):
        found = sorted(path for path in (support.REPO / "pipelines").iterdir() if path.suffix == ".yaml")
        self.assertGreaterEqual(len(found), 7)
        for path in found:
            with self.subTest(path.name):
                self.plumbline("check", path, env=self.NEEDED.get(path.name))

    def test_what_must_be_given_is_asked_for(self):
        for name, variables in self.NEEDED.items():
            with self.subTest(name):
                run = self.plumbline("check", support.REPO / "pipelines" / name, exit=2)
                for variable in variables:
                    self.assertIn(f"the environment variable {variable} is not set", run.stderr)


if __name__ == "__main__":
    unittest.main()
