"""What the benchmarks' own tools promise; no measuring."""

import importlib
import pathlib
import sys
import tempfile
import unittest
import unittest.mock

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
sys.dont_write_bytecode = True

import instructions   # noqa: E402
from support import peers, publish, table   # noqa: E402
from support.context import Context   # noqa: E402
from support.measure import BenchError, Sample, Subject, alternate, summary   # noqa: E402

WORKS = [path.stem for path in sorted((HERE / "works").glob("*.py")) if path.stem != "__init__"]


def works_well(records):
    return Sample(records, 1.0, 0.5, 0.25, 1024)


class Harness(unittest.TestCase):
    def setUp(self):
        self.ctx = Context(pathlib.Path("."), pathlib.Path("."), 1)
        self.ctx.say = lambda _text: None
        self.ctx.pairs = 2

    def failing(self, error, after=0):
        runs = []

        def sample(records):
            runs.append(records)
            if len(runs) > after:
                raise error
            return works_well(records)
        return sample

    def test_a_failing_peer_is_a_row_that_says_so_and_the_others_go_on(self):
        for error in (BenchError("ended before its lines\nand more"), KeyError("ts"), OSError(8, "Exec format error")):
            self.ctx.failed = []
            subjects = [Subject("ours", works_well), Subject("peer", self.failing(error, after=1))]
            samples = alternate(self.ctx, subjects, 1000, "ours")
            self.assertEqual({"ours": 2}, {name: len(found) for name, found in samples.items()})
            self.assertEqual(["peer"], [row["subject"] for row in self.ctx.failed])
            self.assertNotIn("\n", self.ctx.failed[0]["reason"])
            result = {"subjects": [summary(subjects[0], samples["ours"])], "baseline": "ours", "columns": ["rate", "cpu"],
                      "failed": self.ctx.failed, "skipped": [], "promises": []}
            self.assertEqual(["peer", "failed", ""], table.rows_of(result)[-1])
            self.assertIn("- failed: peer: ", publish.lines_below(result)[0])

    def test_a_reason_is_short_and_names_no_place_of_this_machine(self):
        self.ctx.fail("peer", "/opt/x/peer -c /home/me/peer.yaml failed (status 1):\nstarting\n/home/me/peer.yaml:3: no such key\n")
        self.assertEqual("peer -c peer.yaml failed (status 1) .. peer.yaml:3: no such key", self.ctx.failed[0]["reason"])

    def test_without_the_baseline_there_is_no_work(self):
        with self.assertRaises(BenchError):
            alternate(self.ctx, [Subject("ours", self.failing(BenchError("no")))], 1000, "ours")

    def test_a_variable_that_names_no_program_is_a_failed_row(self):
        with tempfile.NamedTemporaryFile() as file, unittest.mock.patch.dict("os.environ", {"BENTO": file.name}):
            self.assertIsNone(peers.given(self.ctx, "Bento", "BENTO"))
        self.assertEqual("Bento", self.ctx.failed[0]["subject"])

    def test_each_work_is_whole_and_has_its_place_in_the_documentation(self):
        page = publish.PAGE.read_text()
        for name in WORKS:
            work = importlib.import_module(f"works.{name}")
            for attribute in ("RECORDS", "PAIRS", "BASELINE", "COLUMNS", "subjects"):
                self.assertTrue(hasattr(work, attribute), f"works/{name}.py has no {attribute}")
            self.assertTrue(f"<!-- bench: {name} -->" in page, f"docs/benchmarks.md has no place for {name}")

    def test_each_tool_has_a_configuration_for_the_works_that_it_takes_part_in(self):
        for _name, _variable, folder, _words in peers.GIVEN:
            for work in ("file_lua_file", "kafka_lua_kafka"):
                self.assertTrue(peers.config(folder, work).is_file())
        with self.assertRaisesRegex(BenchError, "no configuration for nothing"):
            peers.config("bento", "nothing")


class Instructions(unittest.TestCase):
    FIGURES = {"gcc-12": {"per_record": 10000, "limit": 2000}}

    def verdict(self, measured, name="gcc-12", limit=None):
        return instructions.verdict(measured, self.FIGURES, name, lambda: limit)

    def test_growth_beyond_5_percent_fails(self):
        self.assertEqual([False, False, True], [self.verdict(n)[1] for n in (9000, 10499, 10501)])

    def test_an_unknown_compiler_is_judged_by_the_limit_that_it_builds(self):
        self.assertEqual([False, True], [self.verdict(n, "gcc-13", 2200)[1] for n in (12000, 12200)])
        self.assertIn("no figure is recorded for gcc-13", self.verdict(12000, "gcc-13", 2200)[0])

    def test_costs_of_callees_are_not_counted_twice(self):
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name) / "callgrind.out"
            path.write_text("ob=(1) /x/plumbline\nfl=(1) a.c\nfn=(1) f\n1 100\ncfn=(2) g\ncalls=1 5\n2 900\n3 7\n\n"
                            "fn=(2)\n5 900\n")
            found = instructions.self_costs(path)
        self.assertEqual({("/x/plumbline", "a.c", "f"): 107, ("/x/plumbline", "a.c", "g"): 900}, dict(found))


if __name__ == "__main__":
    unittest.main()
