"""The scenario runner finds what is wrong, and only that: python3 -m unittest discover -s tests/scenarios"""

import os
import stat
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run

PROGRAM = """#!/bin/sh
case $1 in
  copy) cp in.jsonl out.jsonl ;;
  sleep) echo started >&2; exec sleep 20 ;;
  asan) echo '==1==ERROR: AddressSanitizer: heap-use-after-free' >&2 ;;
  exit) exit "$2" ;;
esac
"""


class Runner(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.binary = os.path.join(folder.name, "program")
        self.path = os.path.join(folder.name, "story.toml")
        with open(self.binary, "w", encoding="utf-8") as file:
            file.write(PROGRAM)
        os.chmod(self.binary, stat.S_IRWXU)

    def outcome(self, text):
        """What failed, or None."""
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)
        return run.attempt(self.path, self.binary)[2]

    def copied(self, expect):
        return self.outcome("""[files]
"in.jsonl" = '''
{"a":1,"b":[1,{"c":null}]}
{"a":2}
'''
[[step]]
run = "plumbline copy"
[step.expect."out.jsonl"]
""" + expect)

    def test_expectations_that_hold(self):
        for expect in ("lines = 2", 'match = ["^.\\"a\\":2"]', 'jsonl = [{a=1}, {a=2, b="absent"}]',
                       'same_as = "in.jsonl"', "sorted = '{\"a\":2}\n{\"a\":1,\"b\":[1,{\"c\":null}]}'"):
            self.assertIsNone(self.copied(expect.replace("'{", "'''{").replace("}'", "}'''")), expect)

    def test_expectations_that_do_not_hold(self):
        for expect in ("lines = 3", 'match = ["nothing"]', 'no_match = ["a"]', "jsonl = [{a=1}]", "absent = true",
                       "jsonl = [{a=1}, {a=true}]", 'jsonl = [{a="absent"}, {}]', 'text = "x"', 'sorted = "x"'):
            self.assertIsNotNone(self.copied(expect), expect)

    def test_exit_status_and_signals(self):
        self.assertIsNone(self.outcome("[[step]]\nrun = 'plumbline exit 2'\nexit = 2"))
        self.assertIn("found 3", self.outcome("[[step]]\nrun = 'plumbline exit 3'"))
        kill = "[[step]]\nrun = 'plumbline sleep'\nexit = 'SIG%s'\nsignal = [{match = 'started', send = 'SIGKILL'}]"
        self.assertIsNone(self.outcome(kill % "KILL"))
        self.assertIn("found SIGKILL", self.outcome(kill % "TERM"))

    def test_a_step_ends(self):
        self.assertIn("timeout", self.outcome("[[step]]\nrun = 'plumbline sleep'\ntimeout = 0.3"))

    def test_a_sanitizer_fails_the_step(self):
        self.assertIn("sanitizer", self.outcome("[[step]]\nrun = 'plumbline asan'"))

    def test_a_misspelt_key_is_refused(self):
        self.assertIn("expects", self.outcome("[[step]]\nrun = 'plumbline exit 0'\nexpects = {}"))
        self.assertIn("txt", self.outcome("[[step]]\nrun = 'plumbline exit 0'\n[step.expect.stderr]\ntxt = 'x'"))


if __name__ == "__main__":
    unittest.main()
