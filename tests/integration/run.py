#!/usr/bin/env python3
"""Run the integration tier: the real plumbline against real servers on loopback.

    tests/integration/run.py [NAME...]    all tests, or those whose full name (test_kafka.RoundTrip.test_x) contains NAME

PLUMBLINE_BUILD names the build directory (default: build). README.md beside this file says how to write a test.
"""

import argparse
import os
import pathlib
import sys
import time
import traceback
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]   # `support`, and `servers` and `market` beside this folder

MAX_SHOWN = 80   # lines of one failure
AGAIN = 2        # so many failed tests, among many, are run once more: the machine may have stood still. They are named.
MANY = 20


class Report(unittest.TestResult):
    """One line a test, as it ends; failures in full."""

    def __init__(self, verbose):
        super().__init__()
        self.passed = 0
        self._verbose = verbose
        self._begun = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self._begun = time.monotonic()

    def _say(self, word, test, text=""):
        print(f"{word} {test.id()} ({time.monotonic() - self._begun:.1f} s)", flush=True)
        lines = text.splitlines()
        hidden = len(lines) - MAX_SHOWN
        for line in (lines if hidden <= 0 else [f"... {hidden} lines", *lines[hidden:]]):
            print("    " + line, flush=True)

    def addSuccess(self, test):
        self.passed += 1
        if self._verbose:
            self._say("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._say("skipped", test, reason)

    def _bad(self, test, error):
        shown = error[1] if test.failureException is error[0] else None
        text = str(shown) if shown else "".join(traceback.format_exception(*error))
        self._say("FAILED", test, text)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._bad(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        if hasattr(test, "failureException"):
            self._bad(test, error)
        else:   # setUpModule, setUpClass
            self._say("FAILED", test, "".join(traceback.format_exception(*error)))

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self._bad(subtest, error)


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def run(tests, report):
    unittest.TestSuite(tests).run(report)
    return report.failures + report.errors


def once_more(tests, bad, quiet):
    """Run the few that failed a second time, unless a sanitizer spoke. Returns how many passed then; their first
    failure stays on the page."""
    if any("anitizer" in text for _, text in bad):
        return 0
    again = [type(t)(t._testMethodName) for t in tests if any(b.id().startswith(t.id()) for b, _ in bad)]
    still = {test.id() for test, _ in run(again, Report(not quiet))}
    unstable = [t.id() for t in again if t.id() not in still]
    if still or len(again) != len(bad):
        return 0
    print(f"UNSTABLE, passed at the second attempt only: {', '.join(unstable)}")
    return len(unstable)


def main(folder=HERE, description=__doc__):
    """Run the tests of `folder` (tests/faults has its own)."""
    known = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("names", nargs="*", metavar="NAME")
    known.add_argument("--build", help="build directory (default: $PLUMBLINE_BUILD, else build)")
    known.add_argument("--quiet", action="store_true", help="do not name the passed ones")
    known.add_argument("--list", action="store_true", help="only name the tests")
    args = known.parse_args()
    if args.build:
        os.environ["PLUMBLINE_BUILD"] = args.build
    loader = unittest.TestLoader()
    found = list(flat(loader.discover(str(folder), "test_*.py", str(folder))))
    tests = [t for t in found if not args.names or any(n in t.id() for n in args.names)]
    if args.list:
        print("\n".join(t.id() for t in tests))
        return
    import support
    if not os.access(support.PLUMBLINE, os.X_OK):
        sys.exit(f"{support.PLUMBLINE}: no such program; build it first, or name its directory with --build")
    report = Report(not args.quiet)
    bad = run(tests, report)
    better = once_more(tests, bad, args.quiet) if bad and len(bad) <= AGAIN and len(tests) >= MANY else 0
    support.stop_shared()
    passed, failed = report.passed + better, len(bad) - better
    skipped = f", {len(report.skipped)} skipped" if report.skipped else ""
    print(f"{passed} passed, {failed} failed{skipped}")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
