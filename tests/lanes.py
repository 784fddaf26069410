#!/usr/bin/env python3
"""Run the tests of a folder in lanes beside each other, for tests on real servers mostly wait.

    tests/lanes.py FOLDER [NAME...]    all of its tests, or those whose full name (test_kafka.RoundTrip.test_x) contains NAME

A lane is a process with shared servers of its own (tests/integration/support). It takes the tests of one class after those of
another, whichever class comes next. Each test is told as it ends, in one piece. tests/integration/run.py and tests/faults/run.py
name their folders. PLUMBLINE_BUILD, or --build, is the build directory (default: build).
"""

import argparse
import collections
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import traceback
import unittest

TESTS = pathlib.Path(__file__).resolve().parent
LANES = 2
MAX_SHOWN = 80   # lines of one failure
AGAIN = 2        # so many failed tests, among many, are run once more: the machine may have stood still. They are named.
MANY = 20


class Report(unittest.TestResult):
    """Hands on how each test went: tell(word, name, seconds, text), the word being ok, skipped or FAILED."""

    def __init__(self, tell):
        super().__init__()
        self._tell = tell
        self._begun = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self._begun = time.monotonic()

    def _say(self, word, test, text=""):
        self._tell(word, test.id(), time.monotonic() - self._begun, text)

    def addSuccess(self, test):
        self._say("ok", test)

    def addSkip(self, test, reason):
        self._say("skipped", test, reason)

    def addFailure(self, test, error):
        self._say("FAILED", test, str(error[1]))

    def addError(self, test, error):   # of a test, or of setUpModule and setUpClass
        self._say("FAILED", test, "".join(traceback.format_exception(*error)))

    def addSubTest(self, test, subtest, error):
        if error:
            (self.addFailure if issubclass(error[0], test.failureException) else self.addError)(subtest, error)


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def discover(folder):
    """The tests of a folder; what they import lies there, in tests/ and in tests/integration."""
    package = (folder / "__init__.py").exists()
    sys.path[:0] = [str(path) for path in (*([] if package else [folder]), TESTS / "integration", TESTS)]
    return list(flat(unittest.TestLoader().discover(str(folder), "test_*.py", str(folder.parent if package else folder))))


def serve(folder):
    """What a lane does: the tests of each line of stdin (a JSON list of names), and for each a line of how it went; then
    "done". Whatever the tests themselves print goes to stderr."""
    orders, told = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    report = Report(lambda *event: print(json.dumps(event), file=told))
    tests = discover(folder)
    for line in orders:
        names = set(json.loads(line))
        unittest.TestSuite(test for test in tests if test.id() in names).run(report)
        print(json.dumps("done"), file=told)
    if "support" in sys.modules:
        sys.modules["support"].stop_shared()


class Run:
    """One run of groups of tests in lanes, and what came of it."""

    def __init__(self, folder, quiet=False):
        self.passed, self.skipped, self.bad = 0, 0, []   # bad: (name, text) of each
        self._folder, self._quiet = folder, quiet
        self._groups, self._lanes = collections.deque(), []
        self._lock = threading.Lock()

    def tell(self, word, name, seconds, text=""):
        lines = text.splitlines()
        hidden = len(lines) - MAX_SHOWN
        shown = lines if hidden <= 0 else [f"... {hidden} lines", *lines[hidden:]]
        with self._lock:
            self.passed += word == "ok"
            self.skipped += word == "skipped"
            if word == "FAILED":
                self.bad.append((name, text))
            if word != "ok" or not self._quiet:
                print("\n    ".join([f"{word} {name} ({seconds:.1f} s)", *shown]), flush=True)

    def _next(self):
        with self._lock:
            return self._groups.popleft() if self._groups else None

    def _lane(self):
        lane = subprocess.Popen([sys.executable, "-u", __file__, "--lane", str(self._folder)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        self._lanes.append(lane)
        while group := self._next():
            left = dict.fromkeys(group)
            lane.stdin.write(json.dumps(group) + "\n")
            lane.stdin.flush()
            for event in map(json.loads, lane.stdout):
                if event == "done":
                    break
                left.pop(event[1], None)
                self.tell(*event)
            else:
                for name in left:
                    self.tell("FAILED", name, 0, f"its lane ended before it, with status {lane.wait()}")
                return
        lane.stdin.close()
        if lane.wait():
            self.tell("FAILED", "the end of a lane", 0, f"status {lane.returncode}")

    def run(self, groups, lanes):
        """`groups`: lists of names; those of one are run by one lane, one after the other."""
        self._groups.extend(groups)
        threads = [threading.Thread(target=self._lane, daemon=True) for _ in range(min(lanes, len(groups)))]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for lane in self._lanes:
                lane.terminate()
        for name in itertools.chain(*self._groups):
            self.tell("FAILED", name, 0, "no lane was left to run it")
        return self


def once_more(run, names, folder, quiet):
    """Run the few that failed a second time, unless a sanitizer spoke. Returns how many passed then; their first failure
    stays on the page."""
    if any("anitizer" in text for _, text in run.bad):
        return 0
    again = [name for name in names if any(bad.startswith(name) for bad, _ in run.bad)]
    if len(again) != len(run.bad) or Run(folder, quiet).run([again], 1).bad:
        return 0
    print(f"UNSTABLE, passed at the second attempt only: {', '.join(again)}")
    return len(again)


def by_class(names, first):
    """Lists of names, one a class; classes that begin like one of `first` come before the others, in its order."""
    groups = collections.defaultdict(list)
    for name in names:
        groups[name.rpartition(".")[0]].append(name)
    for start in first:
        if not any(name.startswith(start) for name in groups):
            sys.exit(f"no class begins with {start}, which is to be run first")
    def rank(name):
        return next((at for at, start in enumerate(first) if name.startswith(start)), len(first))
    return [groups[name] for name in sorted(groups, key=rank)]


def main(folder, description, first=(), forgiving=False):
    """`first`: what takes longest, so that no lane ends long after the others. `forgiving`: see AGAIN."""
    known = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("names", nargs="*", metavar="NAME")
    known.add_argument("--build", help="build directory (default: $PLUMBLINE_BUILD, else build)")
    known.add_argument("--lanes", type=int, default=LANES, help=f"how many (default: {LANES})")
    known.add_argument("--quiet", action="store_true", help="do not name the passed ones")
    known.add_argument("--no-skips", action="store_true", help="a skipped test is a failed one")
    known.add_argument("--list", action="store_true", help="only name the tests")
    args = known.parse_args()
    if args.build:
        os.environ["PLUMBLINE_BUILD"] = args.build
    names = [name for name in (test.id() for test in discover(folder)) if not args.names or any(n in name for n in args.names)]
    if args.list:
        print("\n".join(names))
        return
    program = getattr(sys.modules.get("support"), "PLUMBLINE", None)
    if program and not os.access(program, os.X_OK):
        sys.exit(f"{program}: no such program; build it first, or name its directory with --build")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(folder, args.quiet).run(by_class(names, () if args.names else first), args.lanes)
    better = once_more(run, names, folder, args.quiet) if forgiving and 0 < len(run.bad) <= AGAIN and len(names) >= MANY else 0
    passed, failed = run.passed + better, len(run.bad) - better + (run.skipped if args.no_skips else 0)
    print(f"{passed} passed, {failed} failed" + (f", {run.skipped} skipped" if run.skipped else ""))
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--lane"]:
        serve(pathlib.Path(sys.argv[2]))
    elif len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    else:
        main(pathlib.Path(sys.argv.pop(1)).resolve(), __doc__)
